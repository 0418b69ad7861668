"""The live loop against a camera-like stream, beside what users write today; all in one run.

A process of its own plays a clip as 30 JPEGs a second over HTTP, at 1280x720, each with its number as a bar
code at the lower edge. So every loop knows when the picture that it shows was sent. In turn:

    ours       rtsearch as ``rtsearch run URL`` runs it: detect, describe, track, search, crops, strips
    loop       one loop: read, letterbox, the same ONNX file, rectangles, show; no search, no crops
    queue      the same, read by a thread into an unbounded queue
    eight      eight objects with 16 results: CPU time of search, crops, drawing and display

    python tools/bench/live.py [--seconds 60] [--json] [--clip CLIP] [--library LIB]

Without a display pictures are drawn to memory. ``latency_ms`` is from a picture's being complete in memory to
the end of its showing, ``sent_ms`` from its sending; ``growth`` is the median of the last sixth of the time
by that of the first. ``cpu_ms`` is per picture shown; ``network`` counts all threads of onnxruntime.
"""

from __future__ import annotations

import argparse
import json
import queue
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
from camera import WH, camera, make_library, quantiles

from rtsearch.config import Settings
from rtsearch.jobs.demo import demo_clip
from rtsearch.library import Library
from rtsearch.library.index import SearchIndex, open_index
from rtsearch.library.thumbnails import ThumbCache
from rtsearch.live import Outputs, play
from rtsearch.live.compositor import Appearance, Compositor, crop_height
from rtsearch.live.controls import Controls
from rtsearch.live.room import StripRoom
from rtsearch.live.stabilizer import Stabilizer
from rtsearch.live.tracker import preload
from rtsearch.models import default_folder, pull
from rtsearch.perception.detector import letterbox
from rtsearch.pipeline import open_pipeline
from rtsearch.render.layout import canvas_of
from rtsearch.sources import open_source
from rtsearch.types import Detections, Frame, Scene, U8Array
from rtsearch.ui.display import display_problem
from rtsearch.ui.window import Window

# What is measured ------------------------------------------------------------------------------------------


class Log:
    """When pictures were shown, and how old they were."""

    def __init__(self, seconds: float) -> None:
        self.begun_s = 0.0
        self.seconds = seconds
        self.shown: list[tuple[float, float]] = []  # s since the beginning, age in ms
        self.cpu_s = time.process_time()
        self.memory: list[int] = []

    def add(self, sent_s: float) -> None:
        now_s = time.monotonic()
        if not self.shown:
            self.begun_s, self.cpu_s = now_s, time.process_time()
        self.shown.append((now_s - self.begun_s, (now_s - sent_s) * 1e3))
        if len(self.shown) % 30 == 0:
            self.memory.append(psutil.Process().memory_info().rss)

    @property
    def over(self) -> bool:
        return bool(self.shown) and time.monotonic() - self.begun_s > self.seconds

    def figures(self) -> dict[str, Any]:
        ages = [age for _, age in self.shown]
        sixth = self.seconds / 6
        first = [age for t, age in self.shown if t <= sixth]
        last = [age for t, age in self.shown if t > 5 * sixth]
        sixths = len(self.memory) // 6
        return {
            "fps": round((len(ages) - 1) / max(1e-6, self.shown[-1][0] - self.shown[0][0]), 2),
            "sent_ms": quantiles(ages),
            "growth": round(statistics.median(last) / statistics.median(first), 3),
            "cpu_ms_all": round((time.process_time() - self.cpu_s) * 1e3 / len(ages), 2),
            "memory_growth": round(self.memory[-1] / self.memory[sixths], 3) if self.memory else None,
        }


class Watched:
    """A screen that passes on to a window, where there is one, and logs."""

    def __init__(self, window: Window | None, log: Log, sent_s: Callable[[U8Array], float]) -> None:
        self._window, self._log, self._sent_s = window, log, sent_s
        self.threads_s: dict[str, float] = {}

    def show(self, scene: Scene, picture: U8Array) -> None:
        if self._window is not None:
            self._window.show(scene, picture)
        self._log.add(self._sent_s(scene.frame.bgr))

    def pump(self) -> bool:
        if self._log.over:
            names = {thread.native_id: thread.name for thread in threading.enumerate()}
            for thread in psutil.Process().threads():
                name = names.get(thread.id, "pool").split(" ")[0]
                spent_s = thread.user_time + thread.system_time
                self.threads_s[name] = self.threads_s.get(name, 0.0) + spent_s
        return not self._log.over and (self._window is None or self._window.pump())


def ours(
    url: str, sent_s: Callable[[U8Array], float], seconds: float, window: Any, lib: Path
) -> dict[str, Any]:
    settings = Settings()
    with open_pipeline(settings, cut_padding=True) as pipeline:
        index = open_index(Library.open(lib), settings)
        pipeline.warm_up()
        index.warm_up(settings.show.results)
        preload()
        source = open_source(url, settings.live)
        log = Log(seconds)
        screen = Watched(window, log, sent_s)
        report = play(source, pipeline, index, settings, Outputs(screen=screen))
    shown = max(1, report.frames_shown)
    cpu_ms = report.cpu_ms
    decode_ms = screen.threads_s.get("source", 0.0) * 1e3 / shown
    parts = ("describe", "search", "thumbs", "draw", "show", "capture")
    known_ms = sum(cpu_ms.get(part, 0.0) for part in parts) + decode_ms
    return log.figures() | {
        "fps": report.fps,
        "frames_shown": report.frames_shown,
        "frames_moved": report.frames_moved,
        "dropped": report.dropped,
        "latency_ms": report.latency_ms,
        "searches_skipped": report.searches_skipped,
        "objects_per_frame": round(report.objects / shown, 2),
        "cpu_ms": {part: round(cpu_ms.get(part, 0.0), 2) for part in parts}
        | {
            "decode": round(decode_ms, 2),
            "network": round(cpu_ms["all"] - known_ms, 2),
            "all": cpu_ms["all"],
        },
    }


# What users write today ------------------------------------------------------------------------------------


def plain_detector(model: Path) -> Callable[[U8Array], list[list[float]]]:
    import onnxruntime as ort  # after rtsearch, which switches its telemetry off

    session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    names = ["boxes", "scores"]

    def detect(bgr: U8Array) -> list[list[float]]:
        blob = cv2.dnn.blobFromImage(letterbox(bgr, (416, 416), 114), 1 / 255, swapRB=True)
        boxes, scores = (out[0] for out in session.run(names, {"images": blob}))
        kept = boxes[scores.max(1) >= 0.3] * (max(bgr.shape[:2]) / 416)
        found: list[list[float]] = kept.tolist()
        return found

    return detect


def show_plainly(bgr: U8Array, boxes: list[list[float]], window: Window | None) -> None:
    for x1, y1, x2, y2 in boxes:
        cv2.rectangle(bgr, (int(x1), int(y1)), (int(x2), int(y2)), (0, 255, 0), 2)
    if window is not None:
        cv2.imshow("rtsearch bench", bgr)
        cv2.waitKey(1)


def one_loop(url: str, sent_s: Any, seconds: float, window: Any, model: Path) -> dict[str, Any]:
    detect = plain_detector(model)
    capture = cv2.VideoCapture(url)
    log = Log(seconds)
    while not log.over:
        bgr: Any = capture.read()[1]
        sent = sent_s(bgr)
        show_plainly(bgr, detect(bgr), window)
        log.add(sent)
    capture.release()
    return log.figures()


def reader_and_queue(url: str, sent_s: Any, seconds: float, window: Any, model: Path) -> dict[str, Any]:
    detect = plain_detector(model)
    capture = cv2.VideoCapture(url)
    frames: queue.Queue[Any] = queue.Queue()
    log = Log(seconds)

    def read() -> None:
        while not log.over:
            frames.put(capture.read()[1])

    reader = threading.Thread(target=read)
    reader.start()
    while not log.over:
        bgr = frames.get()
        sent = sent_s(bgr)
        show_plainly(bgr, detect(bgr), window)
        log.add(sent)
    reader.join()
    capture.release()
    return log.figures()


# Eight objects ---------------------------------------------------------------------------------------------


def eight(lib: Path, window: Window | None, frames: int = 300) -> dict[str, float]:
    """Mean CPU ms of each part, for eight objects that stray a little around objects of the library."""
    settings = Settings()
    index: SearchIndex = open_index(Library.open(lib), settings)
    room = StripRoom(canvas_of(settings.show), WH)
    cache = ThumbCache(index.thumb_places, settings.live.cache_mb << 20)
    compositor = Compositor(index.library.space.class_names, cache, index)
    look = Appearance(settings.show, notes=("eight objects",))
    stabilizer = Stabilizer(index, settings.search)
    rng = np.random.default_rng(0)
    centres = index.points(rng.integers(0, len(index), 8).astype(np.int32))
    bgr = rng.integers(0, 255, (WH[1], WH[0], 3), dtype=np.uint8)
    spent: dict[str, list[float]] = {"search": [], "thumbs": [], "draw": [], "show": []}
    corners = np.array([[150 * i, 80, 150 * i + 140, 500] for i in range(8)], np.float32)
    for t in range(frames):
        boxes = (corners + rng.normal(0, 3, (8, 4))).astype(np.float32)
        score = rng.uniform(0.5, 0.9, 8).astype(np.float32)
        points = centres + rng.normal(0, 0.02, centres.shape).astype(np.float32)
        found = Detections(boxes, score, np.zeros(8, np.int32), points)
        frame = Frame(t, time.monotonic(), None, bgr)
        marks = [time.thread_time()]
        objects = stabilizer.update(frame, found, room)
        marks.append(time.thread_time())
        height_px = crop_height(settings.show, frame, objects.rows)
        cache.prefetch(objects.neighbours.row.ravel().tolist(), height_px)
        marks.append(time.thread_time())
        scene, picture, *_ = compositor.draw(compositor.scene(frame, objects, None, settings.show), look)
        marks.append(time.thread_time())
        if window is not None:
            window.show(scene, picture)
            window.pump()
        marks.append(time.thread_time())
        for part, took_s in zip(spent.values(), np.diff(marks), strict=True):
            part.append(float(took_s) * 1e3)
    means = {name: round(statistics.mean(times[10:]), 3) for name, times in spent.items()}
    return means | {"all": round(sum(means.values()), 3)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="of each loop")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    parser.add_argument("--clip", type=Path, help="what the camera sees")
    parser.add_argument(
        "--library", type=Path, help="what is searched; made of the demo's pictures if not given"
    )
    options = parser.parse_args()
    clip = options.clip or demo_clip()
    model = pull(Settings().model.name, default_folder())
    problem = display_problem()
    with tempfile.TemporaryDirectory() as folder, camera(clip) as seen:
        url, sent_s = seen.url, seen.sent_s
        lib = options.library or make_library(Path(folder))
        settings = Settings()
        controls = Controls(settings.detect, settings.show)
        window = None if problem else Window("rtsearch bench", controls, Path(folder))
        result = ours(url, sent_s, options.seconds, window, lib)
        peers = {
            "loop": one_loop(url, sent_s, options.seconds, window, model),
            "queue": reader_and_queue(url, sent_s, options.seconds, window, model),
        }
        result |= {"eight_objects_cpu_ms": eight(lib, window)}
    result |= peers | {"display": problem or "yes", "clip": clip.name}
    result["ratios"] = {
        name: {
            "fps": round(result["fps"] / peer["fps"], 2),
            "latency": round(peer["sent_ms"]["p50"] / result["sent_ms"]["p50"], 2),
            "growth": round(peer["growth"] / result["growth"], 2),
        }
        for name, peer in peers.items()
    }
    if options.json:
        print(json.dumps(result))
    else:
        for key, value in result.items():
            print(f"{key:22s} {value}")


if __name__ == "__main__":
    main()
