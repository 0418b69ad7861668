"""The figures of a run."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from rtsearch._util.metrics import Quantiles
from rtsearch.memory.live_memory import MemoryReport
from rtsearch.send import OutletReport

__all__ = ["LiveReport", "SourceReport", "Tally"]


class Tally:
    """Counts the frames of one source; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._frames_in = self._dropped = 0

    def add(self, *, frames_in: int = 0, dropped: int = 0) -> None:
        """Count frames that came, and frames that were lost on the way."""
        with self._lock:
            self._frames_in += frames_in
            self._dropped += dropped

    def counts(self) -> tuple[int, int]:
        """Return how many frames came and how many were lost so far."""
        with self._lock:
            return self._frames_in, self._dropped


@dataclass(frozen=True, slots=True)
class SourceReport:
    """The figures of one source; see LiveReport."""

    name: str
    frames_in: int
    frames_shown: int
    frames_moved: int
    dropped: int
    objects: int


@dataclass(frozen=True, slots=True)
class LiveReport:
    """The figures of a run; see docs/explanation/performance.md for what each time covers.

    Attributes:
        frames_in: frames that came.
        frames_shown: those that were shown with objects of their own.
        frames_moved: others, shown with the last objects moved along because detection was behind.
        dropped: frames that got no detection.
        fps: frames shown per second.
        objects: in all frames shown.
        neighbours: of these objects.
        searches_skipped: share of the objects whose neighbours were proved unchanged without a search.
        stage_ms: time of each stage.
        cpu_ms: CPU time per frame shown, by stage; ``all`` is that of the process, the network's threads
            included.
        latency_ms: from a frame's capture to the end of its showing.
        sources: the figures of each source.
        outlets: the figures of each program that signals were sent to.
        memory: the figures of what was remembered; None where nothing was to be.
    """

    frames_in: int
    frames_shown: int
    frames_moved: int
    dropped: int
    fps: float
    objects: int
    neighbours: int
    searches_skipped: float
    stage_ms: dict[str, Quantiles]
    cpu_ms: dict[str, float]
    latency_ms: Quantiles
    sources: tuple[SourceReport, ...]
    outlets: tuple[OutletReport, ...]
    memory: MemoryReport | None = None
