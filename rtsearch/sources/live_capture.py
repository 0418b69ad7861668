"""Cameras and streams: a thread keeps the newest picture, and connects again after a loss.

    open -> read, read, ... -> one slot -> whoever iterates
      ^        |
      └ wait <-┘ nothing came for a while (time), or the same picture came for minutes (content)

The waits grow from one failed attempt to the next. OpenCV may go on returning the last picture of a camera
that was unplugged, hence the look at the content. A source may truly show a still picture: when a new
connection brings the same picture again, the next look is put off twice as long.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np

from rtsearch.errors import SourceError
from rtsearch.sources.base import Source, Status
from rtsearch.sources.capture import NOTHING_CAME, Capture, Limits, LostError
from rtsearch.types import Frame, U8Array

__all__ = ["READ_TIMEOUT_S", "LiveCapture", "require_one"]

log = logging.getLogger(__name__)

READ_TIMEOUT_S = 3.0
"""A camera or stream that sends nothing for so long is lost, unless its pictures come slower than that."""

_FROZEN_S = 120.0  # a noise-free picture of a room at night, or a slide show, stands still as well
_FROZEN_MAX_S = 3600.0
_WAITS_S = (0.25, 0.5, 1.0, 2.0, 3.0)
_STEADY_S = 5.0
_JOIN_S = 0.5
_SLOWER = 4  # times the longest interval between pictures: a camera that is silent for so long is lost
_LOOK_S = 0.05
_FORGETS = 0.9  # share of the longest interval that stays from picture to picture


class LiveCapture(Source):
    """A camera or stream of which only the newest picture is kept.

    Frame numbers count what was received, so pictures that nobody fetched in time leave gaps.

    Args:
        name: what to call it.
        connect: opens a capture within about the seconds given, or raises LostError; called in the reader
            thread.
        limits: of time.
        hint: what to do when no first picture comes; ends the error's text.
        patient: do not wait for the first picture here, and try until it comes; see ``require_one``.

    Raises:
        SourceError: no picture came in time.
    """

    live = True
    camera = True

    def __init__(
        self,
        name: str,
        connect: Callable[[float], Capture],
        *,
        limits: Limits,
        hint: str,
        patient: bool = False,
    ) -> None:
        super().__init__(name)
        self._connect = connect
        self._limits = limits
        self._hint = hint
        self._patient = patient
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._newest: Frame | None = None
        self._received = 0
        self._capture: Capture | None = None
        self._opened_s: float | None = None
        self._done = False
        self._error: Exception | None = None
        self._reason = ""  # of the last loss
        self._status: Status = "reconnecting" if patient else "ok"
        self._still = _Still()
        self._attempts = 0
        self._begun_s = time.monotonic()
        self._thread = threading.Thread(target=self._run, name=f"source {self.name}", daemon=True)
        self._thread.start()
        if not patient:
            self._require_picture()

    def problem(self) -> str | None:
        """Return why there is no first picture, "" where there is one, None while it may still come."""
        with self._changed:
            if self._received:
                return ""
            begun_s, limit_s = self._begun_s, self._limits.open_s
            if self._opened_s is not None:
                begun_s, limit_s = self._opened_s, self._limits.picture_s
            reason = str(self._error or self._reason)
            if self._opened_s is None and reason not in ("", NOTHING_CAME):
                return f"{self.name} cannot be opened: {reason}; {self._hint}"
            if self._error is None and not self._done and time.monotonic() < begun_s + limit_s:
                return None
            return f"{self.name} gives no picture within {limit_s:g} s; {self._hint}"

    def _require_picture(self) -> None:
        try:
            while (problem := self.problem()) is None:
                with self._changed:
                    self._changed.wait(_LOOK_S)
        except BaseException:  # Ctrl-C
            self.close()
            raise
        if problem:
            self.close()
            raise SourceError(problem)

    @property
    def status(self) -> Status:
        """``reconnecting`` from a loss until the next picture."""
        with self._changed:
            return self._status

    def __next__(self) -> Frame:
        with self._changed:
            self._changed.wait_for(lambda: self._newest is not None or self._stop.is_set() or self._done)
            if self._error is not None:
                raise SourceError(f"{self.name}: the reader failed: {self._error}") from self._error
            frame, self._newest = self._newest, None
        if frame is None or self._stop.is_set():
            raise StopIteration
        return frame

    def close(self) -> None:
        """Stop the reader. One whose read cannot be ended is left to end by itself, by the read's limit."""
        self._stop.set()
        with self._changed:
            self._changed.notify_all()
            if self._capture is not None:
                self._capture.interrupt()
        self._thread.join(_JOIN_S)
        if self._thread.is_alive():
            log.info("%s has not ended yet", self._thread.name)

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                begun_s = time.monotonic()
                reason = self._one_connection()
                if self._stop.is_set() or not reason:
                    return
                if self._patient and not self._received and not self._reason:
                    log.warning("%s gives no picture: %s; trying until it does", self.name, reason)
                with self._changed:
                    self._reason, self._status = reason, "reconnecting"
                log.info("%s: %s, connecting again", self._thread.name, reason)
                if time.monotonic() - begun_s > _STEADY_S:
                    self._attempts = 0
                self._stop.wait(_WAITS_S[min(self._attempts, len(_WAITS_S) - 1)])
                self._attempts += 1
        except Exception as error:
            with self._changed:
                self._error = error
        finally:
            with self._changed:
                self._done = True
                self._changed.notify_all()

    def _one_connection(self) -> str:
        """Publish pictures until the source is lost; returns why it is, "" where it was never there."""
        try:
            capture = self._connect(self._limits.open_s)
        except LostError as error:
            if not self._received and not self._patient:
                with self._changed:
                    self._reason = str(error)
                return ""
            return str(error)
        with self._changed:
            self._capture = capture
            self._opened_s = self._opened_s or time.monotonic()
        try:
            return self._pump(capture)
        except LostError as error:
            return str(error)
        finally:
            with self._changed:
                self._capture = None
            capture.release()

    def _pump(self, capture: Capture) -> str:
        self.fps = capture.fps
        pictures, interval_s, good_s = 0, 0.0, time.monotonic()
        while not self._stop.is_set():
            limit_s = self._limits.picture_s
            if pictures > 1:
                limit_s = min(limit_s, max(READ_TIMEOUT_S, _SLOWER * interval_s))
            taken = capture.read(limit_s)
            now_s = time.monotonic()
            if taken.bgr is None:
                if now_s - good_s > limit_s:
                    return NOTHING_CAME
                continue
            if pictures:
                interval_s = max(now_s - good_s, _FORGETS * interval_s)
            pictures += 1
            good_s = now_s
            if capture.freezes and self._still.too_long(taken.bgr, now_s):
                return "the picture stands still"
            self._publish(Frame(self._received, now_s, None, taken.bgr, torn=taken.torn))
        return "closed"

    def _publish(self, frame: Frame) -> None:
        with self._changed:
            if not self._received:
                self.wh = (frame.bgr.shape[1], frame.bgr.shape[0])
            self._newest = frame
            self._received += 1
            self._status = "ok"
            self._changed.notify_all()


def require_one(sources: Sequence[Source]) -> None:
    """Wait until one of several sources has a picture; files have.

    Raises:
        SourceError: none gives a picture in time; the message is about the first.
    """
    while True:
        problems = [source.problem() if isinstance(source, LiveCapture) else "" for source in sources]
        if "" in problems:
            return
        if problems and None not in problems:
            raise SourceError(problems[0])
        time.sleep(_LOOK_S)


class _Still:
    """Tells when a picture has not changed for too long. One row in 16 is looked at: 20 us at 720p."""

    def __init__(self) -> None:
        self._rows: U8Array | None = None
        self._since_s = 0.0
        self._limit_s = _FROZEN_S

    def too_long(self, bgr: U8Array, now_s: float) -> bool:
        """True when ``bgr`` has been the picture for longer than the limit; the limit doubles then."""
        rows = bgr[::16]
        if self._rows is None or not np.array_equal(rows, self._rows):
            self._rows, self._since_s, self._limit_s = rows.copy(), now_s, _FROZEN_S
            return False
        if now_s - self._since_s < self._limit_s:
            return False
        self._since_s, self._limit_s = now_s, min(2 * self._limit_s, _FROZEN_MAX_S)
        return True
