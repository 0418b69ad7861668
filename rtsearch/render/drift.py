"""Draw crops of a library that drift slowly through a band."""

from __future__ import annotations

import operator
from typing import cast

import cv2
import numpy as np

from rtsearch.library.crops import scaled
from rtsearch.render.plan import Belt
from rtsearch.render.theme import Colour, toward
from rtsearch.types import U8Array

__all__ = ["DriftPicture", "line_px"]

_LINES = 5  # smaller crops than any of an object's: this is no result, but the library
_GAP_PX = 4
_GREY = 0.6  # share of the crops' colours that is left out
_LIGHT = 0.5  # share of the crops that is seen before the ground


def line_px(height: int) -> int:
    """Return the height of each line of crops in a window of a height, px."""
    return max(1, (height + _GAP_PX) // _LINES - _GAP_PX)


class DriftPicture:
    """Lines of crops, drawn once and shown through a window that moves along them.

    Args:
        wh: width and height of the window, px.
        ground: colour behind the crops.
    """

    def __init__(self, wh: tuple[int, int], ground: Colour) -> None:
        self._wh = wh
        self._ground = ground
        self._crops: tuple[U8Array | None, ...] = ()
        self._picture: U8Array = np.zeros((wh[1], 0, 3), np.uint8)

    def window(self, belt: Belt, share: float) -> U8Array:
        """Return what is seen now, (h, w, 3) uint8 BGR; ``share`` of it, the rest ground, 0..1."""
        same = len(belt.crops) == len(self._crops) and all(map(operator.is_, belt.crops, self._crops))
        if not same or not self._picture.shape[1]:
            self._crops, self._picture = belt.crops, self._drawn(belt)
        width, length = self._wh[0], self._picture.shape[1]
        at = belt.way % length
        seen = np.concatenate(
            [self._picture[:, at : at + width], self._picture[:, : max(0, at + width - length)]], axis=1
        )
        return seen if share == 1 else toward(seen, self._ground, 1 - share)

    def _drawn(self, belt: Belt) -> U8Array:
        """Return all lines, at least as wide as the window."""
        width, height = self._wh
        high = line_px(height)
        lines: list[U8Array] = []
        for line in range(_LINES):
            crops = [crop for crop in belt.crops[line::_LINES] if crop is not None]
            lines.append(_line(crops, high, width, self._ground))
        longest = max(line.shape[1] for line in lines)
        picture = np.full((height, longest, 3), self._ground, np.uint8)
        for i, pixels in enumerate(lines):
            repeated = pixels[:, np.arange(longest) % pixels.shape[1]]
            picture[i * (high + _GAP_PX) :][:high] = repeated
        grey = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
        pale = cast(U8Array, cv2.addWeighted(picture, 1 - _GREY, grey, _GREY, 0))
        return toward(pale, self._ground, 1 - _LIGHT)


def _line(crops: list[U8Array], height: int, width: int, ground: Colour) -> U8Array:
    """Return crops side by side, as often as they are needed to fill a width."""
    if not crops:
        return np.full((height, width, 3), ground, np.uint8)
    gap = np.full((height, _GAP_PX, 3), ground, np.uint8)
    parts: list[U8Array] = []
    for crop in crops:
        wide = max(1, round(crop.shape[1] * height / len(crop)))
        parts += [scaled(crop, (wide, height)), gap]
    line = np.concatenate(parts, axis=1)
    return np.tile(line, (1, -(-width // line.shape[1]), 1))
