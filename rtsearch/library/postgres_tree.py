"""PostgresTree: searches like a KDTree, with neighbours that come from the table of a database.

all rows wanted      pgvector's index, with as many candidates as reach the recall that is asked for
some rows wanted     more candidates than are wanted, of which the others are left out
too few are left, exact    all rows of the table are compared
"""

from __future__ import annotations

import logging
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtsearch.library.postgres_table import MOST_INDEXED, PostgresTable
from rtsearch.search import KDTree, Reach
from rtsearch.types import F32Array, I32Array, Neighbours

__all__ = ["PostgresTree"]

_log = logging.getLogger(__name__)

_EFFORTS = (40, 100, 200, 400, 1000)  # the last one is the most that pgvector takes
_SAMPLE = 48  # queries by which the recall of an effort is measured
_MORE = 1.5  # candidates per row that is wanted, as rows that may not be found crowd in places


class PostgresTree:
    """Rows of an exported library; any number of threads may query them.

    Args:
        tree: of the same rows on this machine, which tells where they lie.
        table: is asked for neighbours.
        allowed: (rows,) bool, rows that may be found; None for all.
    """

    def __init__(self, tree: KDTree, table: PostgresTable, allowed: NDArray[np.bool_] | None = None) -> None:
        self._tree = tree
        self._table = table
        self._allowed = allowed
        self._size = len(tree) if allowed is None else int(np.count_nonzero(allowed))
        self._efforts: dict[tuple[int, float], int] = {}

    def __len__(self) -> int:
        return self._size

    @property
    def dim(self) -> int:
        """Dimensions of the points."""
        return self._tree.dim

    def vectors(self, rows: I32Array) -> F32Array:
        """(n, dim) float32: where n rows lie."""
        return self._tree.vectors(rows)

    def only(self, allowed: NDArray[np.bool_]) -> PostgresTree:
        """Return the same, with some rows that may be found."""
        some = PostgresTree(self._tree, self._table, allowed)
        some._efforts = self._efforts
        return some

    def without(self, rows: NDArray[np.integer[Any]]) -> PostgresTree:
        """Return the same, with some rows that are not found."""
        allowed = np.ones(len(self._tree), np.bool_)
        allowed[rows] = False
        return self.only(allowed)

    def query(
        self,
        queries: NDArray[Any],
        k: int,
        *,
        exact: bool = False,
        recall: float = 0.98,
        reach: Reach | None = None,
    ) -> tuple[F32Array, I32Array]:
        """Search like :meth:`KDTree.query`; ``reach`` is left as it is.

        Raises:
            ServiceError: the database is away, or has no table of this state of the library.
        """
        points = np.ascontiguousarray(queries, np.float32)
        distance, row = np.full((len(points), k), np.inf, np.float32), np.full((len(points), k), -1, np.int32)
        few = min(k, self._size)
        if few:
            near = self._nearest(points, few, None if exact else recall)
            distance[:, :few], row[:, :few] = near.distance, near.row
        return distance, row

    def _nearest(self, points: F32Array, k: int, recall: float | None) -> Neighbours:
        """Return the k nearest rows, which there are; exactly where no recall is given."""
        wide = k if self._allowed is None else self._wide(k)
        if recall is None or wide > _EFFORTS[-1] or self.dim > MOST_INDEXED:
            return self._table.near_exactly(points, k, self._allowed)
        near = self._allowed_first(self._table.near(points, wide, self._effort(wide, recall)), k)
        lacking = near.row[:, -1] < 0
        if lacking.any():
            anew = self._table.near_exactly(points[lacking], k, self._allowed)
            near.row[lacking], near.distance[lacking] = anew.row, anew.distance
        return near

    def _wide(self, k: int) -> int:
        """Return how many of all rows hold k that may be found."""
        return min(math.ceil(_MORE * k * len(self._tree) / self._size), len(self._tree))

    def _allowed_first(self, near: Neighbours, k: int) -> Neighbours:
        """Return the first k of each answer that may be found."""
        if self._allowed is None:
            return near
        gone = (near.row < 0) | ~self._allowed[near.row]
        order = np.argsort(gone, axis=1, kind="stable")[:, :k]
        gone = np.take_along_axis(gone, order, 1)
        row = np.where(gone, np.int32(-1), np.take_along_axis(near.row, order, 1))
        distance = np.where(gone, np.float32(np.inf), np.take_along_axis(near.distance, order, 1))
        return Neighbours(row, distance)

    def _effort(self, k: int, recall: float) -> int:
        """Return the least effort that reaches a recall with k neighbours; measured once."""
        k = min(1 << (k - 1).bit_length(), _EFFORTS[-1], len(self._tree))
        known = self._efforts.get((k, recall))
        if known is None:
            known = self._efforts[k, recall] = self._measured_effort(k, recall)
        return known

    def _measured_effort(self, k: int, recall: float) -> int:
        rng = np.random.default_rng(0)
        rows = rng.choice(len(self._tree), min(_SAMPLE, len(self._tree)), replace=False).astype(np.int32)
        points = self.vectors(rows)
        # Points between rows: one that lies in the index itself is found too easily.
        other = self._tree.query(points, min(8, len(self._tree)), exact=True)[1][:, -1]
        points = (points + self.vectors(other)) * np.float32(0.5)
        farthest = self._tree.query(points, k, exact=True)[0][:, -1:]
        for effort in (each for each in _EFFORTS if each >= k):
            found = self._table.near(points, k, effort).distance <= farthest * np.float32(1 + 1e-5)
            if found.mean() >= recall:
                return effort
        _log.warning(
            "PostgreSQL finds %.3f of %d neighbours at most, %.3f are asked for; search.exact finds all",
            found.mean(),
            k,
            recall,
        )
        return _EFFORTS[-1]
