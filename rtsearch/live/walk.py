"""Walk slowly through a library while nobody is there: from an object to one of those like it.

nothing seen for a while -> stop 0 -> stop 1 -> ...   each an object and those like it; the last two are shown
"""

from __future__ import annotations

import random
from math import inf
from typing import NamedTuple

import numpy as np

from rtsearch.config import SearchSettings
from rtsearch.library.index import SearchIndex
from rtsearch.render.wall import BANDS, CROPS

__all__ = ["STOP_S", "Walk", "Walked", "alike"]

STOP_S = 6.0
"""Time from one stop to the next, s of the source."""
_LEAP = 4  # stops after which the walk goes on somewhere else
_NEXT = 8  # nearest of a stop that the next may be
_PER_PHOTO = 4  # rows that are searched for each of another photo


class Walked(NamedTuple):
    """Part of a walk.

    Attributes:
        first: number of the first stop that is shown.
        stops: rows of each stop that is shown: an object, then those like it.
        coming: rows of the stop after these, which are fetched meanwhile.
    """

    first: int = 0
    stops: tuple[tuple[int, ...], ...] = ()
    coming: tuple[int, ...] = ()


class Walk:
    """Walk of one source; belongs to the search thread.

    Args:
        search: exactly, or with which recall.
        seed: of the choices.

    Attributes:
        most_distance: largest distance of those like an object.
    """

    def __init__(self, search: SearchSettings, seed: int = 0) -> None:
        self.most_distance = inf
        self._search = search
        self._random = random.Random(seed)
        self._seen_s: float | None = None  # when something was seen last
        self._stops: list[tuple[int, ...]] = []

    def at(self, at_s: float, index: SearchIndex, after_s: float, *, seen: bool) -> Walked:
        """Return what is shown at a time.

        Args:
            at_s: time of the frame.
            index: gives the objects.
            after_s: time without an object after which the walk begins; 0 for never.
            seen: the frame shows an object.
        """
        if seen or self._seen_s is None or at_s < self._seen_s:
            self._seen_s = at_s
            self._stops.clear()
        waited_s = at_s - self._seen_s - after_s
        if not after_s or waited_s < 0 or not len(index.findable()):
            return Walked()
        now = int(waited_s / STOP_S)
        while len(self._stops) <= now + 1:
            self._stops.append(self._next(index))
        first = max(0, now + 1 - BANDS)
        return Walked(first, tuple(self._stops[first : now + 1]), self._stops[now + 1])

    def _next(self, index: SearchIndex) -> tuple[int, ...]:
        """Return the next stop: like the last one, or somewhere else now and then."""
        like = self._stops[-1][1 : 1 + _NEXT] if self._stops and len(self._stops) % _LEAP else ()
        passed = {stop[0] for stop in self._stops[-_LEAP:]}
        rows = [row for row in like if row not in passed] or index.findable()
        row = int(rows[self._random.randrange(len(rows))])
        return (row, *alike(index, row, CROPS - 1, self._search, self.most_distance))


def alike(
    index: SearchIndex, row: int, most: int, search: SearchSettings, most_distance: float
) -> tuple[int, ...]:
    """Return the nearest rows of a row, one of each other photo, the nearest first.

    Args:
        index: is searched.
        row: of an object.
        most: number of rows that are wanted.
        search: exactly, or with which recall.
        most_distance: of these.
    """
    point = index.points(np.array([row], np.int32))
    near = index.near(point, _PER_PHOTO * most, exact=search.exact, recall=search.recall)
    ours = (near.row[0] >= 0) & (near.row[0] < len(index))
    rows = near.row[0][ours & (near.distance[0] <= most_distance)]
    photos = np.concatenate([index.photos_of(np.array([row], np.int32)), index.photos_of(rows)])
    _, first = np.unique(photos, return_index=True)
    return tuple(rows[np.sort(first)[1:] - 1].tolist())[:most]
