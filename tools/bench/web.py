"""The page: what a frame costs the server, and how old a picture is when a browser draws it.

    viewers    scenes of six objects with 16 crops at 1280x720 and 30 frames/s, handed to the hub: CPU time
               of the server a frame, with one viewer, with ten, with ten of which one is slow, and with one
               that shows frames 720 px wide, as the page in a window of 1440x900
    received   the live loop before a camera, watched by a client that draws nothing
    browser    the same, watched by headless Chromium, where that is installed: from the camera's sending to
               the browser's drawing, time to the first picture, crops, JS heap

    python tools/bench/web.py [--seconds 30] [--json] [--only received,browser]

``cpu_ms`` is the CPU time of the threads that encode and send, per frame; viewers run in another process. The
browser is looked at once a minute (twice in a shorter run): ``heap_mb`` by minutes is measured after a
collection of garbage, and times from sending to drawing are given for the first and the last of these spans.
``steps_ms`` takes these times apart. ``chromium_cpu_ms`` is the CPU time of each process of the browser per
picture drawn: where it draws by software, it shares the cores with the detector.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
from camera import FPS, WH, Camera, camera, make_library, quantiles
from numpy.typing import NDArray
from websockets.asyncio.client import connect

from rtsearch.config import Settings
from rtsearch.jobs.demo import demo_clip
from rtsearch.library import Library
from rtsearch.library.index import SearchIndex, open_index
from rtsearch.live import Controls, Outputs, play
from rtsearch.pipeline import Pipeline, open_pipeline
from rtsearch.sources import open_source
from rtsearch.types import Detections, Frame, Neighbours, Scene, U8Array
from rtsearch.web import Access, Address, PageServer, Site, bind
from rtsearch.words import LiveWords

OBJECTS, CROPS = 6, 16
CHROMIUM = shutil.which("chromium-headless-shell")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync")
TARGETS = {"cpu_ms_1": 4, "cpu_ms_10": 8, "sent_to_drawn_p50": 80, "sent_to_drawn_p99": 200, "first_ms": 1000}

# What is drawn, noted by the page itself: number of the frame, and when it was captured, sent, received,
# decoded and drawn, s since 1970. The room for it is taken at once, so that the heap does not grow by it.
NOTE = """(most) => {
  window.noted = { count: 0, values: new Float64Array(6 * most) };
  const at = (ms) => (performance.timeOrigin + ms) / 1000;
  document.addEventListener("drawn", ({ detail }) => {
    const { count, values } = window.noted;
    if (count === most) return;
    const sent = detail.at + detail.age_ms / 1000;
    const times = [detail.at, sent, at(detail.received), at(detail.decoded), at(performance.now())];
    values.set([detail.frame, ...times], 6 * count);
    window.noted.count++;
  });
}"""
NOTED = "Array.from(window.noted.values.subarray(0, 6 * window.noted.count))"
STEPS = ("captured", "found", "encoded", "received", "decoded", "drawn")
PAGE_WIDTH = 720
_MOST_VIEWERS_S = 20.0


@contextlib.contextmanager
def site_of(index: SearchIndex, pipeline: Pipeline) -> Iterator[tuple[Site, int]]:
    """A site and the port of its server."""
    settings = Settings()
    controls = Controls(settings.detect, settings.show)
    network, words = (pipeline.spec.name, pipeline.spec.licence), LiveWords("", print)
    site = Site(settings, pipeline, index, controls, Access(), network, words)
    with PageServer(site, bind(Address(port=0)), Address(port=0)) as server:
        yield site, server.port


# Viewers --------------------------------------------------------------------------------------------------


def scene_of(bgr: U8Array, number: int, rows: int) -> Scene:
    """Six objects that move, one of whose strips changes once a second."""
    left = (np.arange(OBJECTS) * 190 + number % 60).astype(np.float32)
    xyxy = np.stack([left, left * 0 + 200, left + 150, left * 0 + 500], 1)
    row = np.arange(OBJECTS * CROPS, dtype=np.int32).reshape(OBJECTS, CROPS)
    row[number // 30 % OBJECTS] += number // 30
    label, score = np.zeros(OBJECTS, np.int32), np.full(OBJECTS, 0.7, np.float32)
    track = np.arange(1, OBJECTS + 1, dtype=np.int64)
    found = Detections(xyxy, score, label, np.zeros((OBJECTS, 0), np.float32), track)
    near = Neighbours(row % rows, np.zeros((OBJECTS, CROPS), np.float32))
    frame = Frame(number, time.monotonic(), None, bgr)
    return Scene(frame, found, ("person",) * OBJECTS, near, 0, ((),) * OBJECTS)


def server_cpu_s() -> float:
    """CPU time of the threads that encode and send."""
    ours = {t.native_id for t in threading.enumerate() if t.name in ("web", "server") or "AnyIO" in t.name}
    return sum(t.user_time + t.system_time for t in psutil.Process().threads() if t.id in ours)


def viewers(
    site: Site, port: int, seconds: float, count: int, slow: int = 0, width: int = 0
) -> dict[str, Any]:
    """Figures of the server with so many viewers of some width, of which some take one message a second."""
    clip = cv2.VideoCapture(str(demo_clip()))
    frames = [np.asarray(cv2.resize(clip.read()[1], WH), np.uint8) for _ in range(30)]
    numbers = map(str, (port, count, slow, seconds, width))
    command = [sys.executable, __file__, "--watch", *numbers]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        while site.hub.viewers < count:
            time.sleep(0.05)
        begun_s, cpu_s, number = time.monotonic(), server_cpu_s(), 0
        while (now_s := time.monotonic() - begun_s) < seconds:
            time.sleep(max(0.0, number / FPS - now_s))
            site.hub.show(0, scene_of(frames[number % len(frames)], number, len(site.index)))
            number += 1
        spent_s = server_cpu_s() - cpu_s
        got = json.loads(child.communicate()[0])
    return {"cpu_ms": round(spent_s * 1e3 / number, 2), "frames": number, "got": got}


async def watch(port: int, count: int, slow: int, seconds: float, width: int) -> list[int]:
    """Scenes that each of some viewers gets."""

    async def one(every_s: float) -> int:
        got, until_s = 0, time.monotonic() + seconds
        async with connect(f"ws://127.0.0.1:{port}/ws", max_size=None) as socket:
            if width:
                await socket.send(f"w{width}")
            while time.monotonic() < until_s:
                try:
                    got += isinstance(await asyncio.wait_for(socket.recv(), 1.0), bytes)
                except TimeoutError:
                    continue
                await asyncio.sleep(every_s)
        return got

    return await asyncio.gather(*(one(1.0 if i < slow else 0.0) for i in range(count)))


# The live loop --------------------------------------------------------------------------------------------


class Stamped:
    """A sink that notes when a frame was sent and when its objects were found, and hands scenes on."""

    def __init__(self, site: Site, source: Camera) -> None:
        self._site, self._source = site, source
        self.times_s: dict[int, tuple[float, float]] = {}
        self.begin = site.hub.begin

    def show(self, place: int, scene: Scene) -> None:
        now_s, sent_s = time.monotonic(), self._source.sent_s(scene.frame.bgr)
        self.times_s[scene.frame.id] = time.time() - (now_s - sent_s), time.time()
        self._site.hub.show(place, scene)


def watched(
    index: SearchIndex, pipeline: Pipeline, what: str, seconds: float
) -> tuple[dict[str, Any], NDArray[np.float64]]:
    """Figures of the live loop before a camera that a child watches, and times of its frames, (n, 7), s."""
    settings = Settings()
    with site_of(index, pipeline) as (site, port), camera(demo_clip()) as source:
        stamped = Stamped(site, source)
        command = [sys.executable, __file__, f"--{what}", str(port), str(seconds)]
        with (
            subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child,
            ThreadPoolExecutor(1) as reading,
        ):
            opened = open_source(source.url, settings.live)
            said = reading.submit(lambda: child.communicate()[0])  # more than a pipe holds
            said.add_done_callback(lambda _: opened.close())
            report = play(opened, pipeline, index, settings, Outputs(scenes=stamped), controls=site.controls)
            told = json.loads(said.result())
        crops = site.hub.meter.summary()["counts"].get("crops", 0)
    seen = np.array(told.pop("seen")).reshape(-1, 6)
    lines = [
        (stamped.times_s[int(n)][0], captured_s, stamped.times_s[int(n)][1], *later)
        for n, captured_s, *later in seen
        if int(n) in stamped.times_s
    ]
    figures = {"fps": report.fps, "server_cpu_ms": report.cpu_ms, "frames": len(lines)}
    return figures | told | {"crops_sent": crops}, np.array(lines)


def steps(times_s: NDArray[np.float64]) -> dict[str, dict[str, float]]:
    """How long a frame is on each part of its way, ms."""
    return {
        name: quantiles(took)
        for name, took in zip(STEPS, np.diff(times_s).T * 1e3, strict=False)
        if took.any()
    }


def received(index: SearchIndex, pipeline: Pipeline, seconds: float) -> dict[str, Any]:
    """Figures of a client in another process that takes scenes and draws nothing."""
    figures, times_s = watched(index, pipeline, "receive", seconds)
    age_ms = (times_s[:, 4] - times_s[:, 0]) * 1e3
    return figures | {"sent_to_received_ms": quantiles(age_ms), "steps_ms": steps(times_s[:, :5])}


async def receive(port: int, seconds: float) -> dict[str, Any]:
    """What a client gets that confirms each message: number of the frame, and its times."""
    seen: list[tuple[float, ...]] = []
    until_s = time.monotonic() + seconds
    async with connect(f"ws://127.0.0.1:{port}/ws?confirm=1", max_size=None) as socket:
        await socket.send(f"w{PAGE_WIDTH}")
        while time.monotonic() < until_s:
            message = await socket.recv()
            if isinstance(message, str):
                continue
            now_s = time.time()
            await socket.send("ok")
            scene = json.loads(message[4 : 4 + int.from_bytes(message[:4], "little")])
            sent_s = scene["at"] + scene["age_ms"] / 1e3
            seen.append((scene["frame"], scene["at"], sent_s, now_s, now_s, now_s))
    return {"seen": seen}


def browser(index: SearchIndex, pipeline: Pipeline, seconds: float) -> dict[str, Any]:
    """Figures of a browser that watches a camera."""
    figures, times_s = watched(index, pipeline, "browser", seconds)
    at_s, age_ms = times_s[:, 6], (times_s[:, 6] - times_s[:, 0]) * 1e3
    span_s = span(seconds)
    cpu_s = figures.pop("chromium_cpu_s")
    return figures | {
        "sent_to_drawn_ms": quantiles(age_ms),
        "sent_to_drawn_first_ms": quantiles(age_ms[at_s < at_s[0] + span_s]),
        "sent_to_drawn_last_ms": quantiles(age_ms[at_s > at_s[-1] - span_s]),
        "steps_ms": steps(times_s),
        "chromium_cpu_ms": {name: round(spent * 1e3 / len(times_s), 2) for name, spent in cpu_s.items()},
    }


def chromium_cpu_s() -> dict[str, float]:
    """CPU time of the processes of this process's browser, by their kind."""
    spent: dict[str, float] = {}
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            words = child.cmdline()
            if not any("chromium" in word for word in words[:1]):
                continue
            kind = next((word[7:] for word in words if word.startswith("--type=")), "browser")
            times = child.cpu_times()
            spent[kind] = spent.get(kind, 0.0) + times.user + times.system
    return spent


def span(seconds: float) -> float:
    """Time from one look at the browser to the next, s."""
    return min(60.0, seconds / 2)


def look(port: int, seconds: float) -> dict[str, Any]:
    """What a headless Chromium sees of the page."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        context = opened.new_context(viewport={"width": 1440, "height": 900})
        page = context.new_page()
        tools = context.new_cdp_session(page)
        crops: set[str] = set()
        page.on("request", lambda request: crops.add(request.url) if "/thumb/" in request.url else None)
        begun_s = time.time()
        page.goto(f"http://127.0.0.1:{port}/")
        page.evaluate("new Promise((done) => document.addEventListener('drawn', done, { once: true }))")
        first_ms = (time.time() - begun_s) * 1e3
        page.evaluate(NOTE, round(2 * FPS * seconds))
        heap_mb: dict[str, float] = {}
        cpu_s = chromium_cpu_s()
        for i in range(1, round(seconds / span(seconds)) + 1):
            page.wait_for_timeout(max(0.0, begun_s + i * span(seconds) - time.time()) * 1e3)
            tools.send("HeapProfiler.collectGarbage")
            used = page.evaluate("performance.memory.usedJSHeapSize")
            heap_mb[f"{i * span(seconds) / 60:g}"] = round(used / 1e6, 2)
        cpu_s = {kind: spent - cpu_s.get(kind, 0.0) for kind, spent in chromium_cpu_s().items()}
        seen = page.evaluate(NOTED)
        opened.close()
    noted = {"heap_mb": heap_mb, "chromium_cpu_s": cpu_s, "seen": seen}
    return {"first_ms": round(first_ms), "crops": len(crops)} | noted


PARTS = ("viewers", "received", "browser")


def measure(seconds: float, parts: Sequence[str]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        lib = make_library(Path(name))
        with open_pipeline(Settings(), cut_padding=True) as pipeline:
            index = open_index(Library.open(lib), Settings())
            pipeline.warm_up()
            index.warm_up(Settings().show.results)
            found: dict[str, Any] = {}
            if "viewers" in parts:
                with site_of(index, pipeline) as (site, port):
                    viewers_s = min(seconds / 3, _MOST_VIEWERS_S)
                    found["one"] = viewers(site, port, viewers_s, 1)
                    found["one_page"] = viewers(site, port, viewers_s, 1, width=PAGE_WIDTH)
                    found["ten"] = viewers(site, port, viewers_s, 10)
                    found["ten_one_slow"] = viewers(site, port, viewers_s, 10, slow=1)
            if "received" in parts:
                found["received"] = received(index, pipeline, min(seconds, 60.0))
            if "browser" in parts:
                found["browser"] = (
                    browser(index, pipeline, seconds) if CHROMIUM else "no chromium-headless-shell"
                )
    return found | {"targets": TARGETS}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--json", action="store_true", help="one line")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, with commas between them")
    parser.add_argument("--watch", nargs=5, type=float, help=argparse.SUPPRESS)
    parser.add_argument("--receive", nargs=2, type=float, help=argparse.SUPPRESS)
    parser.add_argument("--browser", nargs=2, type=float, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.watch:
        port, count, slow, seconds, width = given.watch
        print(json.dumps(asyncio.run(watch(int(port), int(count), int(slow), seconds, int(width)))))
    elif given.receive:
        print(json.dumps(asyncio.run(receive(int(given.receive[0]), given.receive[1]))))
    elif given.browser:
        print(json.dumps(look(int(given.browser[0]), given.browser[1])))
    else:
        found = measure(given.seconds, given.only.split(","))
        print(json.dumps(found, indent=None if given.json else 1))


if __name__ == "__main__":
    main()
