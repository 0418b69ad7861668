"""Neighbours shown for one tracked object, kept while they are as good as the best.

    query of a frame -> another object? when two frames say so, what was before is forgotten
                     -> pooled over the last frames -> proved to have the same candidates? else searched again
                     -> shown rows give way only to clearly nearer ones

Proof: a search at ``origin`` brings the nearest M rows and the distance ``radius`` of the last. At a query
that is ``moved`` away, every other row is at least ``radius - moved`` away (triangle inequality). While the
k-th of the M, measured anew, is no farther than that, the k nearest of all are among the M.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from rtsearch.types import F32Array, I32Array

__all__ = ["CANDIDATES", "Shown"]

POOL_FRAMES = 8
CANDIDATES = 4
"""Rows that a search brings, as a multiple of those that are shown: more let it stay valid for longer."""
CLEARLY = 1.05
"""How much farther than another row a shown one may be. So the mean distance of what is shown stays within
5 % of that of the true neighbours, whatever the vectors."""
SAME = 1.5
"""How far an object may be from its last query and still be the same, in distances of its last neighbour."""
DISORDER = 1.25
"""How much farther than the one right of it a shown row may be before the two change places."""


class Shown:
    """Neighbours that are shown for one object.

    Attributes:
        row: (k,) int32, in the order in which they are shown, at most as many as the library has.
        distance: (k,) float32, from the pooled query.
        query: (dim,) float32, the pooled query.
    """

    def __init__(self, dim: int) -> None:
        self._pool: deque[F32Array] = deque(maxlen=POOL_FRAMES)
        self._label = -1  # of the pool
        self._doubted = False  # was it another object in the last frame?
        self.query: F32Array = np.zeros(dim, np.float32)
        self.forget()

    def forget(self) -> None:
        """Forget the neighbours: another index is searched from now on."""
        nowhere = np.zeros((0, len(self.query)), np.float32)
        self.row: I32Array = np.zeros(0, np.int32)
        self.distance: F32Array = np.zeros(0, np.float32)
        self._points: F32Array = nowhere  # of the shown rows
        self._origin: F32Array | None = None
        self._radius = 0.0
        self._near: I32Array = np.zeros(0, np.int32)  # rows that the last search brought
        self._near_points: F32Array = nowhere
        self._near_distance: F32Array = np.zeros(0, np.float32)

    def look(self, point: F32Array, label: int, k: int) -> F32Array | None:
        """Take in the object's (dim,) point and class of this frame.

        Returns:
            The query to search for ``CANDIDATES * k`` rows with, or None where the last search still serves.
        """
        self.query = self._pooled(point, label)
        if self._origin is None:
            return self.query
        self._near_distance = _distances(self._near_points, self.query)
        if len(self._near) < k:
            return None if np.isinf(self._radius) else self.query
        kth = float(np.partition(self._near_distance, k - 1)[k - 1])
        moved = float(np.linalg.norm(self.query - self._origin))
        return None if kth <= self._radius - moved else self.query

    def renew(self, row: I32Array, points: F32Array, radius: float) -> None:
        """Take in a search: (m,) rows, where they lie, how far the last is (inf where these are all)."""
        self._origin, self._radius = self.query, radius
        self._near, self._near_points = row, points
        self._near_distance = _distances(points, self.query)

    def settle(self, k: int) -> None:
        """Decide what is shown."""
        order = np.argsort(self._near_distance, kind="stable")[: 2 * k]
        best, best_distance = self._near[order], self._near_distance[order]
        if len(self.row) != min(k, len(self._near)):  # more or fewer are wanted; the others stay
            added = np.flatnonzero(~np.isin(best, self.row[:k], kind="sort"))[: max(0, k - len(self.row))]
            self.row = np.concatenate([self.row[:k], best[added]])
            self._points = np.concatenate([self._points[:k], self._near_points[order[added]]])
        self.distance = _distances(self._points, self.query)
        fresh = np.flatnonzero(~np.isin(best, self.row, kind="sort"))
        for new in fresh.tolist():
            worst = int(self.distance.argmax())
            if self.distance[worst] <= CLEARLY * best_distance[new]:
                break
            self.row = self.row.copy()  # what was handed out before stays as it was
            self.row[worst], self.distance[worst] = best[new], best_distance[new]
            self._points[worst] = self._near_points[order[new]]
        self._keep_order()

    def _pooled(self, point: F32Array, label: int) -> F32Array:
        """Mean of the last frames, begun anew when the object has become another one.

        One frame of a bird among many of a person says little; two tell that the track has changed hands.
        """
        far = len(self.distance) > 0 and np.linalg.norm(point - self.query) > SAME * self.distance.max()
        if self._pool and (far or label != self._label):
            if not self._doubted:
                self._doubted = True
                return self.query
            self._pool.clear()
        self._label, self._doubted = label, False
        self._pool.append(point)
        mean: F32Array = np.mean(self._pool, axis=0, dtype=np.float32)
        return mean

    def _keep_order(self) -> None:
        """Nearest first, but for small differences; two rows change places, the others stay."""
        while len(self.row) > 1:
            nearest_after = np.minimum.accumulate(self.distance[:0:-1])[::-1]
            wrong = self.distance[:-1] > DISORDER * nearest_after
            if not wrong.any():
                return
            left = int(wrong.argmax())
            right = left + 1 + int(self.distance[left + 1 :].argmin())
            place = np.arange(len(self.row))
            place[[left, right]] = right, left
            self.row, self.distance, self._points = (
                self.row[place],
                self.distance[place],
                self._points[place],
            )


def _distances(points: F32Array, query: F32Array) -> F32Array:
    away = points - query
    distance: F32Array = np.sqrt(np.einsum("nd,nd->n", away, away))
    return distance
