"""The live loop for half an hour before a camera that fails now and then: does anything grow, or get lost?

    python tools/soak.py [--minutes 30] [--clip CLIP] [--library LIB]

A camera-like stream of 30 pictures a second (see ``bench/camera.py``) is played as ``rtsearch run LIB
--source URL --record FILE`` plays it, drawn to memory. Every two minutes, but not in the first and the last,
the camera stalls, sends garbage or hangs up, in turn. One JSON object says what came of it, also after
Ctrl-C:

    latency_ms   from the sending of a picture to the end of its showing, median, first and last minute
    memory_mb    resident, mean of the first minute after the warm-up (a fifth of the time) and of the last,
                 and in the middle of each minute
    threads, handles   of the same minutes, and the most
    faults       how long after the camera is well again its next picture was shown
    failed       which promises were broken: latency within 10 %, memory within 2 %, no thread and no handle
                 more, back within 5 s, every line recorded; the exit code is 1 then
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from rtsearch.config import Settings
from rtsearch.jobs.demo import demo_clip
from rtsearch.library import Library
from rtsearch.library.index import open_index
from rtsearch.live import LiveReport, Outputs, play
from rtsearch.pipeline import open_pipeline
from rtsearch.sources import open_source
from rtsearch.types import Scene, U8Array

sys.path.append(str(Path(__file__).with_name("bench")))
from camera import FAULTS, Camera, camera, make_library

MINUTE_S = 60.0
FAULT_EVERY_S = 120.0
FAULT_LASTS_S = 4.0
SETTLES_S = 10.0  # after the beginning and after a fault
BACK_WITHIN_S = 5.0


@dataclass(slots=True)
class Fault:
    """One time that the camera failed; seconds since the beginning."""

    kind: str
    begun_s: float
    well_s: float = float("inf")
    back_s: float = float("inf")


@dataclass(slots=True)
class Sample:
    """What the process holds at a moment."""

    at_s: float
    memory_mb: float
    threads: int
    handles: int


@dataclass
class Watch:
    """A screen that looks at the clock and at the process."""

    camera: Camera
    lasts_s: float
    begun_s: float = field(default_factory=time.monotonic)
    shown_s: array[float] = field(default_factory=lambda: array("d"))
    ages_ms: array[float] = field(default_factory=lambda: array("d"))  # since it was sent
    samples: list[Sample] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    @property
    def now_s(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self.begun_s

    def show(self, scene: Scene, picture: U8Array) -> None:
        """A picture was drawn."""
        sent_s = self.camera.sent_s(scene.frame.bgr)
        now_s = self.now_s
        self.shown_s.append(now_s)
        self.ages_ms.append((time.monotonic() - sent_s) * 1e3)
        for fault in self.faults:
            if fault.back_s == float("inf") and sent_s - self.begun_s > fault.well_s:
                fault.back_s = now_s

    def pump(self) -> bool:
        """Take a sample each second; False when the time is over."""
        if not self.samples or self.now_s - self.samples[-1].at_s >= 1:
            process = psutil.Process()
            memory_mb = process.memory_info().rss / 1e6
            self.samples.append(Sample(self.now_s, memory_mb, process.num_threads(), process.num_fds()))
        return self.now_s < self.lasts_s

    def calm(self, at_s: float) -> bool:
        """Is no fault about, nor just over?"""
        return not any(f.begun_s <= at_s < min(f.well_s, f.begun_s + 60) + SETTLES_S for f in self.faults)


def disturb(watch: Watch, over: threading.Event) -> None:
    """Let the camera fail now and then, in a thread of its own."""
    turn = 0
    while not over.wait(FAULT_EVERY_S):
        if watch.lasts_s - watch.now_s < MINUTE_S + FAULT_LASTS_S + SETTLES_S:
            return
        fault = Fault(FAULTS[turn % len(FAULTS)], watch.now_s)
        watch.faults.append(fault)
        watch.camera.order(fault.kind)
        over.wait(FAULT_LASTS_S)
        watch.camera.order("play")
        fault.well_s = watch.now_s
        turn += 1


def soak(seen: Camera, lib: Path, lasts_s: float, record: Path) -> tuple[LiveReport, Watch]:
    """Play to the end of the time, or to Ctrl-C."""
    settings = Settings()
    with open_pipeline(settings, cut_padding=True) as pipeline:
        index = open_index(Library.open(lib), settings)
        pipeline.warm_up()
        index.warm_up(settings.show.results)
        source = open_source(seen.url, settings.live)
        watch, over = Watch(seen, lasts_s), threading.Event()
        trouble = threading.Thread(target=disturb, args=(watch, over), name="trouble")
        trouble.start()
        try:
            report = play(source, pipeline, index, settings, Outputs(watch, records=(record,)))
        finally:
            over.set()
            trouble.join()
        return report, watch


def figures(report: LiveReport, watch: Watch, record: Path, left: list[str]) -> dict[str, Any]:
    """What came of it."""
    end_s = watch.shown_s[-1] if watch.shown_s else 0.0
    minute_s = min(MINUTE_S, end_s / 4)
    warm_s = max(SETTLES_S, end_s / 5)
    first, last = (SETTLES_S, SETTLES_S + minute_s), (end_s - minute_s, end_s)
    warm = (warm_s, warm_s + minute_s)

    def held(what: Callable[[Sample], float]) -> list[float]:
        return [mean([what(s) for s in watch.samples if a <= s.at_s <= b]) for a, b in (warm, last)]

    ages = list(zip(watch.shown_s, watch.ages_ms, strict=True))
    latency = [
        median([age for at_s, age in ages if a <= at_s <= b and watch.calm(at_s)]) for a, b in (first, last)
    ]
    memory = held(lambda s: s.memory_mb)
    threads = held(lambda s: s.threads)
    handles = held(lambda s: s.handles)
    backs = [fault.back_s - fault.well_s for fault in watch.faults if fault.well_s < end_s - BACK_WITHIN_S]
    lines = [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]
    broken = {
        "latency": grew(latency, 0.1),
        "memory": grew(memory, 0.02),
        "threads": grew([round(n) for n in threads], 0) or bool(left),
        "handles": grew([round(n) for n in handles], 0),
        "faults": any(back_s > BACK_WITHIN_S for back_s in backs),
        "lines": len(lines) != report.frames_shown,
    }
    return {
        "minutes": round(end_s / 60, 2),
        "frames_shown": report.frames_shown,
        "frames_moved": report.frames_moved,
        "dropped": report.dropped,
        "fps": round(report.frames_shown / max(1e-6, end_s), 2),
        "latency_ms": compared(latency),
        "memory_mb": compared(memory) | {"by_minute": [round(s.memory_mb) for s in watch.samples[30::60]]},
        "threads": compared(threads) | {"most": max(s.threads for s in watch.samples), "left": left},
        "handles": compared(handles) | {"most": max(s.handles for s in watch.samples)},
        "faults": [
            {
                "kind": fault.kind,
                "at_s": round(fault.begun_s),
                "back_s": round(fault.back_s - fault.well_s, 2),
            }
            for fault in watch.faults
            if fault.back_s < float("inf")
        ],
        "lines": len(lines),
        "failed": [name for name, is_broken in broken.items() if is_broken],
    }


def compared(values: list[float]) -> dict[str, float | None]:
    """First, last and how much more; what ended early has no first."""
    first, last = values
    return {
        "first": round(first, 1),
        "last": round(last, 1),
        "ratio": round(last / first, 4) if first else None,
    }


def grew(values: Sequence[float], share: float) -> bool:
    """Is the last more than the first by more than a share?"""
    first, last = values
    return first > 0 and last > (1 + share) * first


def mean(values: list[float]) -> float:
    """0 of none."""
    return statistics.fmean(values) if values else 0.0


def median(values: list[float]) -> float:
    """0 of none."""
    return statistics.median(values) if values else 0.0


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--clip", type=Path, help="what the camera sees")
    parser.add_argument("--library", type=Path, help="made of the demo's pictures if not given")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, camera(options.clip or demo_clip()) as seen:
        lib = options.library or make_library(Path(folder))
        before = set(threading.enumerate())
        report, watch = soak(seen, lib, options.minutes * 60, Path(folder) / "record.jsonl")
        left = [thread.name for thread in threading.enumerate() if thread not in before]
        result = figures(report, watch, Path(folder) / "record.jsonl", left)
    print(json.dumps(result))
    return int(bool(result["failed"]))


if __name__ == "__main__":
    sys.exit(main())
