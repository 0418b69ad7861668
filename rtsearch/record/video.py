"""The composed pictures as a video: H.264 through ffmpeg where it is installed, else MPEG-4 by OpenCV.

A video grows under a temporary name beside its own and gets its name when it is finished. When this process
is killed, ffmpeg still finishes the temporary file.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, cast

import cv2
import numpy as np

from rtsearch.errors import RecordError
from rtsearch.record.problems import record_error, require_room
from rtsearch.records import U8Array

__all__ = ["VideoRecorder"]

log = logging.getLogger(__name__)

_FFMPEG_END_S = 20.0
_CHECK_EVERY = 30
_MAX_GAP_S = 60.0


class VideoRecorder:
    """The composed pictures as an .mp4 of constant frame rate.

    A picture is held until the next one's time, so that the video keeps time with the source when pictures
    were dropped; no picture is left out. The size is that of the first picture, less an odd row or column;
    later ones are scaled to it. Leaving the context finishes the file whatever happened, so that it can be
    played.

    With ffmpeg a frame of 1280x720 costs 7 ms of CPU, nearly all in ffmpeg's process, and plays in browsers;
    OpenCV's own MPEG-4 costs 7 ms in this one, and its wheels have no H.264 encoder.

    Args:
        path: must end in .mp4; replaced when the video is finished.
        fps: of the video; no lower than that of the source.

    Raises:
        RecordError: the file cannot be written, or the disk is nearly full.
    """

    def __init__(self, path: Path, fps: float) -> None:
        if path.suffix.lower() != ".mp4":
            raise RecordError(f"{path}: a video is written as .mp4; choose such a name")
        self._path = path
        self._partial = path.with_name(f".{path.stem}.{os.getpid()}.part.mp4")
        self._fps = fps
        self._sink: _Sink | None = None
        self._wh = (0, 0)
        self._begun_s = 0.0
        self._slots = 0  # frames in the video so far
        self._last: U8Array | None = None
        try:
            self._partial.touch()
        except OSError as error:
            raise record_error(path, error) from None

    def write(self, bgr: U8Array, t_s: float) -> None:
        """Append a picture that belongs at ``t_s``, seconds on any clock that only goes forward."""
        sink = self._sink or self._open(bgr, t_s)
        if self._slots % _CHECK_EVERY == 0:
            require_room(self._path)
        picture = self._fit(bgr)
        gap = round((t_s - self._begun_s) * self._fps) - self._slots
        if gap > _MAX_GAP_S * self._fps:
            log.info("%s: a gap of %.0f s is shortened", self._path, gap / self._fps)
            shorter = round(_MAX_GAP_S * self._fps)
            self._begun_s += (gap - shorter) / self._fps
            gap = shorter
        for _ in range(gap):
            assert self._last is not None
            sink.write(self._last)
        sink.write(picture)
        self._slots += max(0, gap) + 1
        self._last = picture.copy()  # the caller may draw the next one over it

    def close(self) -> None:
        """Finish the file and give it its name."""
        sink, self._sink, self._last = self._sink, None, None
        if sink is None:
            self._partial.unlink(missing_ok=True)
            return
        try:
            sink.close()
            with self._partial.open("rb") as written:
                os.fsync(written.fileno())
            self._partial.replace(self._path)
        except OSError as error:
            raise record_error(self._path, error) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except RecordError as failure:
            if error is None:
                raise
            log.error("%s", failure)  # what ended the run matters more

    def _open(self, bgr: U8Array, t_s: float) -> _Sink:
        height, width = bgr.shape[:2]
        self._wh = (width & ~1, height & ~1)  # H.264 and MPEG-4 halve the colour planes
        self._begun_s = t_s
        ffmpeg = shutil.which("ffmpeg")
        if ffmpeg is not None and _encodes_h264(ffmpeg):
            self._sink = _FfmpegSink(ffmpeg, self._partial, self._fps, self._wh)
        else:
            self._sink = _Cv2Sink(self._partial, self._fps, self._wh)
        return self._sink

    def _fit(self, bgr: U8Array) -> U8Array:
        width, height = self._wh
        if bgr.shape[0] & ~1 == height and bgr.shape[1] & ~1 == width:
            bgr = bgr[:height, :width]
        else:
            bgr = cast(U8Array, cv2.resize(bgr, self._wh, interpolation=cv2.INTER_AREA))
        return np.ascontiguousarray(bgr)


class _Sink(Protocol):
    def write(self, bgr: U8Array) -> None: ...
    def close(self) -> None: ...


class _Cv2Sink:
    """MPEG-4 part 2 by OpenCV: found in every wheel, but not played by browsers."""

    def __init__(self, path: Path, fps: float, wh: tuple[int, int]) -> None:
        code = cv2.VideoWriter.fourcc(*"mp4v")
        self._writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, code, fps, wh)
        if not self._writer.isOpened():
            raise RecordError(f"{path}: OpenCV cannot write a video of {wh[0]}x{wh[1]} here")

    def write(self, bgr: U8Array) -> None:
        self._writer.write(bgr)

    def close(self) -> None:
        self._writer.release()


class _FfmpegSink:
    """H.264 by an ffmpeg process that takes raw pictures on its input and finishes the file at the end of
    them.
    """

    def __init__(self, ffmpeg: str, path: Path, fps: float, wh: tuple[int, int]) -> None:
        command = [ffmpeg, "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "bgr24"]
        command += ["-s", f"{wh[0]}x{wh[1]}", "-r", f"{fps:.6f}", "-i", "-", "-an", "-c:v", "libx264"]
        command += ["-preset", "ultrafast", "-pix_fmt", "yuv420p", str(path.absolute())]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C goes to a whole session; ffmpeg must outlive it
        )

    def write(self, bgr: U8Array) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(bgr.data)
        except OSError:
            raise RecordError(f"ffmpeg stopped writing the video: {self._end()}") from None

    def close(self) -> None:
        problem = self._end()
        if self._process.returncode != 0:
            raise RecordError(f"ffmpeg could not finish the video: {problem}")

    def _end(self) -> str:
        """Wait for ffmpeg to finish; its last words."""
        try:
            _, words = self._process.communicate(timeout=_FFMPEG_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            _, words = self._process.communicate()
        lines = words.decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"it ended with code {self._process.returncode}"


@lru_cache(maxsize=1)
def _encodes_h264(ffmpeg: str) -> bool:
    listing = subprocess.run(
        [ffmpeg, "-v", "quiet", "-encoders"], capture_output=True, check=False, timeout=_FFMPEG_END_S
    )
    return b"libx264 " in listing.stdout
