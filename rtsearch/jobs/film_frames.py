"""Samples of a film: pictures at a steady pace and at each cut, with the container's own times.

    decode (reference pictures only) -> is it a cut? -> time for a sample? -> Sample

Only pictures that others are predicted from are decoded: of a usual film that is every second to fourth. A
film is cut into parts of equal length: an analysis that was stopped goes on with the next part, and finds the
same as one that was not.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from av import FFmpegError
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from rtsearch._util.closing import Closing
from rtsearch.errors import PhotoError
from rtsearch.images.scene_cut import SceneCutDetector
from rtsearch.sources.converter import Converter
from rtsearch.sources.damage import Damage
from rtsearch.sources.decoder import Decoder, local, reason
from rtsearch.sources.timeline import DEFAULT_FPS, Timeline
from rtsearch.types import U8Array

__all__ = ["PART_S", "FilmFrames", "Sample", "film_length_s"]

_log = logging.getLogger(__name__)

PART_S = 120.0
"""Length of the parts of a film, s: work that a kill costs at most."""
_LEAST_FPS = 2.0  # times the rate of samples: films of fewer pictures are decoded in full
_CUT_PX = 8  # every eighth pixel is enough to tell a cut


@dataclass(frozen=True, slots=True)
class Sample:
    """Picture of a film.

    Attributes:
        bgr: (H, W, 3) uint8.
        t_s: presentation time, s, as the container says.
        part: number of the part that it belongs to.
        cut: it is the first after a cut, or of a part.
    """

    bgr: U8Array
    t_s: float
    part: int
    cut: bool


class FilmFrames(Closing):
    """A film opened for sampling.

    Args:
        path: the file.
        fps: samples per second.

    Attributes:
        begins_s: time of its first picture, s.
        ends_s: time of the last picture that was decoded so far.
        promised_s: length that the container promises, s; 0 where it promises none.

    Raises:
        PhotoError: it holds no video that can be decoded.
    """

    def __init__(self, path: Path, fps: float) -> None:
        self._path = path
        self._fps = fps
        self._per_part = max(1, round(PART_S * fps))
        self.problem = ""
        try:
            self._decoder = self._open()
        except (FFmpegError, LookupError) as error:
            why = reason(error) if isinstance(error, FFmpegError) else error
            raise PhotoError(f"holds no video that can be decoded ({why})") from None
        self._begin_anew()
        self._first = self._grab()
        if self._first is None:
            self.close()
            raise PhotoError(f"holds no video that can be decoded ({self.problem or 'it has no pictures'})")
        self.begins_s = self.ends_s = self._first[1]
        self.promised_s = _promised_s(self._decoder)

    def close(self) -> None:
        """Close the file."""
        self._decoder.close()

    def samples(self, part: int = 0) -> Generator[Sample]:
        """Return the samples of a part and of all after it; called once.

        Args:
            part: the first one, from 0.
        """
        converter = Converter()
        last = part * self._per_part - 1  # number of the last sample; a part begins where its first is due
        cuts, cut = SceneCutDetector(), True
        frame = self._enter(part)
        while frame is not None:
            picture, t_s, torn = frame
            self.ends_s = t_s
            number = math.floor((t_s - self.begins_s) * self._fps + 1e-6)
            begins = number // self._per_part > last // self._per_part
            if begins:
                cuts = SceneCutDetector()
            if number // self._per_part >= part and not torn:
                cut = cuts.is_cut(_brightness(picture)) or begins or cut
                if number > last or cut:
                    last = max(last, number)
                    try:
                        bgr = converter.bgr(picture, self._decoder.pixel_aspect)
                    except FFmpegError:
                        bgr = None
                    if bgr is not None:
                        yield Sample(bgr, t_s, number // self._per_part, cut)
                        cut = False
            frame = self._grab()

    def _enter(self, part: int) -> tuple[VideoFrame, float, bool] | None:
        """Go to the picture that a part begins with, or before it."""
        if part == 0:
            return self._first
        target_s = self.begins_s + part * self._per_part / self._fps
        for margin_s in (0.0, 2.0, 15.0):
            if not self._decoder.seek(max(self.begins_s, target_s - margin_s)):
                break
            self._begin_anew()
            frame = self._grab()
            if frame is not None and frame[0].time is not None and frame[1] <= target_s:
                return frame
        self._decoder.close()
        self._decoder = self._open()
        self._begin_anew()
        return self._grab()

    def _open(self) -> Decoder:
        """Open the film; where it has pictures enough, those that none is predicted from are left out."""
        decoder = _opened(self._path)
        if (decoder.fps or DEFAULT_FPS) >= _LEAST_FPS * self._fps:
            decoder.stream.codec_context.skip_frame = "NONREF"
        return decoder

    def _begin_anew(self) -> None:
        """Forget the times and the damage of pictures so far: the next one follows none of them."""
        self._timeline, self._damage = Timeline(self._decoder.fps or DEFAULT_FPS), Damage()

    def _grab(self) -> tuple[VideoFrame, float, bool] | None:
        """Return the next picture, its time, and whether it is torn."""
        try:
            frame = self._decoder.grab()
        except FFmpegError as error:
            self.problem = reason(error)
            return None
        if frame is None:
            return None
        t_s = self._timeline.mend(math.nan if frame.time is None else frame.time)
        return frame, t_s, self._damage.is_torn(frame, self._decoder)


def _opened(path: Path) -> Decoder:
    return Decoder(local(str(path)), options={}, limits_s=(None, None))


def film_length_s(path: Path) -> float:
    """Return the length that a film promises, s; 0 where it promises none or cannot be read."""
    try:
        with _opened(path) as decoder:
            return _promised_s(decoder)
    except (FFmpegError, LookupError):
        return 0.0


def _promised_s(decoder: Decoder) -> float:
    """Return the length that a container promises, s; 0 for none."""
    stream, container = decoder.stream, decoder.container
    if stream.frames > 0 and decoder.fps:
        return stream.frames / decoder.fps
    if stream.duration is not None:
        return float(stream.duration * decoder.time_base)
    return container.duration / 1e6 if container.duration is not None else 0.0


def _brightness(frame: VideoFrame) -> U8Array:
    """Return every eighth pixel of a picture's first plane, as a grey picture (h, w, 3); for cuts only.

    Of a packed format, whose plane holds all of a pixel, that is one of its samples.
    """
    plane, form = frame.planes[0], frame.format
    bits = form.components[0].bits
    samples: NDArray[Any] = np.frombuffer(cast(Any, plane), np.uint8 if bits <= 8 else np.uint16)
    # A picture that is stored from the bottom up has lines of negative size, in the order of memory here.
    lines = samples[: abs(plane.line_size) * plane.height // samples.itemsize].reshape(plane.height, -1)
    packed = all(part.plane == 0 for part in form.components)
    step = max(1, form.padded_bits_per_pixel // (8 * samples.itemsize)) if packed else 1
    grey = lines[::_CUT_PX, : plane.width * step : _CUT_PX * step]
    grey = (grey >> max(0, bits - 8)).astype(np.uint8)
    return np.broadcast_to(grey[:, :, None], (*grey.shape, 3))
