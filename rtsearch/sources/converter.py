"""Decoded frames as BGR pictures: right matrix, square pixels, upright."""

from __future__ import annotations

from fractions import Fraction
from typing import cast

import cv2
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter

from rtsearch.types import U8Array

__all__ = ["MAX_PIXELS", "Converter", "mend_tags", "stretched"]

_UNKNOWN = 2
_MATRICES = frozenset({1, _UNKNOWN, 4, 5, 6, 7, 9})  # those of ITU-T H.273 that swscale converts
_INSTEAD = {10: 9}  # BT.2020 of constant luminance, as if it were not
_TURNS = {90: cv2.ROTATE_90_COUNTERCLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_CLOCKWISE}
_MOST_STRETCHED = 4  # times as wide or as narrow as stored; what claims more is wrong

MAX_PIXELS = 8192 * 8192
"""Larger pictures are refused before memory is taken for them; one of this size takes 0.2 GB."""


class Converter:
    """Converts decoded frames; the pictures have the same pixels as those of OpenCV 4.14.

    Args:
        aspect: width by height of the picture, for streams that do not say how wide their pixels are.
    """

    def __init__(self, aspect: Fraction | None = None) -> None:
        self._aspect = aspect
        self._reformatter = VideoReformatter()

    def bgr(self, frame: VideoFrame, pixel_aspect: Fraction | None) -> U8Array:
        """Return a frame as a picture.

        Args:
            frame: decoded and progressive, its tags mended.
            pixel_aspect: width by height of its pixels, where that is known.

        Returns:
            (H, W, 3) uint8.

        Raises:
            av.FFmpegError: swscale does not convert it.
        """
        converted = self._reformatter.reformat(
            frame,
            width=self._width(frame, pixel_aspect),
            format="bgr24",
            interpolation=Interpolation.BICUBIC,
            threads=1,
        )
        bgr = cast(U8Array, converted.to_ndarray())
        turn = _TURNS.get(round(frame.rotation / 90) * 90 % 360)
        return bgr if turn is None else cast(U8Array, cv2.rotate(bgr, turn))

    def _width(self, frame: VideoFrame, pixel_aspect: Fraction | None) -> int:
        stretch = pixel_aspect or Fraction(1)
        if stretch == 1 and self._aspect is not None:
            stretch = self._aspect * frame.height / frame.width
        if not Fraction(1, _MOST_STRETCHED) <= stretch <= _MOST_STRETCHED:
            return frame.width
        width = max(1, round(frame.width * stretch))
        return width if width * frame.height <= MAX_PIXELS else frame.width


def stretched(bgr: U8Array | None, aspect: Fraction | None) -> U8Array | None:
    """Return a picture that says nothing of its pixels in the shape that it is known to have."""
    if bgr is None or aspect is None:
        return bgr
    width = max(1, round(bgr.shape[0] * aspect))
    if width == bgr.shape[1] or width * bgr.shape[0] > MAX_PIXELS:
        return bgr
    return cast(U8Array, cv2.resize(bgr, (width, bgr.shape[0]), interpolation=cv2.INTER_CUBIC))


def mend_tags(frame: VideoFrame) -> None:
    """Replace a colour matrix that is reserved, or that swscale refuses, by the nearest that it converts."""
    matrix = int(frame.colorspace)
    if matrix not in _MATRICES and not frame.format.is_rgb:
        frame.colorspace = _INSTEAD.get(matrix, _UNKNOWN)
