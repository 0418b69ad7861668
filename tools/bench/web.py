"""The page: what a frame costs the server, and how old a picture is when a browser draws it.

    viewers    scenes of six objects with 16 crops at 1280x720 and 30 frames/s, handed to the hub: CPU time
               of the server a frame, with one viewer, with ten, and with ten of which one is slow
    browser    the live loop before a camera, watched by headless Chromium, where that is installed: from
               the camera's sending to the browser's drawing, time to the first picture, crops, JS heap

    python tools/bench/web.py [--seconds 30] [--json]

``cpu_ms`` is the CPU time of the threads that encode and send, per frame; viewers run in another process. The
browser is looked at once a minute (twice in a shorter run): ``heap_mb`` by minutes is measured after a
collection of garbage, and times from sending to drawing are given for the first and the last of these spans.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
from camera import FPS, WH, Camera, camera, make_library, quantiles
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

OBJECTS, CROPS = 6, 16
CHROMIUM = shutil.which("chromium-headless-shell")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync")
TARGETS = {"cpu_ms_1": 4, "cpu_ms_10": 8, "sent_to_drawn_p50": 80, "sent_to_drawn_p99": 200, "first_ms": 1000}

# What is drawn, noted by the page itself: number of the frame, when it was drawn and captured, s since 1970.
# The room for it is taken at once, so that the heap does not grow by it.
NOTE = """(most) => {
  window.noted = { count: 0, values: new Float64Array(3 * most) };
  document.addEventListener("drawn", ({ detail }) => {
    const { count, values } = window.noted;
    if (count === most) return;
    values[3 * count] = detail.frame;
    values[3 * count + 1] = (performance.timeOrigin + performance.now()) / 1000;
    values[3 * count + 2] = detail.at;
    window.noted.count++;
  });
}"""
NOTED = "Array.from(window.noted.values.subarray(0, 3 * window.noted.count))"
_MOST_VIEWERS_S = 20.0


@contextmanager
def site_of(index: SearchIndex, pipeline: Pipeline) -> Iterator[tuple[Site, int]]:
    """A site and the port of its server."""
    settings = Settings()
    controls = Controls(settings.detect, settings.show)
    site = Site(settings, pipeline, index, controls, Access(), (pipeline.spec.name, pipeline.spec.licence))
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


def viewers(site: Site, port: int, seconds: float, count: int, slow: int = 0) -> dict[str, Any]:
    """Figures of the server with so many viewers, of which some take one message a second."""
    clip = cv2.VideoCapture(str(demo_clip()))
    frames = [np.asarray(cv2.resize(clip.read()[1], WH), np.uint8) for _ in range(30)]
    command = [sys.executable, __file__, "--watch", str(port), str(count), str(slow), str(seconds)]
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


async def watch(port: int, count: int, slow: int, seconds: float) -> list[int]:
    """Scenes that each of some viewers gets."""

    async def one(every_s: float) -> int:
        got, until_s = 0, time.monotonic() + seconds
        async with connect(f"ws://127.0.0.1:{port}/ws", max_size=None) as socket:
            while time.monotonic() < until_s:
                try:
                    got += isinstance(await asyncio.wait_for(socket.recv(), 1.0), bytes)
                except TimeoutError:
                    continue
                await asyncio.sleep(every_s)
        return got

    return await asyncio.gather(*(one(1.0 if i < slow else 0.0) for i in range(count)))


# Browser --------------------------------------------------------------------------------------------------


class Stamped:
    """A sink that notes when the camera sent each frame, and hands scenes on."""

    def __init__(self, site: Site, source: Camera) -> None:
        self._site, self._source = site, source
        self.sent_s: dict[int, float] = {}
        self.begin = site.hub.begin

    def show(self, place: int, scene: Scene) -> None:
        ago_s = time.monotonic() - self._source.sent_s(scene.frame.bgr)
        self.sent_s[scene.frame.id] = time.time() - ago_s
        self._site.hub.show(place, scene)


def browser(index: SearchIndex, pipeline: Pipeline, seconds: float) -> dict[str, Any]:
    """Figures of a browser that watches a camera."""
    settings = Settings()
    with site_of(index, pipeline) as (site, port), camera(demo_clip()) as source:
        stamped = Stamped(site, source)
        command = [sys.executable, __file__, "--browser", str(port), str(seconds)]
        with (
            subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child,
            ThreadPoolExecutor(1) as reading,
        ):
            opened = open_source(source.url, settings.live)
            said = reading.submit(lambda: child.communicate()[0])  # more than a pipe holds
            said.add_done_callback(lambda _: opened.close())
            report = play(opened, pipeline, index, settings, Outputs(scenes=stamped), controls=site.controls)
            told = json.loads(said.result())
    number, at_s, captured_s = np.array(told.pop("drawn")).reshape(-1, 3).T
    sent_s = np.array([stamped.sent_s.get(int(n), np.nan) for n in number])
    known = np.isfinite(sent_s)
    at_s, age_ms, captured_ms = at_s[known], (at_s - sent_s)[known] * 1e3, (at_s - captured_s)[known] * 1e3
    span_s = span(seconds)
    return {
        "fps": report.fps,
        "drawn": len(age_ms),
        "sent_to_drawn_ms": quantiles(age_ms),
        "sent_to_drawn_first_ms": quantiles(age_ms[at_s < at_s[0] + span_s]),
        "sent_to_drawn_last_ms": quantiles(age_ms[at_s > at_s[-1] - span_s]),
        "captured_to_drawn_ms": quantiles(captured_ms),
        **told,
        "crops_sent": site.hub.meter.summary()["counts"].get("crops", 0),
    }


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
        for i in range(1, round(seconds / span(seconds)) + 1):
            page.wait_for_timeout(max(0.0, begun_s + i * span(seconds) - time.time()) * 1e3)
            tools.send("HeapProfiler.collectGarbage")
            used = page.evaluate("performance.memory.usedJSHeapSize")
            heap_mb[f"{i * span(seconds) / 60:g}"] = round(used / 1e6, 2)
        drawn = page.evaluate(NOTED)
        opened.close()
    return {"first_ms": round(first_ms), "crops": len(crops), "heap_mb": heap_mb, "drawn": drawn}


def measure(seconds: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        lib = make_library(Path(name))
        with open_pipeline(Settings(), cut_padding=True) as pipeline:
            index = open_index(Library.open(lib), Settings())
            pipeline.warm_up()
            index.warm_up(Settings().show.results)
            found: dict[str, Any] = {}
            with site_of(index, pipeline) as (site, port):
                viewers_s = min(seconds / 3, _MOST_VIEWERS_S)
                found["one"] = viewers(site, port, viewers_s, 1)
                found["ten"] = viewers(site, port, viewers_s, 10)
                found["ten_one_slow"] = viewers(site, port, viewers_s, 10, slow=1)
            found["browser"] = browser(index, pipeline, seconds) if CHROMIUM else "no chromium-headless-shell"
    return found | {"targets": TARGETS}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--json", action="store_true", help="one line")
    parser.add_argument("--watch", nargs=4, type=float, help=argparse.SUPPRESS)
    parser.add_argument("--browser", nargs=2, type=float, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.watch:
        port, count, slow, seconds = given.watch
        print(json.dumps(asyncio.run(watch(int(port), int(count), int(slow), seconds))))
    elif given.browser:
        print(json.dumps(look(int(given.browser[0]), given.browser[1])))
    else:
        print(json.dumps(measure(given.seconds), indent=None if given.json else 1))


if __name__ == "__main__":
    main()
