"""The wall clock for sources that would wait: plays at the file's own speed, drops what comes too late.

At any time the picture on is the last one whose time has come, as in a player. One picture is read ahead, to
know whether the one before it is already over. Photos are not dropped: one that comes late stays as long as
the others, and those after it are shown later.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable

from rtsearch.sources.base import Source, Status
from rtsearch.types import Frame

__all__ = ["Paced"]

_DEFAULT_FPS = 25.0


class Paced(Source):
    """Gives the frames of ``source`` when their presentation time has come.

    ``captured_s`` becomes the moment at which a frame was due or read, whichever is later, so that latencies
    mean the same as for a camera. Frames left out leave gaps in the numbers and are counted in ``dropped``.

    Args:
        source: with presentation times; closed together with this one.
        now: the clock, monotonic seconds.
    """

    live = True
    paced = True

    def __init__(self, source: Source, *, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__(source.name, fps=source.fps, frames=source.frames, wh=source.wh)
        self.slides = source.slides
        self.seekable = source.seekable
        self.begins_s = source.begins_s
        self.sound = source.sound
        self.dropped = 0
        self._source = source
        self._now = now
        self._stop = threading.Event()
        self._origin_s: float | None = None  # clock minus presentation time
        self._pts_s: float | None = None  # of the last frame looked at
        self._ahead: Frame | None = None
        self._afresh = True

    @property
    def loop(self) -> bool:
        """Value of the source."""
        return self._source.loop

    @loop.setter
    def loop(self, loop: bool) -> None:
        self._source.loop = loop

    @property
    def status(self) -> Status:
        """Value of the source."""
        return self._source.status

    def __next__(self) -> Frame:
        if self.slides:
            return self._slide()
        while True:
            if self._afresh:
                self._afresh, self._origin_s, self._pts_s = False, None, None
                self._ahead = next(self._source, None)
            if (frame := self._ahead) is None:
                raise StopIteration
            due_s = self._due_s(frame)
            self._ahead = next(self._source, None)
            if self._stop.wait(max(0.0, due_s - self._now())):
                raise StopIteration
            if self._afresh:  # somewhere else was asked for meanwhile
                continue
            if self._ahead is None or _pts_s(self._ahead) <= _pts_s(frame) or not self._is_over(self._ahead):
                return dataclasses.replace(frame, captured_s=max(due_s, frame.captured_s))
            self.dropped += 1

    def _slide(self) -> Frame:
        frame = next(self._source)  # nothing is read ahead: the drive may be away, and this one is to be seen
        due_s = self._due_s(frame)
        if (late_s := self._now() - due_s) > 0:
            self._origin_s = (self._origin_s or 0.0) + late_s
            due_s += late_s
        if self._stop.wait(max(0.0, due_s - self._now())):
            raise StopIteration
        return dataclasses.replace(frame, captured_s=max(due_s, frame.captured_s))

    def seek(self, seconds: float) -> bool:
        """Go on at a presentation time of the source, at once."""
        sought = self._source.seek(seconds)
        self._afresh = self._afresh or sought
        return sought

    def resume(self) -> None:
        """After a pause: the next frame is due now, and none is dropped for the time that passed."""
        self._origin_s = None

    def close(self) -> None:
        """Close the source too; a wait under way ends."""
        self._stop.set()
        self._source.close()

    def _due_s(self, frame: Frame) -> float:
        pts_s, before_s = _pts_s(frame), self._pts_s
        self._pts_s = pts_s
        if self._origin_s is None:
            self._origin_s = self._now() - pts_s
        elif before_s is not None and pts_s <= before_s:  # the source has begun again
            self._origin_s += before_s + 1 / (self.fps or _DEFAULT_FPS) - pts_s
        return self._origin_s + pts_s

    def _is_over(self, following: Frame) -> bool:
        """Tell whether the time of the following frame has come as well."""
        return self._origin_s is not None and self._origin_s + _pts_s(following) <= self._now()


def _pts_s(frame: Frame) -> float:
    if frame.pts_s is None:
        raise ValueError("a live source keeps its own time; only sources with presentation times are paced")
    return frame.pts_s
