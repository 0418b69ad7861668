"""Find the distance from which on neighbours are no longer alike.

objects -> their neighbours of other photos, by distance -> in groups of equal size
        -> the first group of which less than half have the object's class

All objects of the library count, of near duplicates one, whatever a search is narrowed to: objects of all
classes have few neighbours of their own among those of one class.
"""

from __future__ import annotations

import numpy as np

from rtsearch.library.index import SearchIndex

__all__ = ["LEAST_OBJECTS", "largest_distance", "measured_distance"]

LEAST_OBJECTS = 200
"""Objects from which on a library can tell."""

_OBJECTS = 256  # of a large library; their choice moves the distance by half a hundredth
_PAIRS = 4_000_000  # of objects that may be compared: all of two thousand, or it would move by a tenth
_NEIGHBOURS = 64
_GROUP = 256  # neighbours of which the share of the right class is taken
_LEAST_NEIGHBOURS = 5  # neighbours that half of the objects keep in any case
_ALIKE = 0.5


def largest_distance(index: SearchIndex, asked: float = 0.0) -> float:
    """Return the largest distance of neighbours that are worth showing, inf for a small library.

    Args:
        index: search index of the library; the index of all rows keeps what was measured.
        asked: ``show.max_distance``; 0 measures it.
    """
    if asked:
        return asked
    whole = index.whole
    if whole.alike_within is None:
        whole.alike_within = measured_distance(whole.narrowed(distinct=True))
    return whole.alike_within


def measured_distance(index: SearchIndex, seed: int = 0) -> float:
    """Measure the distance from which on neighbours are no longer alike; inf for a small library.

    Where objects are compared by their looks, classes say little: half of the objects keep five neighbours.

    Args:
        index: search index of the library.
        seed: of the choice of objects, where there are many.
    """
    given = np.arange(len(index)) if index.given is None else np.flatnonzero(index.given)
    if len(given) < LEAST_OBJECTS:
        return np.inf
    count = min(len(given), max(_OBJECTS, _PAIRS // len(given)))
    chosen = np.random.default_rng(seed).choice(given, count, replace=False)
    rows = np.sort(chosen).astype(np.int32)
    near = index.near(index.points(rows), _NEIGHBOURS)
    there = near.row >= 0
    others = there & (index.photo_numbers[near.row] != index.photo_numbers[rows][:, None])
    alike = index.labels[near.row] == index.labels[rows][:, None]
    distance, same = near.distance[others], alike[others]
    order = np.argsort(distance, kind="stable")
    distance, same = distance[order], same[order]
    ordered = np.sort(np.where(others, near.distance, np.inf), axis=1)
    least = float(np.median(ordered[:, _LEAST_NEIGHBOURS - 1]))
    for first in range(0, len(same) - _GROUP + 1, _GROUP):
        if same[first : first + _GROUP].mean() < _ALIKE:
            return max(least, float(distance[first]))
    return np.inf
