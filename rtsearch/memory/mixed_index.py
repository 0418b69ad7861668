"""Index of a library and a memory beside it: one search finds rows of both."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtsearch._util.wording import ago
from rtsearch.library.search_index import SearchIndex
from rtsearch.library.thumbnails import LEAST_ASPECT, MOST_ASPECT
from rtsearch.memory.recall import FIRST_ROW, Narrowing, Recollection
from rtsearch.search import Reach
from rtsearch.search.answers import nearest_of
from rtsearch.types import F32Array, I32Array, Neighbours

__all__ = ["MixedIndex"]


class MixedIndex(SearchIndex):
    """Index whose searches find what is remembered, too; any number of threads may use it.

    Rows from ``FIRST_ROW`` on are the memory's. What is known of all rows at once is of the library's alone.

    Args:
        base: index of the library, narrowed or not; nothing remembered is found in another projection than
            the memory's.
        recall: the memory.
        narrowing: which of its entries may be found; None for none.
        apart: searches find the library's rows only; ``remembered`` finds the others.
    """

    def __init__(
        self, base: SearchIndex, recall: Recollection, narrowing: Narrowing | None, *, apart: bool = False
    ) -> None:
        vars(self).update(vars(base))
        self._whole = base.whole
        self._recall = recall
        self._narrowing = narrowing
        self._fingerprint = base.projection.fingerprint
        self.apart = apart

    def near(self, points: F32Array, k: int, *, exact: bool = False, recall: float = 0.98) -> Neighbours:
        """The k nearest objects of each of (n, dim) points, in the library and in the memory."""
        if self.apart:
            return super().near(points, k, exact=exact, recall=recall)
        reach = Reach(len(points))
        own = self._near(points, k, exact=exact, recall=recall, reach=reach)
        remembered = self.remembered(points, k, exact=exact, recall=recall, reach=reach)
        return nearest_of([own, remembered], len(points), k)

    def remembered(
        self,
        points: F32Array,
        k: int,
        *,
        exact: bool = False,
        recall: float = 0.98,
        reach: Reach | None = None,
    ) -> Neighbours:
        """Return the k nearest entries of each of (n, dim) points; -1 and inf where there are fewer.

        ``reach`` is of what else is searched for the same points.
        """
        if self._narrowing is None or self._recall.fingerprint != self._fingerprint:
            return nearest_of([], len(points), k)
        return self._recall.near(
            points, k, exact=exact, recall=recall, narrowing=self._narrowing, reach=reach
        )

    def points(self, rows: I32Array) -> F32Array:
        """(n, dim) float32: where n rows lie."""
        ours = rows >= FIRST_ROW
        if not ours.any():
            return super().points(rows)
        points = np.empty((len(rows), self.dim), np.float32)
        points[~ours] = super().points(rows[~ours])
        points[ours] = self._recall.points(rows[ours])
        return points

    def _same(self, rows: I32Array, row: int) -> NDArray[np.bool_]:
        same: NDArray[np.bool_] = rows == row
        if row < FIRST_ROW:
            ours = rows < FIRST_ROW
            same[ours] = super()._same(rows[ours], row)
        return same

    def photos_of(self, rows: I32Array, /) -> I32Array:
        """(n,) int32: number of each row's photo, or of the track of an entry, which is as good as one."""
        ours = rows >= FIRST_ROW
        if not ours.any():
            return super().photos_of(rows)
        photos = np.empty(len(rows), np.int32)
        photos[~ours] = super().photos_of(rows[~ours])
        photos[ours] = FIRST_ROW + self._recall.column("visit", rows[ours]) % FIRST_ROW
        return photos

    def shapes(self, rows: I32Array, /) -> F32Array:
        """(n,) float32: width by height of each row's crop, as a strip shows it."""
        ours = rows >= FIRST_ROW
        if not ours.any():
            return super().shapes(rows)
        shapes = np.ones(len(rows), np.float32)
        shapes[~ours] = super().shapes(rows[~ours])
        xyxy = self._recall.column("xyxy", rows[ours])
        wh = np.maximum(xyxy[:, 2:] - xyxy[:, :2], 1e-3)
        shapes[ours] = np.clip(wh[:, 0] / wh[:, 1], LEAST_ASPECT, MOST_ASPECT)
        return shapes

    def heights(self, rows: I32Array, /) -> F32Array:
        """(n,) float32: height of each row's box in its photo, or in the frame that it was seen in, px."""
        ours = rows >= FIRST_ROW
        if not ours.any():
            return super().heights(rows)
        heights = np.empty(len(rows), np.float32)
        heights[~ours] = super().heights(rows[~ours]) if len(self) else 0
        xyxy = self._recall.column("xyxy", rows[ours])
        heights[ours] = xyxy[:, 3] - xyxy[:, 1]
        return heights

    def hits(self, rows: I32Array, /) -> list[dict[str, Any]]:
        """Return what is known of each row; ``seen_ns`` is there for entries alone."""
        ours = rows >= FIRST_ROW
        if not ours.any():
            return super().hits(rows)
        of_library, of_memory = iter(super().hits(rows[~ours])), iter(self._recall.hits(rows[ours]))
        return [next(of_memory if one else of_library) for one in ours.tolist()]

    def time_mark(self, row: int) -> str:
        """Return what is written on a crop: when an entry was seen, or the time in a film."""
        if row < FIRST_ROW:
            return super().time_mark(row)
        seen_ns = self._recall.column("seen_ns", np.array([row], np.int32))[0]
        return ago((time.time_ns() - int(seen_ns[1])) / 1e9) if seen_ns[1] else ""
