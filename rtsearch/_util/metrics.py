"""Measure the stage times, rates and counters of a run, cheaply enough for every frame.

with meter.stage("detect"):
    ...
meter.tick()                 # a frame was shown
meter.summary()              # {"fps": ..., "stage_ms": {"detect": {"p50": ..., "p99": ...}}, "counts": {...}}
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import TypedDict

import numpy as np

__all__ = ["Meter", "Quantiles", "Summary", "rate"]


class Quantiles(TypedDict):
    """Median and 99th percentile, ms."""

    p50: float
    p99: float


class Summary(TypedDict):
    """Figures of a whole run.

    Attributes:
        fps: ticks per second over the window.
        stage_ms: times of each stage over the window.
        counts: counters by name, since the start.
    """

    fps: float
    stage_ms: dict[str, Quantiles]
    counts: dict[str, int]


class Meter:
    """Collector of times and counts from any number of threads.

    Args:
        window: number of most recent times for quantiles and rates; it bounds the memory.
    """

    def __init__(self, window: int = 4096) -> None:
        self._window = window
        self._lock = threading.Lock()
        self._times_s: dict[str, deque[float]] = {}
        self._ticks_s: deque[float] = deque(maxlen=window)
        self._counts: dict[str, int] = {}
        self._cpu_s: dict[str, float] = {}

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block as one run of a stage; a block that raises an error is not counted."""
        start_s, cpu_s = time.perf_counter(), time.thread_time()
        yield
        spent_s = time.thread_time() - cpu_s
        self.add(name, time.perf_counter() - start_s)
        with self._lock:
            self._cpu_s[name] = self._cpu_s.get(name, 0.0) + spent_s

    def add(self, name: str, seconds: float) -> None:
        """Add the duration of one run of a stage."""
        with self._lock:
            self._times_s.setdefault(name, deque(maxlen=self._window)).append(seconds)

    def cpu_s(self) -> dict[str, float]:
        """Return the CPU time of each stage since the start, in the threads that ran it, s."""
        with self._lock:
            return dict(self._cpu_s)

    def tick(self) -> None:
        """Count one frame, now."""
        now_s = time.perf_counter()
        with self._lock:
            self._ticks_s.append(now_s)

    def count(self, name: str, by: int = 1) -> None:
        """Add to a counter."""
        with self._lock:
            self._counts[name] = self._counts.get(name, 0) + by

    def quantiles_ms(self, name: str) -> Quantiles:
        """Return median and 99th percentile of a stage over the window; 0 for a stage that never ran."""
        with self._lock:
            times_s = list(self._times_s.get(name, ()))
        p50, p99 = np.percentile(times_s, (50, 99)) * 1e3 if times_s else (0.0, 0.0)
        return {"p50": round(float(p50), 3), "p99": round(float(p99), 3)}

    def fps(self) -> float:
        """Return the ticks per second over the window."""
        with self._lock:
            return rate(self._ticks_s)

    def summary(self) -> Summary:
        """Return all figures as JSON values."""
        with self._lock:
            names, counts = list(self._times_s), dict(self._counts)
        return {
            "fps": round(self.fps(), 2),
            "stage_ms": {name: self.quantiles_ms(name) for name in names},
            "counts": counts,
        }


def rate(ticks_s: deque[float]) -> float:
    """Return the rate of n ticks: n - 1 intervals divided by the time that they span; 0 for n < 2."""
    if len(ticks_s) < 2 or ticks_s[-1] <= ticks_s[0]:
        return 0.0
    return (len(ticks_s) - 1) / (ticks_s[-1] - ticks_s[0])
