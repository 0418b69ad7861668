"""Find the objects of a library that a request in words describes.

classes and photos -> candidates -> by shares of colour in the index -> the first by their crops -> hits
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtsearch.images.colour_names import COLOUR_NAMES, crop_colours
from rtsearch.library.index import SearchIndex
from rtsearch.library.thumbnails import ThumbCache
from rtsearch.types import I32Array
from rtsearch.words.request import Part, Request

__all__ = ["HAS_COLOUR", "WordHit", "find_words"]

_LOOKED_AT = 96  # most crops whose colours are measured; 0.4 ms each with reading
# Of objects with a share of .1, .2 and .4, people would name the colour of 40, 47 and 61 %.
_LEAST_SHARE = 0.1
HAS_COLOUR = 0.2  # share from which an object counts as having a colour
_CROP_PX = 40  # shorter side at which colours are measured: most JPEGs are decoded at a quarter

Chosen = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class WordHit:
    """An object that a request describes.

    Attributes:
        row: number of the object in the library.
        share: part of its crop that has the colour asked for, 0 to 1; None if none was asked for.
    """

    row: int
    share: float | None


def find_words(index: SearchIndex, request: Request, k: int = 16) -> list[WordHit]:
    """Return the objects that a request describes, those with most of the colour first.

    Without a colour, the largest object of each photo comes before the second of any, large ones first.

    Args:
        index: of the library; only what its searches give is found, while photos are judged by all objects.
        request: see ``parse_request``.
        k: most hits.
    """
    if not len(index):
        return []
    chosen = _of_part(index, request.main)
    if index.given is not None:
        chosen &= index.given
    for part in request.beside:
        chosen &= _in_photos_with(index, part)
    rows = np.flatnonzero(chosen).astype(np.int32)
    if request.main.colour is None:
        return [WordHit(row, None) for row in _photos_in_turn(index, rows, k).tolist()]
    return _by_colour(index, rows, COLOUR_NAMES.index(request.main.colour), k)


def _of_part(index: SearchIndex, part: Part) -> Chosen:
    """Return which objects are of the classes of a part, in photos with as many of its colour as it says."""
    of_class = np.isin(index.labels, part.labels)
    if part.count is None:
        return of_class
    counted = of_class & _have_colour(index, part.colour)
    photos = index.photo_numbers
    counts = np.bincount(photos[counted], minlength=int(photos.max()) + 1)
    there: Chosen = counted & (counts[photos] == part.count)
    return there


def _in_photos_with(index: SearchIndex, part: Part) -> Chosen:
    """Return which objects are in a photo that holds a part too."""
    photos = index.photo_numbers
    holding = np.zeros(int(photos.max()) + 1, bool)
    holding[photos[_of_part(index, part) & _have_colour(index, part.colour)]] = True
    there: Chosen = holding[photos]
    return there


def _have_colour(index: SearchIndex, colour: str | None) -> Chosen:
    """Return which objects have a share of a colour that one sees; all where none is asked for."""
    if colour is None:
        return np.ones(len(index.labels), bool)
    return index.colours[:, COLOUR_NAMES.index(colour)] >= 255 * HAS_COLOUR


def _photos_in_turn(index: SearchIndex, rows: I32Array, k: int) -> I32Array:
    """Return the first k rows: the largest object of each photo, then the second largest, and so on."""
    left, top, right, bottom = index.boxes[rows].T
    area = (right - left) * (bottom - top)
    photos = index.photo_numbers[rows]
    largest = np.zeros(int(photos.max(initial=0)) + 1, np.float32)
    np.maximum.at(largest, photos, area)
    if np.count_nonzero(largest) >= k:  # nothing needs sorting but the largest of each photo
        least = np.partition(largest, -k)[-k]
        near = np.flatnonzero((area == largest[photos]) & (area >= least))
        rows, area, photos = rows[near], area[near], photos[near]
    order = np.lexsort((-area, photos))
    starts = np.flatnonzero(np.diff(photos[order], prepend=-1))
    turn = np.empty(len(rows), int)
    turn[order] = np.arange(len(rows)) - np.repeat(starts, np.diff(starts, append=len(rows)))
    ranked: I32Array = rows[np.lexsort((-area, turn))[:k]]
    return ranked


def _by_colour(index: SearchIndex, rows: I32Array, name: int, k: int) -> list[WordHit]:
    """Return the rows with most of a colour, by their crops, which the stored histograms choose."""
    coarse = index.colours[rows, name]
    first = rows[np.argsort(255 - coarse, kind="stable")[: max(_LOOKED_AT, k)]]  # bytes are sorted by radix
    crops = ThumbCache(index.thumb_places, 0)  # each crop is looked at once
    shares = [
        (float(crop_colours(crop)[name]), row)
        for row, crop in zip(first.tolist(), crops.coarse(first.tolist(), _CROP_PX), strict=True)
    ]
    shares.sort(key=lambda hit: -hit[0])
    return [WordHit(row, round(share, 3)) for share, row in shares[:k] if share >= _LEAST_SHARE]
