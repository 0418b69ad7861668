"""Opening cv2 captures: quiet, with time limits, one decoding thread.

OpenCV reads its switches from the environment, the one for FFmpeg's messages only once, at the first capture
or writer of the process. So they are set when this module is imported, unless the user has set them.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import Any, Protocol

import cv2

from rtsearch.images.headers import is_jpeg_within

__all__ = ["READ_TIMEOUT_S", "Capture", "open_camera", "open_file", "open_stream"]

READ_TIMEOUT_S = 3.0
"""A stream that sends nothing for so long is lost. It also bounds how long closing a source takes."""

_SWITCHES = {
    "OPENCV_FFMPEG_LOGLEVEL": "-8",  # FFmpeg prints each damaged picture on stderr otherwise
    "OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT": "3",  # s; an unplugged camera would block read() for 10
}
for _key, _value in _SWITCHES.items():
    os.environ.setdefault(_key, _value)
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

_OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
# Without nobuffer the pictures that FFmpeg looked at while opening are delivered late: 0.5 s behind after
# opening a UDP stream, 0.03 s with it. It must not be set for files, which would lose their first pictures:
# so it stands in the environment only while a stream is opened, and nothing else is opened meanwhile.
_STREAM_OPTIONS = "rtsp_transport;tcp|fflags;nobuffer"
_opening = threading.Lock()

# Decoding in one thread costs the least CPU: 2.2 ms per 720p H.264 frame against 2.9 with OpenCV's default,
# and frame threads would add a delay of one frame each. Above Full HD one thread may be too slow.
_ONE_THREAD_MAX_PX = 1920 * 1088
_MOST_PIXELS = (
    120_000_000  # of a JPEG in a stream: a header may claim 4 billion, and memory is taken for them
)


class Capture(Protocol):
    """The part of ``cv2.VideoCapture`` that live sources use, so that other things can stand in for it."""

    def isOpened(self) -> bool: ...  # noqa: N802

    def read(self) -> tuple[bool, Any]:
        """Whether anything came, and the picture, or None when what came is none."""

    def get(self, prop: int, /) -> float: ...
    def release(self) -> None: ...


def _time_limits(open_s: float) -> list[int]:
    limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, int(open_s * 1000)]
    return [*limits, cv2.CAP_PROP_READ_TIMEOUT_MSEC, int(READ_TIMEOUT_S * 1000)]


def open_file(path: str, timeout_s: float) -> cv2.VideoCapture:
    """A capture on a video file, its URL, or an image sequence (``shot%04d.png``); check ``isOpened()``."""
    limits = _time_limits(timeout_s)
    with _opening:
        capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG, [*limits, cv2.CAP_PROP_N_THREADS, 1])
        pixels = capture.get(cv2.CAP_PROP_FRAME_WIDTH) * capture.get(cv2.CAP_PROP_FRAME_HEIGHT)
        if pixels > _ONE_THREAD_MAX_PX:
            capture.release()
            capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG, limits)
    return capture


def open_stream(url: str, timeout_s: float) -> Capture:
    """A capture on a URL, given up after ``timeout_s``; check ``isOpened()``."""
    with _opening:
        ours = _OPTIONS not in os.environ
        os.environ.setdefault(_OPTIONS, _STREAM_OPTIONS)
        try:
            limits = _time_limits(timeout_s)
            capture = cv2.VideoCapture(url, cv2.CAP_FFMPEG, [*limits, cv2.CAP_PROP_N_THREADS, 1])
        finally:
            if ours:
                del os.environ[_OPTIONS]
    if url.lower().startswith("http") and capture.get(cv2.CAP_PROP_FOURCC) == cv2.VideoWriter.fourcc(*"MJPG"):
        return _JpegCapture(capture)
    return capture


class _JpegCapture:
    """Single JPEGs over HTTP, taken undecoded from FFmpeg and decoded here.

    OpenCV would squeeze pictures that change size into the first one's, show the upper half of one that was
    cut off, and take 2.7 instead of 2.3 ms of CPU for 720p. FFmpeg reports 25 frames per second for each such
    stream.
    """

    def __init__(self, capture: cv2.VideoCapture) -> None:
        self._capture = capture
        capture.set(cv2.CAP_PROP_FORMAT, -1)  # undecoded; must come before the first read

    def isOpened(self) -> bool:  # noqa: N802
        return self._capture.isOpened()

    def read(self) -> tuple[bool, Any]:
        ok, data = self._capture.read()
        jpeg = data.tobytes() if ok else b""
        whole = jpeg[-64:].rstrip(b"\r\n\0").endswith(b"\xff\xd9") and is_jpeg_within(jpeg, _MOST_PIXELS)
        return ok, cv2.imdecode(data, cv2.IMREAD_COLOR) if whole else None

    def get(self, prop: int, /) -> float:
        return 0.0 if prop == cv2.CAP_PROP_FPS else self._capture.get(prop)

    def release(self) -> None:
        self._capture.release()


def open_camera(camera: int | str, wh: tuple[int, int]) -> cv2.VideoCapture:
    """A capture on a camera number or device file, asked for pictures of ``wh`` px; check ``isOpened()``."""
    capture = cv2.VideoCapture(camera, cv2.CAP_V4L2 if sys.platform == "linux" else cv2.CAP_ANY)
    if capture.isOpened():
        if wh[0] * wh[1] > 640 * 480:  # larger raw pictures do not fit through USB 2 at 30 per second
            capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, wh[0])
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, wh[1])
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    return capture
