"""The wall clock for sources that would wait: plays at the file's own speed, drops what comes too late.

At any time the picture on is the last one whose time has come, as in a player. One picture is read ahead, to
know whether the one before it is already over.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable

from rtsearch.records import Frame
from rtsearch.sources.base import Source, Status

__all__ = ["Paced"]


class Paced(Source):
    """Gives the frames of ``source`` when their presentation time has come.

    ``captured_s`` becomes the moment at which a frame was due or read, whichever is later, so that latencies
    mean the same as for a camera. Frames left out leave gaps in the numbers and are counted in ``dropped``.

    Args:
        source: with presentation times; closed together with this one.
        now: the clock, monotonic seconds.
    """

    live = True

    def __init__(self, source: Source, *, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__(source.name, fps=source.fps, frames=source.frames, wh=source.wh)
        self.dropped = 0
        self._source = source
        self._now = now
        self._stop = threading.Event()
        self._origin_s: float | None = None  # clock minus presentation time
        self._ahead: Frame | None = None
        self._begun = False

    @property
    def status(self) -> Status:
        """That of the source."""
        return self._source.status

    def __next__(self) -> Frame:
        if not self._begun:
            self._begun, self._ahead = True, next(self._source, None)
        while (frame := self._ahead) is not None:
            due_s = self._due_s(frame)
            self._ahead = next(self._source, None)
            if self._stop.wait(max(0.0, due_s - self._now())):
                break
            over = (
                self._ahead is not None
                and _follows(self._ahead, frame)
                and self._due_s(self._ahead) <= self._now()
            )
            if not over:
                return dataclasses.replace(frame, captured_s=max(due_s, frame.captured_s))
            self.dropped += 1
        raise StopIteration

    def restart(self) -> None:
        """After a pause or a seek: the next frame is due at once."""
        self._origin_s = None

    def close(self) -> None:
        """Close the source too; a wait under way ends."""
        self._stop.set()
        self._source.close()

    def _due_s(self, frame: Frame) -> float:
        assert frame.pts_s is not None
        if self._origin_s is None:
            self._origin_s = self._now() - frame.pts_s
        return self._origin_s + frame.pts_s


def _follows(later: Frame, frame: Frame) -> bool:
    assert later.pts_s is not None
    assert frame.pts_s is not None
    return later.pts_s > frame.pts_s
