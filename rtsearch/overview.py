"""A library as pictures, so that people can judge with their eyes.

``map_picture``: objects as thumbnails, those that look alike beside each other. t-SNE (van der Maaten and
Hinton 2008) lays the searched vectors out in the plane; every object then takes the free cell of a grid that
is nearest to its place, so that no thumbnail hides another.

``neighbour_sheet``: random objects, each with its nearest from other photos.
"""

from __future__ import annotations

import math
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from rtsearch.errors import LibraryError, MissingDependencyError
from rtsearch.index import SearchIndex
from rtsearch.records import F32Array, I64Array, U8Array
from rtsearch.text import draw_text, fit_text
from rtsearch.thumbs import ThumbCache

__all__ = ["map_picture", "neighbour_sheet", "to_grid"]

_GROUND = 22
_INK = (232, 232, 232)
_CELL_PX = 44
_SHEET_CELL_PX = 100
_SHEET_LABEL_PX = 110
_SPARE_CELLS = 1.25  # cells per object: a map without a gap would show no groups
_CACHE_BYTES = 64 << 20


def map_picture(index: SearchIndex, objects: int = 2000, seed: int = 0) -> U8Array:
    """A square picture of so many random objects of a library, (H, W, 3) uint8 BGR.

    Raises:
        MissingDependencyError: scikit-learn is not installed.
        LibraryError: fewer than four objects.
    """
    rows = _sample(len(index), objects, seed)
    if len(rows) < 4:
        raise LibraryError(f"{index.library.folder} holds {len(index)} objects; a map needs four or more")
    places = _lay_out(index.projection.apply(_descriptions(index, rows)), seed)
    side = math.ceil(math.sqrt(len(rows) * _SPARE_CELLS))
    cells = to_grid(places, side)
    cache = ThumbCache(index.thumb_places, _CACHE_BYTES)
    picture = np.full((side * _CELL_PX, side * _CELL_PX, 3), _GROUND, np.uint8)
    for row, (column, line) in zip(rows.tolist(), cells.tolist(), strict=True):
        y, x = line * _CELL_PX, column * _CELL_PX
        picture[y : y + _CELL_PX - 1, x : x + _CELL_PX - 1] = _square(cache.get(row), _CELL_PX - 1)
    return picture


def neighbour_sheet(index: SearchIndex, objects: int = 12, results: int = 12, seed: int = 0) -> U8Array:
    """Random objects, one a line, each followed by its nearest objects of other photos."""
    rows = _sample(len(index), objects, seed)
    cell = _SHEET_CELL_PX
    width = _SHEET_LABEL_PX + (results + 1) * cell + 8
    picture = np.full((max(1, len(rows)) * cell, width, 3), _GROUND, np.uint8)
    cache = ThumbCache(index.thumb_places, _CACHE_BYTES)
    hits = index.hits(rows.astype(np.int32))
    descriptions = _descriptions(index, rows)
    for line, (row, hit) in enumerate(zip(rows.tolist(), hits, strict=True)):
        y = line * cell
        near = _from_other_photos(index, descriptions[line], hit["photo"], results)
        label = fit_text(hit["label"], 14, _SHEET_LABEL_PX - 16)
        draw_text(picture, label, (10, y + cell // 2 - 9), 14, _INK)
        for i, other in enumerate([row, *near]):
            x = _SHEET_LABEL_PX + i * cell + (8 if i else 0)
            picture[y : y + cell - 2, x : x + cell - 2] = _square(cache.get(other), cell - 2)
    return picture


def to_grid(places: NDArray[np.floating], side: int) -> I64Array:
    """Give every place of the plane a cell of its own in a square grid, near to where it lies.

    Args:
        places: (n, 2), any range.
        side: of the grid; side * side >= n.

    Returns:
        (n, 2) int64, column and line of each place; no two are equal.
    """
    low, high = places.min(0), places.max(0)
    scaled = (places - low) / np.maximum(high - low, 1e-9) * (side - 1)
    lines, columns = np.divmod(np.arange(side * side), side)
    free = np.ones(side * side, bool)
    cells = np.empty((len(places), 2), np.int64)
    # Those in the middle of the map first: its crowded parts keep their order, and the edge has room.
    for i in np.argsort(np.linalg.norm(scaled - scaled.mean(0), axis=1), kind="stable"):
        far = (columns - scaled[i, 0]) ** 2 + (lines - scaled[i, 1]) ** 2
        best = int(np.where(free, far, np.inf).argmin())
        free[best] = False
        cells[i] = columns[best], lines[best]
    return cells


def _sample(count: int, wanted: int, seed: int) -> I64Array:
    """Random rows, ascending."""
    chosen = np.random.default_rng(seed).choice(count, min(wanted, count), replace=False)
    return np.sort(chosen).astype(np.int64)


def _descriptions(index: SearchIndex, rows: I64Array) -> F32Array:
    """(n, D) float32: the stored vectors of ascending rows, streamed from the library."""
    found, at = [], 0
    for batch in index.library.objects(("vector",)):
        end = at + len(batch["vector"])
        found.append(batch["vector"][rows[(rows >= at) & (rows < end)] - at])
        at = end
    return np.concatenate(found).astype(np.float32)


def _lay_out(vectors: F32Array, seed: int) -> NDArray[np.floating]:
    try:
        from sklearn.manifold import TSNE
    except ImportError:
        raise MissingDependencyError("a map needs scikit-learn: pip install 'rtsearch[map]'") from None
    perplexity = min(30.0, (len(vectors) - 1) / 3)
    layout: Any = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(vectors)
    return np.asarray(layout)


def _from_other_photos(index: SearchIndex, description: F32Array, own: str, results: int) -> list[int]:
    # An object's own photo rarely holds more than a few of its neighbours.
    nearest = index.search(description[None], results + 64, exact=True).row[0].tolist()
    return [row for row in nearest if row >= 0 and index.photo(row) != own][:results]


def _square(thumb: U8Array, side_px: int) -> U8Array:
    """The whole thumbnail inside a square, the rest left dark."""
    height, width = thumb.shape[:2]
    scale = side_px / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    square = np.full((side_px, side_px, 3), _GROUND, np.uint8)
    x, y = (side_px - size[0]) // 2, (side_px - size[1]) // 2
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    square[y : y + size[1], x : x + size[0]] = cv2.resize(thumb, size, interpolation=method)
    return cast(U8Array, square)
