"""Run the kernels over the arrays of a tree: memory to work in, threads, rows compared one by one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from rtsearch.errors import VectorError
from rtsearch.search import query_kernels
from rtsearch.search.answers import Answer, in_parts, nothing
from rtsearch.search.arrays import LARGEST, PAD, TreeArrays, handle_of, passing_empty
from rtsearch.search.calibrate import EXACT, Effort
from rtsearch.search.masks import positions_allowed
from rtsearch.search.places import Places
from rtsearch.search.scratch import scratch_bytes
from rtsearch.search.simd import instructions
from rtsearch.types import F32Array, I32Array, I64Array, U8Array

__all__ = ["ALONE", "EXACT_PART", "Runner"]

ALONE = np.empty((0, 2), np.float32)
"""Reach of a tree that is searched alone."""

EXACT_PART, _PART = 8, 64
"""Queries that a thread takes at once, exact ones and others; starting it takes 50 us."""

_INSANE = "queries: NaN, infinity or a number beyond 1e15 among them; leave those rows out"
_F32, _I32, _U8 = np.dtype(np.float32), np.dtype(np.int32), np.dtype(np.uint8)  # found faster than the types


class Runner:
    """Searches some arrays; any number of threads may use it.

    Args:
        arrays: of a tree.
        places: of its rows.
        pass_empty: searches pass by leaves and groups whose points are all removed; 10 ms for 376,459 points.

    Attributes:
        places: as given.
        size: points that are not marked as removed.
        handle: what kernels get.
    """

    def __init__(self, arrays: TreeArrays, places: Places, pass_empty: bool = False) -> None:
        self.places = places
        self.size = int(np.count_nonzero(arrays.norm < PAD))
        self._arrays = passing_empty(arrays) if pass_empty else arrays
        self.handle = handle_of(self._arrays)
        # None compiles the processor's instructions, True plain loops; see kernels.score.
        self._plain = True if instructions() == "plain" else None
        self._scratch_bytes: dict[int, int] = {}

    def run(
        self, queries: F32Array, k: int, plan: Effort, handle: I64Array, known: F32Array
    ) -> tuple[F32Array, I32Array, U8Array]:
        """Return distance and row, (m, k) each, and scratch memory that ends with the crowd, 4 m bytes."""
        m = len(queries)
        probes, ratio, square, crowd = plan  # a starred call takes 0.1 us longer
        shape = m, k
        distance, row = np.empty(shape, _F32), np.empty(shape, _I32)
        scratch = np.empty((self._scratch_bytes.get(k) or self._measure(k)) + 4 * m, _U8)
        if not query_kernels.search(
            handle, self._plain, scratch, queries, probes, ratio, square, crowd, distance, row, known
        ):
            raise VectorError(_INSANE)
        return distance, row, scratch

    def run_parts(
        self,
        queries: F32Array,
        k: int,
        plan: Effort,
        handle: I64Array,
        known: F32Array,
        pool: ThreadPoolExecutor | None = None,
    ) -> Answer:
        """Answer queries, many of them in threads."""
        if k == 0 or self.size == 0:
            return self.run_listed(queries, 0, np.zeros(0, np.bool_))

        def run(part: slice) -> Answer:
            distance, row, scratch = self.run(queries[part], k, plan, handle, known[part])
            return Answer(distance, row, scratch[len(scratch) - 4 * len(distance) :].view(_F32))

        return in_parts(len(queries), run, EXACT_PART if plan is EXACT else _PART, pool)

    def run_listed(self, queries: F32Array, k: int, allowed: NDArray[np.bool_]) -> Answer:
        """Compare the queries with every allowed row; fewer than k columns where these are fewer."""
        positions = positions_allowed(allowed, self.places.of_row) if k else np.zeros(0, np.int32)
        k = min(k, len(positions))
        if k == 0:
            if not (np.abs(queries) <= LARGEST).all():
                raise VectorError(_INSANE)
            return nothing(len(queries))

        def run(part: slice) -> Answer:
            some = queries[part]
            m = len(some)
            distance, row = np.empty((m, k), _F32), np.empty((m, k), _I32)
            scratch = np.empty(self._scratch_bytes.get(k) or self._measure(k), _U8)
            if not query_kernels.search_listed(self.handle, scratch, some, positions, distance, row):
                raise VectorError(_INSANE)
            return Answer(distance, row, np.full(m, -1, _F32))

        return in_parts(len(queries), run, _PART)

    def _measure(self, k: int) -> int:
        self._scratch_bytes[k] = int(scratch_bytes(self.handle, k))
        return self._scratch_bytes[k]
