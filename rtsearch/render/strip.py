"""Draw crops side by side in the lines of one strip.

A strip with room for several lines uses fewer and higher lines where its crops are narrow: standing people
leave half of a line empty that cars would fill. The height is kept while it is nearly as good as the best
one. Lines end flush with the edge: crops are widened, or the last one is cut.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TypeAlias, cast

import cv2

from rtsearch.types import U8Array

__all__ = ["Crops", "draw_crops", "line_height"]

Crops: TypeAlias = Sequence[U8Array | None]
"""Crops, (h, w, 3) uint8 of any height, or None for a crop that is not loaded yet."""

_MOST_STRETCH = 1.2  # largest widening of crops, which cuts a sixth of their height
_OFF_THE_TOP = 0.3  # share of the cut at the top, as heads matter more than feet
_STEP = 0.96  # factor from one tried height to the next
_KEPT = 0.8  # a height of at least this share of the best one is kept, as small changes distract


def line_height(
    crops: Crops, room_wh: tuple[int, int], gap: int, limits: tuple[int, int], before: int = 0
) -> int:
    """Return the largest height of lines in which all crops fit.

    Args:
        crops: crops of one strip.
        room_wh: width and height of the strip, px.
        gap: space between crops and lines, px.
        limits: least and largest height, px; the least one is also used where not all crops fit.
        before: previous height, px, or 0.
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
    """Draw crops line by line into a cleared strip; crops that do not fit are left out.

    Args:
        strip: (H, W, 3) uint8, drawn into.
        crops: crops in their order.
        height: height of a line, px.
        gap: space between crops and lines, px.
        empty: colour in the place of a crop that is not loaded, BGR, 0..255.
    """
    room, lines = strip.shape[1], (len(strip) + gap) // (height + gap)
    widths = [height if crop is None else _width(crop.shape[1] / len(crop), height) for crop in crops]
    for line, (first, end) in enumerate(_broken(widths, room, gap, lines)):
        top = line * (height + gap)
        places = _places(widths[first:end], room, gap, flush=end < len(crops))
        for crop, (x, width) in zip(crops[first:end], places, strict=True):
            shown = min(width, room - x)
            place = strip[top : top + height, x : x + shown]
            place[:] = empty if crop is None else _scaled(crop, (width, height))[:, :shown]


def _broken(widths: Sequence[int], room: int, gap: int, lines: int) -> list[tuple[int, int]]:
    """Return the first crop of each line and one past its last; the last crop of the last line may be cut."""
    broken: list[tuple[int, int]] = []
    x = first = 0
    for i, width in enumerate(widths):
        last = len(broken) + 1 == lines
        if x and x + width > room and (not last or _is_sliver(width, widths[first:i], room - x, gap)):
            broken.append((first, i))
            if last:
                return broken
            x, first = 0, i
        x += width + gap
    return [*broken, (first, len(widths))] if widths else []


def _is_sliver(width: int, before: Sequence[int], left: int, gap: int) -> bool:
    """Tell whether a crop would be cut so narrow that the crops before it should take its place."""
    return left <= 0 or (2 * left < width and left + gap <= (_MOST_STRETCH - 1) * sum(before))


def _places(widths: Sequence[int], room: int, gap: int, *, flush: bool) -> list[tuple[int, int]]:
    """Return x and width of each crop of a line; with ``flush`` they are widened to end at the edge.

    Crops keep their width where the edge is too far away, and where they reach beyond it and are cut.
    """
    stretch = (room - gap * (len(widths) - 1)) / sum(widths)
    if not (flush and 1 < stretch <= _MOST_STRETCH):
        stretch = 1.0
    ends = [round(stretch * end) for end in itertools.accumulate(widths)]
    starts = [0, *ends[:-1]]
    return [(start + i * gap, end - start) for i, (start, end) in enumerate(zip(starts, ends, strict=True))]


def _lines_of(shapes: list[float], height: int, room: int, gap: int) -> int:
    """Return the number of lines that crops of these aspect ratios fill."""
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
    """Return a crop scaled to a size; a widened crop loses parts at its top and bottom."""
    if crop.shape[1::-1] == wh:
        return crop
    kept = min(len(crop), max(1, round(crop.shape[1] * wh[1] / wh[0])))
    top = round((len(crop) - kept) * _OFF_THE_TOP)
    crop = crop[top : top + kept]
    method = cv2.INTER_AREA if wh[1] < len(crop) else cv2.INTER_CUBIC
    return cast(U8Array, cv2.resize(crop, wh, interpolation=method))
