"""Video files: every frame in order, with the presentation times of the container.

    decode -> Timeline.mend(container time) -> convert -> Frame;   seek: to a keyframe before the time asked
    for, then walk to it

A file that is damaged plays on behind the damage; the log says how much is lost.
"""

from __future__ import annotations

import logging
import math
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from av import FFmpegError
from av.video.frame import VideoFrame

from rtsearch._util.masking import masked
from rtsearch.errors import SourceError
from rtsearch.images.colour_profiles import to_srgb
from rtsearch.images.decoders import upright
from rtsearch.images.embedded import Embedded
from rtsearch.sources.base import Source
from rtsearch.sources.beside import Beside
from rtsearch.sources.capture import LostError
from rtsearch.sources.converter import Converter
from rtsearch.sources.damage import Damage
from rtsearch.sources.decoder import Decoder, local, reason
from rtsearch.sources.timeline import DEFAULT_FPS, Timeline
from rtsearch.types import Frame, U8Array

__all__ = ["VideoFile"]

T = TypeVar("T")

log = logging.getLogger(__name__)

_SEEK_MARGINS_S = (0.0, 2.0, 15.0)


class VideoFile(Source):
    """A video file or an image sequence.

    Args:
        path: the file, or a pattern such as ``shot%04d.png``.
        loop: start again at the end; frame numbers go on, times start again.
        open_decoder: opens it, where it is not a local file; called again for each loop.
        beside: runs the calls of such a decoder, which may wait for a network; stopped with this source.
        carried: orientation and colour profile of an animation in PNG, of which FFmpeg makes no use.

    Raises:
        SourceError: it holds no video that can be decoded.
    """

    seekable = True

    def __init__(
        self,
        path: str,
        *,
        loop: bool = False,
        open_decoder: Callable[[], Decoder] | None = None,
        beside: Beside | None = None,
        carried: Embedded = Embedded(),  # noqa: B008  it is a tuple
    ) -> None:
        self._carried = carried
        self._shown = masked(path)
        self._open = open_decoder or (lambda: Decoder(local(path), options={}, limits_s=(None, None)))
        self._beside = beside
        self.loop = loop
        self._lock = threading.Lock()
        self._closed = False
        self._next_id = 0
        self._played = 0
        self._refused = 0  # pictures that could not be converted
        self._problem = ""  # why nothing more can be read
        self._pts_s = 0.0
        self._timeline = Timeline(DEFAULT_FPS)
        self._waiting: VideoFrame | None = None
        self._converter = Converter()
        self._damage = Damage()
        self._torn = False
        problem = "holds no video that can be decoded; try to play or convert it with ffmpeg"
        try:
            self._decoder = self._wait_for(self._open)
        except (FFmpegError, LookupError, LostError):
            raise SourceError(f"{self._shown} {problem}") from None
        bgr = self._read()
        if bgr is None:
            self.close()
            raise SourceError(f"{self._shown} {problem}")
        super().__init__(
            path, fps=self._decoder.fps, frames=_frame_count(self._decoder), wh=(bgr.shape[1], bgr.shape[0])
        )
        self.begins_s = self._pts_s
        self.sound = Path(path) if Path(path).is_file() else None
        self._rewind()

    def __next__(self) -> Frame:
        with self._lock:
            bgr = None if self._closed else self._read()
            if bgr is None and not self._closed:
                self._tell_what_is_missing()
                if self.loop:
                    self._rewind()
                    bgr = self._read()
            if bgr is None:
                raise StopIteration
            frame = Frame(self._next_id, time.monotonic(), self._pts_s, bgr, torn=self._torn)
            self._next_id += 1
            self._played += 1
            return frame

    def seek(self, seconds: float) -> bool:
        """Go on with the first frame whose time is at or after ``seconds``; past the end, end."""
        with self._lock:
            if self._closed:
                return False
            target_s = seconds - 0.0005  # containers round times to a millisecond in places
            if not self._jump(target_s):
                self._rewind()
                self._grab()
            while self._waiting is not None and self._pts_s < target_s:
                self._grab()
            return True

    def close(self) -> None:
        """Close the file; an iteration that goes on elsewhere ends."""
        self._closed = True
        if self._beside is not None:
            self._beside.stop(self._decoder.close)
            return
        with self._lock:
            self._decoder.close()

    def _wait_for(self, function: Callable[[], T]) -> T:
        return function() if self._beside is None else self._beside.call(function)

    def _jump(self, target_s: float) -> bool:
        """Let a picture before ``target_s`` wait; False where the file cannot be entered there."""
        for margin_s in _SEEK_MARGINS_S:
            if target_s - margin_s <= self.begins_s or not self._enter(target_s - margin_s):
                return False
            self._timeline = Timeline(self.fps or DEFAULT_FPS)
            frame = self._grab()
            if frame is not None and frame.time is not None and self._pts_s <= target_s:
                return True
        return False

    def _enter(self, seconds: float) -> bool:
        try:
            return self._wait_for(lambda: self._decoder.seek(seconds))
        except LostError:
            return False

    def _grab(self) -> VideoFrame | None:
        """Let the next picture wait, not yet converted."""
        try:
            frame = self._waiting = self._wait_for(self._decoder.grab)
        except FFmpegError as error:
            frame, self._waiting, self._problem = None, None, reason(error)
        except LostError:
            frame = self._waiting = None
        if frame is not None:
            self._pts_s = self._timeline.mend(math.nan if frame.time is None else frame.time)
            self._torn = self._damage.is_torn(frame, self._decoder)
        return frame

    def _read(self) -> U8Array | None:
        while (frame := self._waiting or self._grab()) is not None:
            self._waiting = None
            try:
                bgr = self._converter.bgr(frame, self._decoder.pixel_aspect)
            except FFmpegError:
                self._refused += 1
                continue
            to_srgb(bgr, self._carried.icc)
            # FFmpeg 8 tells the orientation as a rotation, which the converter has undone.
            return bgr if frame.rotation else upright(bgr, self._carried.orientation)
        return None

    def _rewind(self) -> None:
        try:
            self._wait_for(self._decoder.close)
            self._decoder = self._wait_for(self._open)
        except (FFmpegError, LookupError, LostError) as error:
            if self._closed:
                return
            raise SourceError(f"{self._shown} cannot be opened again: {error}") from None
        self._timeline = Timeline(self._decoder.fps or DEFAULT_FPS)
        self._damage = Damage()
        self._waiting = None
        self._played = self._refused = 0
        self._problem = ""

    def _tell_what_is_missing(self) -> None:
        lost, torn = self._decoder.lost + self._refused, self._damage.torn
        if lost or torn:
            log.warning(
                "%s: %d of %d pictures are lost, %d are damaged", self._shown, lost, lost + self._played, torn
            )
        if self._problem:
            log.warning("%s ends after %.1f s: %s", self._shown, self._pts_s - self.begins_s, self._problem)
        elif self.frames is not None and self.fps is not None and self._played < 0.95 * self.frames:
            ends_s, promised_s = self._pts_s - self.begins_s, self.frames / self.fps
            if ends_s < 0.95 * promised_s - 1 / self.fps:
                log.warning(
                    "%s ends after %.1f s; its header promises %.1f s", self._shown, ends_s, promised_s
                )


def _frame_count(decoder: Decoder) -> int | None:
    """Return how many pictures the container promises; sound may be longer."""
    stream, fps = decoder.stream, decoder.fps
    if stream.frames > 0:
        return stream.frames
    length_s = _length_s(decoder)
    return None if length_s is None or fps is None else math.floor(length_s * fps + 0.5)


def _length_s(decoder: Decoder) -> float | None:
    stream, container = decoder.stream, decoder.container
    if stream.duration is not None:
        return float(stream.duration * decoder.time_base)
    begins_s = float((stream.start_time or 0) * decoder.time_base)
    told = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", stream.metadata.get("DURATION", ""))  # Matroska
    if told is not None:
        return 3600 * int(told[1]) + 60 * int(told[2]) + float(told[3]) - begins_s
    if container.duration is None or len(container.streams) > 1:
        return None
    return container.duration / 1e6 - begins_s
