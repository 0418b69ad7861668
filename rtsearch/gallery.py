"""Crops side by side, in the lines of one strip.

A strip with room for several lines takes fewer and larger ones where its crops are narrow: people standing
leave half of a line empty that cars would fill. Sizes stay while they are nearly as good as the best.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias, cast

import cv2

from rtsearch.records import U8Array

__all__ = ["Crops", "draw_crops", "line_height"]

Crops: TypeAlias = Sequence[U8Array | None]
"""(h, w, 3) uint8 each, of any height, or None where one is not loaded yet."""

_STEP = 0.96  # from one height that is tried to the next
_KEPT = 0.8  # a height stays while it is at least this share of the best: growing by a hair is restless


def line_height(
    crops: Crops, room_wh: tuple[int, int], gap: int, limits: tuple[int, int], before: int = 0
) -> int:
    """The height of lines in which all crops are seen, as large as can be.

    Args:
        crops: of one strip.
        room_wh: of the strip, px.
        gap: between crops and lines, px.
        limits: least and most, px; the least also where not all of them fit.
        before: height so far, or 0.
    """
    least, most = limits
    lines = (room_wh[1] + gap) // (least + gap)
    if lines < 2 or any(crop is None for crop in crops):
        return before or least
    shapes = [crop.shape[1] / len(crop) for crop in crops if crop is not None]
    best = least
    for count in range(1, lines + 1):
        height = min(most, (room_wh[1] + gap) // count - gap)
        while height > best:
            if _lines_of(shapes, height, room_wh[0], gap) <= count:
                best = height
                break
            height = int(height * _STEP)
    stays = (
        before >= _KEPT * best
        and _lines_of(shapes, before, room_wh[0], gap) * (before + gap) <= room_wh[1] + gap
    )
    return before if stays else best


def draw_crops(strip: U8Array, crops: Crops, height: int, gap: int, empty: Sequence[int]) -> None:
    """Draw the crops into a strip that is one ground; what does not fit is cut at the end of the last line.

    Args:
        strip: (H, W, 3) uint8.
        crops: drawn line by line.
        height: of a line, px.
        gap: between crops and lines, px.
        empty: colour in the place of a crop that is not there, 0..255.
    """
    room, lines = strip.shape[1], (len(strip) + gap) // (height + gap)
    x = line = 0
    for crop in crops:
        width = height if crop is None else _width(crop.shape[1] / len(crop), height)
        if x and x + width > room and line + 1 < lines:
            x, line = 0, line + 1
        if x >= room:
            break
        shown = min(width, room - x)
        place = strip[line * (height + gap) :][:height, x : x + shown]
        place[:] = empty if crop is None else _scaled(crop, (width, height))[:, :shown]
        x += width + gap


def _lines_of(shapes: list[float], height: int, room: int, gap: int) -> int:
    """Lines that crops of these widths by height fill."""
    lines, x = 1, 0
    for shape in shapes:
        width = _width(shape, height)
        if x and x + width > room:
            lines, x = lines + 1, 0
        x += width + gap
    return lines


def _width(shape: float, height: int) -> int:
    return max(1, round(shape * height))


def _scaled(crop: U8Array, wh: tuple[int, int]) -> U8Array:
    """A crop that was fetched for lines of another height."""
    if crop.shape[1::-1] == wh:
        return crop
    method = cv2.INTER_AREA if wh[1] < len(crop) else cv2.INTER_CUBIC
    return cast(U8Array, cv2.resize(crop, wh, interpolation=method))
