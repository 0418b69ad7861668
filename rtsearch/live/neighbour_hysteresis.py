"""Neighbours shown for one tracked object, kept while they are as good as the best.

    query of a frame -> another object? when two frames say so, what was before is forgotten
                     -> called something else for a moment? then it is left out
                     -> pooled over the last frames -> proved to have the same candidates? else searched again
                     -> shown rows give way only to clearly nearer ones, one of each photo

Proof: a search at ``origin`` brings the nearest M rows and the distance ``radius`` of the last. At a query
that is ``moved`` away, every other row is at least ``radius - moved`` away (triangle inequality). While the
k-th of the M, measured anew, is no farther than that, the k nearest of all are among the M.
"""

from __future__ import annotations

import functools
import itertools
from collections import deque
from collections.abc import Set
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rtsearch.render.justify import line_ends
from rtsearch.types import F32Array, I32Array

__all__ = ["CANDIDATES", "Candidates", "Room", "Shown"]

POOL_FRAMES = 8
CANDIDATES = 4
"""Rows that a search brings, as a multiple of those that are shown: more let it stay valid for longer."""
CLEARLY = 1.05
"""Largest distance of a shown row, as a multiple of that of another row whose crop fills its place."""
SAME = 1.5
"""Largest move of an object that is still the same, as a multiple of the distance of its last neighbour."""
DISORDER = 1.25
"""Ratio of the distances of two rows side by side from which on they change places."""
_LIKE = 1.25  # how much wider or narrower than its place a crop may be to fill it
_UNLIKE = 1.25  # how much farther than one that would leave its place half empty a shown row may be
_PROVED = 0.6  # share of the candidates of different photos that are proved to be the nearest, at most
_NO_ROWS: Set[int] = frozenset()


class Candidates(NamedTuple):
    """Rows that a search has brought.

    Attributes:
        row: (m,) int32.
        points: (m, dim) float32, where they lie.
        radius: distance of the last, inf where these are all rows.
        photo: (m,) int32, number of each row's photo.
        shape: (m,) float32, aspect ratio of each row's crop, width by height.
    """

    row: I32Array
    points: F32Array
    radius: float
    photo: I32Array
    shape: F32Array


class Room(NamedTuple):
    """Room for an object's crops.

    Attributes:
        most: crops at most.
        line: width of a line and one gap, in heights of a line; 0 counts crops only.
        gap: space between crops, in heights of a line.
        lines: number of lines.
        distance: largest distance of a crop.
    """

    most: int
    line: float = 0.0
    gap: float = 0.0
    lines: int = 1
    distance: float = np.inf

    def holds(self, shapes: list[float]) -> int:
        """Return how many crops of these aspect ratios there is room for."""
        if not self.line:
            return min(self.most, len(shapes))
        ends = line_ends(shapes, self.line, self.gap)
        return min(self.most, len(shapes), *ends[self.lines - 1 : self.lines])


class Shown:
    """Neighbours that are shown for one object.

    Attributes:
        row: (k,) int32, in the order in which they are shown.
        distance: (k,) float32, from the pooled query.
        query: (dim,) float32, the pooled query.
    """

    def __init__(self, dim: int) -> None:
        self._pool: deque[F32Array] = deque(maxlen=POOL_FRAMES)
        self._label = -1  # of the pool
        self._doubted = False  # was it another object in the last frame?
        self._k = 0  # of the last search
        self.query: F32Array = np.zeros(dim, np.float32)
        self.forget()

    def forget(self) -> None:
        """Forget the neighbours: another index is searched from now on."""
        nowhere = np.zeros((0, len(self.query)), np.float32)
        self._pool.clear()  # of points in the other index
        self._is_new = True  # all rows change at once
        self._is_refined = False  # rows were exchanged for those of a full pool
        self.row: I32Array = np.zeros(0, np.int32)
        self.distance: F32Array = np.zeros(0, np.float32)
        self._points: F32Array = nowhere  # of the shown rows
        self._photo: list[int] = []  # of the shown rows
        self._shape: list[float] = []  # of their places, which keep that of their first crop
        self._origin: F32Array | None = None
        self._near = Candidates(self.row, nowhere, 0.0, np.zeros(0, np.int32), np.zeros(0, np.float32))
        self._rows: list[int] = []  # of the candidates, as their photos
        self._photos: list[int] = []
        self._near_distance: F32Array = np.zeros(0, np.float32)
        self._ranked: NDArray[np.intp] = np.zeros(0, np.intp)  # candidates by distance, one of each photo

    def doubt(self) -> None:
        """Let the next look ask for a search, as there may be other rows by now."""
        self._origin = None

    def is_like(self, point: F32Array, label: int) -> bool:
        """Tell whether a (dim,) point of a class may be the object's."""
        far = len(self.distance) > 0 and self.distance_to(point) > SAME * self.distance.max()
        return not far and label == self._label

    def distance_to(self, point: F32Array) -> float:
        """Return how far a (dim,) point is from the object's."""
        return float(np.linalg.norm(point - self.query))

    def look(self, point: F32Array, label: int, k: int, *, misnamed: bool = False) -> F32Array | None:
        """Take in the object's (dim,) point of this frame, and its class.

        Args:
            point: is pooled with those of the last frames.
            label: class that the object has been called most; its word, and so that of its crops.
            k: crops that there may be room for.
            misnamed: this frame calls it something else, so that its point says little.

        Returns:
            The query to search for ``CANDIDATES * k`` rows with, or None where the last search still serves.
        """
        self.query = self._pooled(point, label, misnamed)
        if self._origin is None or k > self._k:
            self._k = k
            return self.query
        self._measure()
        if np.isinf(self._near.radius):
            return None
        # Where few photos have many rows, all k of different photos cannot be proved.
        k = max(1, min(k, int(_PROVED * len(self._ranked))))
        kth = float(self._near_distance[self._ranked[k - 1]])
        moved = float(np.linalg.norm(self.query - self._origin))
        return None if kth <= self._near.radius - moved else self.query

    def renew(self, near: Candidates) -> None:
        """Take in a search."""
        self._origin, self._near = self.query, near
        self._rows, self._photos = near.row.tolist(), near.photo.tolist()
        self._measure()

    def settle(self, room: Room, taken: Set[int] = _NO_ROWS, changes: int | None = None) -> int:
        """Decide what is shown.

        Args:
            room: for crops.
            taken: rows that are shown elsewhere; those that are shown here too give way at once.
            changes: shown rows that may give way now, None for any number; once, when its pool is full, all
                rows of an object may.

        Returns:
            Number of rows that gave way; a new object's rows do not count.
        """
        if self._is_new:
            self._keep(np.zeros(0, np.intp))
        if len(self._pool) == POOL_FRAMES and not self._is_refined:
            changes, self._is_refined = None, True
        near = self._ranked[self._near_distance[self._ranked] <= room.distance]
        free = [i for i in near.tolist() if self._rows[i] not in taken]
        self.distance = _distances(self._points, self.query)
        self._give_way(taken, free)
        changed = self._exchange(free, changes)
        self._fill(free, room)
        far = self.distance > CLEARLY * room.distance
        if far.any():
            self._keep(np.flatnonzero(~far))
        self._is_new = False
        return changed + self._keep_order(None if changes is None else changes - changed)

    def lacks(self, room: Room) -> set[int]:
        """Return rows that would be shown too if none were shown elsewhere."""
        if room.holds([*self._shape, 1.0]) <= len(self.row):
            return set()
        near = self._ranked[self._near_distance[self._ranked] <= room.distance]
        return {self._rows[i] for i in self._fresh(near.tolist())}

    def give_half(self, wanted: Set[int]) -> None:
        """Show the latter half of these rows no more."""
        there = [place for place, row in enumerate(self.row.tolist()) if row in wanted]
        self._keep(np.setdiff1d(np.arange(len(self.row)), there[(len(there) + 1) // 2 :]))

    def _give_way(self, taken: Set[int], free: list[int]) -> None:
        """Show other rows in the place of those that are shown elsewhere."""
        lost = [place for place, row in enumerate(self.row.tolist()) if row in taken]
        fresh = self._fresh(free) if lost else []
        for place in lost[: len(fresh)]:
            new = next((i for i in fresh if self._fits(i, place)), fresh[0])
            self._put(place, new)
            fresh.remove(new)
        if lost:
            self._keep(np.flatnonzero([row not in taken for row in self.row.tolist()]))

    def _exchange(self, free: list[int], changes: int | None) -> int:
        """Let shown rows give way to clearly nearer ones; return how many did."""
        done = 0
        fresh = self._fresh(free)
        while fresh and len(self.row) and (changes is None or done < changes):
            worst = int(self.distance.argmax())
            # Nearest first: after the first that is not clearly nearer, none is.
            most = float(self.distance[worst]) / CLEARLY
            nearer = itertools.takewhile(functools.partial(self._is_within, most), fresh)
            new = next((i for i in nearer if self._is_better(i, worst)), None)
            if new is None:
                break
            self._put(worst, new)
            fresh.remove(new)
            done += 1
        return done

    def _is_within(self, most: float, new: int) -> bool:
        return bool(self._near_distance[new] < most)

    def _is_better(self, new: int, place: int) -> bool:
        """Tell whether a candidate is clearly nearer than the row in a place that it would fill."""
        least = CLEARLY if self._fits(new, place) else _UNLIKE
        return bool(self.distance[place] > least * self._near_distance[new])

    def _fits(self, new: int, place: int) -> bool:
        shape, there = float(self._near.shape[new]), self._shape[place]
        return max(shape, there) <= _LIKE * min(shape, there)

    def _fresh(self, free: list[int]) -> list[int]:
        """Return candidates that are not shown, and of whose photos none is."""
        shown, photos = set(self.row.tolist()), set(self._photo)
        return [i for i in free if self._rows[i] not in shown and self._photos[i] not in photos]

    def _put(self, place: int, new: int) -> None:
        """Show a candidate in a place; what was handed out before stays as it was."""
        self.row, self._points = self.row.copy(), self._points.copy()
        self.row[place], self.distance[place] = self._near.row[new], self._near_distance[new]
        self._points[place], self._photo[place] = self._near.points[new], int(self._near.photo[new])

    def _fill(self, free: list[int], room: Room) -> None:
        """Show as many rows as there is room for; those that are shown stay."""
        fresh = self._fresh(free)[: max(0, room.most - len(self.row))]
        shapes = [*self._shape, *self._near.shape[fresh].tolist()]
        count = room.holds(shapes)
        added = fresh[: max(0, count - len(self.row))]
        if added:
            self.row = np.concatenate([self.row, self._near.row[added]])
            self.distance = np.concatenate([self.distance, self._near_distance[added]])
            self._points = np.concatenate([self._points, self._near.points[added]])
            self._photo += self._near.photo[added].tolist()
            self._shape = shapes[: len(self.row)]
        elif count < len(self.row):
            self._keep(np.arange(count))

    def _keep(self, places: NDArray[np.intp]) -> None:
        """Keep these of the shown rows, with their places."""
        self._shape = [self._shape[i] for i in places.tolist()]
        self._reorder(places)

    def _reorder(self, places: NDArray[np.intp]) -> None:
        self.row, self.distance, self._points = self.row[places], self.distance[places], self._points[places]
        self._photo = [self._photo[i] for i in places.tolist()]

    def _measure(self) -> None:
        self._near_distance = _distances(self._near.points, self.query)
        order = np.argsort(self._near_distance, kind="stable")
        _, first = np.unique(self._near.photo[order], return_index=True)
        self._ranked = order[np.sort(first)]

    def _pooled(self, point: F32Array, label: int, misnamed: bool) -> F32Array:
        """Mean of the last frames, begun anew when the object has become another one.

        One frame of a bird among many of a person says little; two tell that the track has changed hands.
        """
        if self._pool and not self.is_like(point, label):
            if not self._doubted:
                self._doubted = True
                return self.query
            self._pool.clear()
            self._is_new, self._is_refined = True, False
        elif self._pool and misnamed:
            return self.query
        self._label, self._doubted = label, False
        self._pool.append(point)
        mean: F32Array = np.mean(self._pool, axis=0, dtype=np.float32)
        return mean

    def _keep_order(self, changes: int | None) -> int:
        """Nearest first, but for small differences; two rows change places, the others stay.

        Returns the number of exchanges, at most ``changes``.
        """
        done = 0
        while len(self.row) > 1 and (changes is None or done < changes):
            nearest_after = np.minimum.accumulate(self.distance[:0:-1])[::-1]
            wrong = self.distance[:-1] > DISORDER * nearest_after
            if not wrong.any():
                break
            left = int(wrong.argmax())
            right = left + 1 + int(self.distance[left + 1 :].argmin())
            place = np.arange(len(self.row))
            place[[left, right]] = right, left
            self._reorder(place)
            done += 1
        return done


def _distances(points: F32Array, query: F32Array) -> F32Array:
    away = points - query
    distance: F32Array = np.sqrt(np.einsum("nd,nd->n", away, away))
    return distance
