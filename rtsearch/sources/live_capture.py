"""Cameras and streams: a thread keeps the newest picture, and connects again after a loss.

    open -> read, read, ... -> one slot -> whoever iterates
      ^        |
      └ wait <-┘ nothing came for a while (time), or the same picture came again and again (content)

The waits grow from one failed attempt to the next. OpenCV may go on returning the last picture of a camera
that was unplugged, hence the look at the content. A source may truly show a still picture: when a new
connection brings the same picture again, the next look is put off twice as long.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import cast

import cv2
import numpy as np

from rtsearch.errors import SourceError
from rtsearch.sources.base import Source, Status
from rtsearch.sources.cv2_capture import READ_TIMEOUT_S, Capture
from rtsearch.types import Frame, U8Array

__all__ = ["LiveCapture"]

log = logging.getLogger(__name__)

_FROZEN_S = 3.0
_FROZEN_MAX_S = 300.0
_WAITS_S = (0.25, 0.5, 1.0, 2.0, 3.0)
_STEADY_S = 5.0
_JOIN_S = 5.0


class LiveCapture(Source):
    """A camera or stream of which only the newest picture is kept.

    Frame numbers count what was received, so pictures that nobody fetched in time leave gaps.

    Args:
        name: what to call it.
        connect: opens a capture within about the seconds given; called in the reader thread.
        timeout_s: time for the first picture.
        hint: what to do when no first picture comes; ends the error's text.

    Raises:
        SourceError: no picture came in time.
    """

    live = True
    camera = True

    def __init__(
        self, name: str, connect: Callable[[float], Capture], *, timeout_s: float, hint: str
    ) -> None:
        self._connect = connect
        self._timeout_s = timeout_s
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._newest: Frame | None = None
        self._received = 0
        self._done = False
        self._error: Exception | None = None
        self._status: Status = "ok"
        self._fps: float | None = None
        self._still = _Still()
        self._attempts = 0
        self._thread = threading.Thread(target=self._run, name=f"source {name}", daemon=True)
        begun_s = time.monotonic()
        self._thread.start()
        with self._changed:
            self._changed.wait_for(lambda: self._newest is not None or self._done, timeout_s)
            first = self._newest
        if first is None:
            late = time.monotonic() - begun_s > 0.9 * timeout_s
            self.close()
            problem = f"gives no picture within {timeout_s:g} s" if late else "cannot be opened"
            raise SourceError(f"{name} {problem}; {hint}") from self._error
        super().__init__(name, fps=self._fps, wh=(first.bgr.shape[1], first.bgr.shape[0]))

    @property
    def status(self) -> Status:
        """``reconnecting`` from a loss until the next picture."""
        return self._status

    def __next__(self) -> Frame:
        with self._changed:
            self._changed.wait_for(lambda: self._newest is not None or self._ended())
            if self._error is not None:
                raise SourceError(f"{self.name}: the reader failed: {self._error}") from self._error
            frame, self._newest = self._newest, None
        if frame is None or self._stop.is_set():
            raise StopIteration
        return frame

    def close(self) -> None:
        """Stop the reader; a read that is under way is waited for, which the read time limit bounds."""
        self._stop.set()
        with self._changed:
            self._changed.notify_all()
        self._thread.join(_JOIN_S)
        if self._thread.is_alive():
            log.warning("%s does not let go; its thread is left behind", self._thread.name)

    def _ended(self) -> bool:
        return self._stop.is_set() or self._done

    def _run(self) -> None:
        try:
            capture: Capture | None = self._connect(self._timeout_s)
            while capture is not None:
                begun_s = time.monotonic()
                try:
                    reason = self._pump(capture) if capture.isOpened() else ""
                finally:
                    capture.release()
                if not reason or self._stop.is_set():
                    return
                self._status = "reconnecting"
                log.info("%s: %s, connecting again", self._thread.name, reason)
                if time.monotonic() - begun_s > _STEADY_S:
                    self._attempts = 0
                capture = self._reconnect()
        except Exception as error:
            self._error = error
        finally:
            self._done = True
            with self._changed:
                self._changed.notify_all()

    def _reconnect(self) -> Capture | None:
        while not self._stop.wait(_WAITS_S[min(self._attempts, len(_WAITS_S) - 1)]):
            self._attempts += 1
            capture = self._connect(min(self._timeout_s, READ_TIMEOUT_S))
            if capture.isOpened():
                return capture
            capture.release()
        return None

    def _pump(self, capture: Capture) -> str:
        """Publish pictures until the source is lost; returns why it is."""
        fps = capture.get(cv2.CAP_PROP_FPS)
        self._fps = fps if 0 < fps < 1000 else None
        good_s = time.monotonic()
        while not self._stop.is_set():
            ok, bgr = capture.read()
            now_s = time.monotonic()
            if not ok or (bgr is None and now_s - good_s > READ_TIMEOUT_S):
                return "no picture came"
            if bgr is None:
                continue
            good_s = now_s
            if self._still.too_long(bgr, now_s):
                return "the picture stands still"
            with self._changed:
                self._newest = Frame(self._received, now_s, None, cast(U8Array, bgr))
                self._received += 1
                self._status = "ok"
                self._changed.notify_all()
        return "closed"


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
