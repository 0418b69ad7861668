"""Video files: every frame in order, with the presentation times of the container.

    open -> read -> Timeline.mend(container time) -> Frame;   seek: jump before the time asked for, then walk
    to it

Rotation flags are honoured by OpenCV. A file whose tail is damaged plays up to there; the log says so.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from pathlib import Path
from typing import cast

import cv2

from rtsearch.errors import SourceError
from rtsearch.sources.base import Source
from rtsearch.sources.cv2_capture import open_file
from rtsearch.types import Frame, U8Array

__all__ = ["Timeline", "VideoFile"]

log = logging.getLogger(__name__)

_DEFAULT_FPS = 25.0
_GAP_S = 3600.0
_RESTART_S = 1.0
_SEEK_MARGINS_S = (0.25, 2.0, 15.0)


class Timeline:
    """Makes presentation times strictly increasing, keeping every one that already is.

    A missing time (raw streams repeat 0) continues by one frame interval. A small step back is a single odd
    time: the frame comes a tenth of an interval after the one before. A step back by more than a second, or
    ahead by more than an hour, is a new count, as in files joined end to end: what follows is shifted to
    continue.
    """

    def __init__(self, fps: float) -> None:
        self._interval_s = 1 / fps
        self._raw_s = -math.inf
        self._shift_s = 0.0
        self._last_s = -math.inf

    def mend(self, raw_s: float) -> float:
        """The presentation time, s, of the next frame, for which the container says ``raw_s``."""
        before_s, self._raw_s = self._raw_s, raw_s
        if self._last_s == -math.inf:
            self._last_s = raw_s if math.isfinite(raw_s) else 0.0
            return self._last_s
        step_s = raw_s + self._shift_s - self._last_s
        if not math.isfinite(raw_s) or raw_s == before_s or (raw_s <= 0 and step_s <= 0):
            self._last_s += self._interval_s
        elif step_s < -_RESTART_S or step_s > _GAP_S:
            self._last_s += self._interval_s
            self._shift_s = self._last_s - raw_s
        else:
            self._last_s += step_s if step_s > 0 else self._interval_s / 10
        return self._last_s


class VideoFile(Source):
    """A video file or an image sequence.

    Args:
        path: the file, its URL, or a pattern such as ``shot%04d.png``.
        loop: start again at the end; frame numbers go on, times start again.
        timeout_s: time for opening, where the file comes over a network.

    Raises:
        SourceError: it holds no video that can be decoded.
    """

    seekable = True

    def __init__(self, path: str, *, loop: bool = False, timeout_s: float = 10.0) -> None:
        self._path = path
        self._timeout_s = timeout_s
        self.loop = loop
        self._lock = threading.Lock()
        self._closed = False
        self._next_id = 0
        self._played = 0
        self._pts_s = 0.0
        self._timeline = Timeline(_DEFAULT_FPS)
        self._waiting = False
        self._capture = open_file(path, timeout_s)
        bgr = self._read() if self._capture.isOpened() else None
        if bgr is None:
            self._capture.release()
            raise SourceError(
                f"{path} holds no video that can be decoded; try to play or convert it with ffmpeg"
            )
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        super().__init__(
            path,
            fps=fps if 0 < fps < 1000 else None,
            frames=int(count) if 0 < count < 2**40 else None,
            wh=(bgr.shape[1], bgr.shape[0]),
        )
        self.sound = Path(path) if Path(path).is_file() else None
        self._rewind()

    def __next__(self) -> Frame:
        with self._lock:
            bgr = None if self._closed else self._read()
            if bgr is None and not self._closed:
                self._tell_if_short()
                if self.loop:
                    self._rewind()
                    bgr = self._read()
            if bgr is None:
                raise StopIteration
            frame = Frame(self._next_id, time.monotonic(), self._pts_s, bgr)
            self._next_id += 1
            self._played += 1
            return frame

    def seek(self, seconds: float) -> bool:
        """Go on with the first frame whose presentation time is at or after ``seconds``; past the end, end.

        OpenCV's own seek is exact for constant frame rates only, so it is asked for an earlier place, from
        where the frames are walked.
        """
        with self._lock:
            if self._closed:
                return False
            target_s = max(0.0, seconds) - 0.0005  # container times are rounded to a millisecond in places
            if not self._jump(target_s):
                self._rewind()
                self._waiting = self._grab()
            while self._waiting and self._pts_s < target_s:
                self._waiting = self._grab()
            return True

    def close(self) -> None:
        """Close the file; an iteration that goes on elsewhere ends."""
        with self._lock:
            self._closed = True
            self._capture.release()

    def _jump(self, target_s: float) -> bool:
        """Let a picture before ``target_s`` wait in the decoder; False where the file cannot be entered
        there.
        """
        for margin_s in _SEEK_MARGINS_S:
            if target_s <= margin_s:
                return False
            self._capture.set(cv2.CAP_PROP_POS_MSEC, (target_s - margin_s) * 1000)
            self._timeline = Timeline(self.fps or _DEFAULT_FPS)
            self._waiting = self._grab()
            if self._waiting and 0 < self._pts_s <= target_s:
                return True
        return False

    def _grab(self) -> bool:
        if not self._capture.grab():
            return False
        # After grab() this is the time of the grabbed picture; measured with variable rates and B-frames.
        self._pts_s = self._timeline.mend(self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
        return True

    def _read(self) -> U8Array | None:
        while self._waiting or self._grab():
            self._waiting = False
            ok, bgr = self._capture.retrieve()
            if ok and bgr is not None:
                return cast(U8Array, bgr)
        return None

    def _rewind(self) -> None:
        self._capture.release()
        self._capture = open_file(self._path, self._timeout_s)
        self._timeline = Timeline(self.fps or _DEFAULT_FPS)
        self._waiting = False
        self._played = 0

    def _tell_if_short(self) -> None:
        if self.frames is None or self.fps is None or self._played >= 0.95 * self.frames:
            return
        promised_s = self.frames / self.fps
        if self._pts_s < 0.95 * promised_s - 1 / self.fps:
            log.warning(
                "%s ends after %.1f s; its header promises %.1f s", self._path, self._pts_s, promised_s
            )
