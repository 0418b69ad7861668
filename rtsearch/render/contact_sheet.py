"""Draw overviews of a library, to judge it by eye.

``map_picture`` draws objects in a grid in the shape of a screen, similar objects beside each other.

``neighbour_sheet`` draws random objects, each with its nearest neighbours of other photos.

``crop_sheet`` draws chosen objects in their order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import cv2
import numpy as np

from rtsearch.library.crops import MOST_ENLARGED
from rtsearch.library.index import SearchIndex
from rtsearch.library.thumbnails import ThumbCache
from rtsearch.render.grid_sort import arrange, grid_shape
from rtsearch.render.text import draw_text, fit_text
from rtsearch.render.theme import BACKGROUND, TEXT
from rtsearch.render.time_marks import TimeMarks
from rtsearch.types import F32Array, I32Array, U8Array

__all__ = ["crop_sheet", "map_picture", "neighbour_sheet"]

_MAP_PX = 3840  # width of a map, sharp on large screens and in magnified parts
_MAP_CELL_PX = (44, 240)  # smaller objects are not recognised, larger ones exceed the stored crops
_MAP_GAP_PX = 2
_MAP_SOFT = 0.25  # share of the objects that are enlarged further than is sharp: they are smaller than others
_HEAD = 0.25  # share of the cut that an upright crop loses at its top, where heads are
_SHEET_CELL_PX = 100
_SHEET_LABEL_PX = 110
_CROP_SHEET_PX = 1280  # width of a sheet of many crops
_CROP_COLUMNS = 8
_MOST_CROP_PX = 400
_CROP_LABEL_PX, _CROP_TEXT_PX = 24, 15
_CACHE_BYTES = 64 << 20


def map_picture(
    index: SearchIndex,
    objects: int = 576,
    seed: int = 0,
    progress: Callable[[str, float], None] = lambda _what, _share: None,
) -> U8Array:
    """Return random objects of a library as one picture, (H, W, 3) uint8 BGR.

    Args:
        index: search index of the library.
        objects: number of objects, or all of a smaller library; 576 are 32 by 18, the shape of a screen.
        seed: seed of the random numbers.
        progress: gets the current step and its finished share, 0..1.
    """
    rows = _sample(len(index), objects, seed)
    points = index.points(rows)
    grid = arrange(points, grid_shape(len(rows)), seed, lambda share: progress("arranging", share))
    lines, columns = grid.shape
    sharp = MOST_ENLARGED * np.quantile(_short_sides(index.boxes[rows]), _MAP_SOFT)
    cell = int(np.clip(min(_MAP_PX // columns, sharp), *_MAP_CELL_PX))
    cache = ThumbCache(index.thumb_places, _CACHE_BYTES)
    picture = np.full((lines * cell, columns * cell, 3), BACKGROUND, np.uint8)
    for line in range(lines):
        for column, which in enumerate(grid[line].tolist()):
            if which >= 0:
                y, x = line * cell, column * cell
                side = cell - _MAP_GAP_PX
                picture[y : y + side, x : x + side] = _cut_square(cache.get(int(rows[which])), side)
        progress("drawing", (line + 1) / lines)
    return picture


def neighbour_sheet(index: SearchIndex, objects: int = 12, results: int = 12, seed: int = 0) -> U8Array:
    """Return random objects, one per line, each followed by its nearest objects of other photos."""
    rows = _sample(len(index), objects, seed)
    cell = _SHEET_CELL_PX
    width = _SHEET_LABEL_PX + (results + 1) * cell + 8
    picture = np.full((max(1, len(rows)) * cell, width, 3), BACKGROUND, np.uint8)
    cache = ThumbCache(index.thumb_places, _CACHE_BYTES)
    hits, points = index.hits(rows), index.points(rows)
    for line, (row, hit) in enumerate(zip(rows.tolist(), hits, strict=True)):
        y = line * cell
        near = _from_other_photos(index, points[line], hit["photo"], results)
        label = fit_text(hit["label"], 14, _SHEET_LABEL_PX - 16)
        draw_text(picture, label, (10, y + cell // 2 - 9), 14, TEXT)
        for i, other in enumerate([row, *near]):
            x = _SHEET_LABEL_PX + i * cell + (8 if i else 0)
            picture[y : y + cell - 2, x : x + cell - 2] = _square(cache.get(other), cell - 2)
    return picture


def crop_sheet(index: SearchIndex, rows: Sequence[int]) -> U8Array:
    """Return objects in their order from the top left, (H, W, 3) uint8 BGR; few are large.

    Below each stand its number in this order, its class and its row.
    """
    columns = min(_CROP_COLUMNS, max(1, len(rows)))
    cell = min(_CROP_SHEET_PX // columns, _MOST_CROP_PX)
    lines, high = max(1, -(-len(rows) // columns)), cell + _CROP_LABEL_PX
    picture = np.full((lines * high, columns * cell, 3), BACKGROUND, np.uint8)
    cache = ThumbCache(index.thumb_places, _CACHE_BYTES)
    marks = TimeMarks(index, "")
    hits = index.hits(np.array(rows, np.int32))
    for place, (row, hit) in enumerate(zip(rows, hits, strict=True)):
        y, x = place // columns * high, place % columns * cell
        square = picture[y : y + cell - 2, x : x + cell - 2]
        square[:] = _square(cache.get(row), cell - 2)
        marks.draw(row, square)
        label = fit_text(f"{place + 1}  {hit['label']} {row}", _CROP_TEXT_PX, cell - 10)
        draw_text(picture, label, (x + 4, y + cell + 1), _CROP_TEXT_PX, TEXT)
    return picture


def _sample(count: int, wanted: int, seed: int) -> I32Array:
    """Return random rows in ascending order."""
    chosen = np.random.default_rng(seed).choice(count, min(wanted, count), replace=False)
    return np.sort(chosen).astype(np.int32)


def _short_sides(boxes: F32Array) -> F32Array:
    """Return the shorter side of each of (n, 4) boxes, px."""
    sides: F32Array = (boxes[:, 2:] - boxes[:, :2]).min(1)
    return sides


def _from_other_photos(index: SearchIndex, point: F32Array, own: str, results: int) -> list[int]:
    # An object's own photo rarely has more than a few of its neighbours.
    nearest = index.near(point[None], results + 64, exact=True).row[0].tolist()
    return [row for row in nearest if row >= 0 and index.photo(row) != own][:results]


def _square(thumb: U8Array, side_px: int) -> U8Array:
    """Return the whole thumbnail inside a square, no larger than is sharp, the rest dark."""
    height, width = thumb.shape[:2]
    scale = min(MOST_ENLARGED, side_px / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    square = np.full((side_px, side_px, 3), BACKGROUND, np.uint8)
    x, y = (side_px - size[0]) // 2, (side_px - size[1]) // 2
    square[y : y + size[1], x : x + size[0]] = _resized(thumb, size)
    return cast(U8Array, square)


def _cut_square(thumb: U8Array, side_px: int) -> U8Array:
    """Return the middle of a thumbnail, or the upper part of an upright one, as a full square."""
    height, width = thumb.shape[:2]
    side = min(height, width)
    y, x = int((height - side) * _HEAD), (width - side) // 2
    return _resized(thumb[y : y + side, x : x + side], (side_px, side_px))


def _resized(thumb: U8Array, wh: tuple[int, int]) -> U8Array:
    method = cv2.INTER_AREA if wh[0] < thumb.shape[1] else cv2.INTER_CUBIC
    return cast(U8Array, cv2.resize(thumb, wh, interpolation=method))
