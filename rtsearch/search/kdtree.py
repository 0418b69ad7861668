"""KDTree: nearest neighbours among hundreds of thousands of vectors in microseconds.

The class checks vectors once and hands them to the kernels, which docs/explanation/search.md explains.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtsearch._util.cpu import usable_cores
from rtsearch.errors import VectorError
from rtsearch.search import query_kernels
from rtsearch.search.answers import Answer, Result, in_parts, nothing, widened
from rtsearch.search.arrays import LARGEST, MOST_DIM, PAD, SIZES, TreeArrays, handle_of, narrowed, shapes_of
from rtsearch.search.build import build_arrays
from rtsearch.search.calibrate import EXACT, Calibration, Effort, calibrate, held_out
from rtsearch.search.input_checks import (
    checked_allowed,
    checked_k,
    checked_names,
    checked_vectors,
    refuse_coarse,
    refuse_extremes,
)
from rtsearch.search.scratch import scratch_bytes
from rtsearch.search.simd import BLOCK, instructions
from rtsearch.search.store import load_arrays, save_arrays
from rtsearch.types import F32Array, I32Array, I64Array, U8Array

__all__ = ["KDTree"]

LEAF_SIZE = 32  # 16 points cost more per leaf, 64 more per point; see docs/explanation/search.md
_INSANE = "queries: NaN, infinity or a number beyond 1e15 among them; leave those rows out"
_FEW_ALLOWED = 1 / 16  # share of the rows; so few are compared with, one by one, rather than searched exactly
_PART, _EXACT_PART = 64, 8  # queries that a thread takes at once; starting it takes 50 us
_MOST_PLANS = 1000
_SAMPLE = 64  # vectors whose neighbours tell whether float32 is too coarse

_F32, _I32, _U8 = np.dtype(np.float32), np.dtype(np.int32), np.dtype(np.uint8)  # found faster than the types


class KDTree:
    """A KD-tree over the rows of an array of vectors. It never changes; many threads may query it."""

    def __init__(self, arrays: TreeArrays, calibration: Calibration) -> None:
        self._arrays = arrays
        self._calibration = calibration
        self._handle = handle_of(arrays)
        self._size = int(np.count_nonzero(arrays.norm < PAD))
        self._stored, self._dim = (int(length) for length in arrays.vector.shape)
        self._row_end = int(arrays.row.max(initial=-1)) + 1
        # None compiles the processor's instructions, True plain loops; see kernels.score.
        self._plain = True if instructions() == "plain" else None
        self._plans: dict[tuple[int, float], Effort] = {}
        self._scratch_bytes: dict[int, int] = {}

    @classmethod
    def build(
        cls, vectors: NDArray[Any], *, leaf_size: int = LEAF_SIZE, seed: int = 0, threads: int = 0
    ) -> KDTree:
        """Build a tree; the result depends on the seed, not on the number of threads.

        Args:
            vectors: (n, d), finite numbers, d from 1 to 1000; copied, as float32.
            leaf_size: points per leaf, before tightening.
            seed: of the samples that directions and recall are estimated from.
            threads: 0 takes one per core.

        Raises:
            VectorError: wrong shape or dtype, NaN, infinity, numbers beyond 1e15, all vectors within 1e-15 of
                each other, or numbers of which float32 does not keep what tells neighbours apart.
        """
        clean = checked_vectors("vectors", vectors)
        n, d = clean.shape
        if not 1 <= d <= MOST_DIM:
            raise VectorError(f"vectors: expected 1 to {MOST_DIM} dimensions, got {d}")
        refuse_extremes(clean)
        if leaf_size < 1:
            raise VectorError(f"leaf_size: expected at least 1, got {leaf_size}")
        if n == 0:
            return cls(_empty_arrays(d), _no_calibration())
        plain = True if instructions() == "plain" else None
        threads = threads or usable_cores()
        held = held_out(n, seed)
        arrays = build_arrays(clean, held, leaf_size, seed, threads, plain)
        tree = cls(arrays, _no_calibration())
        if not np.can_cast(np.asarray(vectors).dtype, _F32):
            sample = np.arange(0, n, -(-n // _SAMPLE))
            near = tree._run_parts(clean[sample], min(n, 16), EXACT, tree._handle).row
            refuse_coarse(np.asarray(vectors), clean, sample, near)
        return cls(arrays, tree._calibrate(clean[held], threads))

    def _calibrate(self, queries: F32Array, threads: int) -> Calibration:
        groups, leaves = len(self._arrays.group_slot) - 1, len(self._arrays.leaf_block) - 1

        with ThreadPoolExecutor(threads) as pool:

            def search(some: F32Array, k: int, effort: Effort) -> tuple[F32Array, F32Array]:
                answer = self._run_parts(some, k, effort, self._handle, pool)
                return answer.distance, answer.crowd

            return calibrate(queries, len(self), groups, leaves, search)

    @classmethod
    def load(cls, folder: str | Path) -> KDTree:
        """Map a saved tree into memory and check every byte of it.

        Raises:
            NotALibraryError: there is no tree.
            FormatError: it was written by a newer or an older version.
            DamagedError: it was truncated or altered.
        """
        return cls(*load_arrays(Path(folder), usable_cores()))

    def save(self, folder: str | Path) -> None:
        """Write the tree into a folder, which is made if need be; atomic.

        Raises:
            VectorError: its rows have other numbers, see ``renumbered``.
        """
        if self._row_end > self._stored:
            raise VectorError(
                "a tree that is renumbered cannot be saved; save it before, and its numbers beside"
            )
        save_arrays(Path(folder), self._arrays, self._calibration)

    def __reduce__(self) -> tuple[type[KDTree], tuple[TreeArrays, Calibration]]:
        """Copies and pickles hold the arrays; the handle's addresses are those of one process."""
        return type(self), (self._arrays, self._calibration)

    def __len__(self) -> int:
        return self._size

    @property
    def dim(self) -> int:
        """Dimensions of the vectors."""
        return self._dim

    @property
    def removed(self) -> int:
        """Rows that are stored, but marked as removed."""
        return self._stored - self._size

    @property
    def row_end(self) -> int:
        """One more than the largest row number, removed rows included."""
        return self._row_end

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays, the tree's own copy of the vectors included."""
        return sum(array.nbytes for array in self._arrays)

    def query(
        self,
        queries: NDArray[Any],
        k: int,
        *,
        exact: bool = False,
        recall: float = 0.98,
        allowed: NDArray[np.bool_] | None = None,
    ) -> tuple[F32Array, I32Array]:
        """Find the k nearest rows of each query.

        Args:
            queries: (m, d), finite numbers; many are shared out among the cores.
            k: neighbours per query.
            exact: search until the answer is proved.
            recall: share of the true neighbours that is found on average, 0.5 to 0.999.
            allowed: (rows,) bool, the rows that may be found; None for all.

        Returns:
            distance (m, k) float32, Euclidean, ascending, and row (m, k) int32; inf and -1 where there are
            fewer than k rows.

        Raises:
            VectorError: wrong shape or dtype, NaN or infinity, recall out of range, k negative or larger than
                both 65,536 and the number of rows.
        """
        clean = checked_vectors("queries", queries, self._dim)
        plan = EXACT if exact else self._plans.get((k, recall)) or self._planned(k, recall)
        if allowed is None and type(k) is int and 0 < k <= self._size and len(clean) < 2 * _EXACT_PART:
            distance, row, _ = self._run(clean, k, plan, self._handle)
        else:
            distance, row, _ = self._find(clean, k, plan, recall, allowed)
        return distance, row

    def search(
        self,
        queries: NDArray[Any],
        k: int,
        *,
        exact: bool = False,
        recall: float = 0.98,
        allowed: NDArray[np.bool_] | None = None,
    ) -> Result:
        """Search like :meth:`query`, and tell which answers are proved."""
        clean = checked_vectors("queries", queries, self._dim)
        plan = EXACT if exact else self._planned(k, recall)
        distance, row, crowd = self._find(clean, k, plan, recall, allowed)
        return Result(distance, row, crowd < 0)

    def _find(
        self, queries: F32Array, k: int, plan: Effort, recall: float, mask: NDArray[np.bool_] | None
    ) -> Answer:
        k = checked_k(k, self._stored)
        if mask is not None:
            return widened(
                self._find_allowed(queries, k, plan, recall, checked_allowed(mask, self._row_end)), k
            )
        return widened(self._run_parts(queries, min(k, self._size), plan, self._handle), k)

    def _find_allowed(
        self, queries: F32Array, k: int, plan: Effort, recall: float, allowed: NDArray[np.bool_]
    ) -> Answer:
        rows, count = len(allowed), int(np.count_nonzero(allowed))
        k = min(k, count, self._size)
        if plan is not EXACT and k:
            # Among all rows, the k-th that is allowed is about the (k * rows / count)-th, if those that are
            # allowed lie anywhere. They may not: half the misses that were granted make up for that.
            plan = self._planned(min(-(-k * rows // count), self._stored), min(0.5 + recall / 2, 0.999))
        if k == 0 or (plan is EXACT and count <= _FEW_ALLOWED * rows):
            return self._run_listed(queries, k, allowed)
        handle = narrowed(self._handle, allowed, count)
        answer = self._run_parts(queries, k, plan, handle)
        unusual = answer.crowd == -2
        if unusual.any():
            # The allowed rows may lie anywhere: a search among all groups might miss as many.
            some, few = queries[unusual], count <= 2 * _FEW_ALLOWED * rows
            anew = self._run_listed(some, k, allowed) if few else self._run_parts(some, k, EXACT, handle)
            for column, new in zip(answer, anew, strict=True):
                column[unusual] = new
        return answer

    def without(self, rows: NDArray[np.integer[Any]]) -> KDTree:
        """The same tree with some rows marked as removed; shares all memory but the marks.

        Raises:
            VectorError: a row is not in the tree.
        """
        gone = np.atleast_1d(rows)
        if not gone.size:
            return self
        positions = self._known_positions(gone)
        block = np.searchsorted(self._arrays.block_point, positions, side="right") - 1
        norm = self._arrays.norm.copy()
        norm[block * BLOCK + positions - self._arrays.block_point[block]] = PAD
        tree = KDTree(self._arrays._replace(norm=norm), self._calibration)
        tree._position_of_row = self._position_of_row.copy()
        tree._position_of_row[gone] = -1
        return tree

    def renumbered(self, names: NDArray[np.integer[Any]]) -> KDTree:
        """The same tree answering names[row] instead of row.

        Raises:
            VectorError: names that are no whole numbers from 0 to 2,147,483,646, or not one for each row.
        """
        row = checked_names(names, self._stored)[self._arrays.row]
        return KDTree(self._arrays._replace(row=row), self._calibration)

    def holds(self, rows: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
        """Tell which of (n,) rows are in the tree.

        Raises:
            VectorError: rows that are no whole numbers.
        """
        return self._positions(np.asarray(rows)) >= 0

    def vectors(self, rows: NDArray[np.integer[Any]]) -> F32Array:
        """(n, d) float32: the vectors of n rows, as they were given.

        Raises:
            VectorError: a row is not in the tree.
        """
        return self._arrays.vector[self._known_positions(np.asarray(rows))]

    def stored(self) -> tuple[I32Array, F32Array]:
        """Rows and vectors of the tree, without the removed ones; in no particular order."""
        live = self._live()
        return self._arrays.row[live], self._arrays.vector[live]

    def _live(self) -> NDArray[np.bool_]:
        point = self._arrays.block_point[:, None] + np.arange(BLOCK, dtype=np.int32)
        live = np.zeros(len(self._arrays.row), np.bool_)
        live[point[(self._arrays.norm < PAD).reshape(-1, BLOCK)]] = True
        return live

    @cached_property
    def _position_of_row(self) -> I32Array:
        """Position in ``vector`` of each row, -1 where there is none; made when first asked for."""
        row, live = self._arrays.row, self._live()
        places = np.full(int(row.max(initial=-1)) + 1, -1, np.int32)
        places[row[live]] = np.flatnonzero(live)
        return places

    def _positions(self, rows: NDArray[np.integer[Any]]) -> I32Array:
        if not rows.size:  # an empty list is an array of floats
            return np.empty(rows.shape, np.int32)
        if rows.dtype.kind not in "iu":
            raise VectorError(f"rows: expected whole numbers, got {rows.dtype}")
        places = self._position_of_row
        known = (rows >= 0) & (rows < len(places))
        positions = np.full(rows.shape, -1, np.int32)
        positions[known] = places[rows[known].astype(np.int64)]
        return positions

    def _known_positions(self, rows: NDArray[np.integer[Any]]) -> I32Array:
        positions = self._positions(rows)
        if (positions < 0).any():
            raise VectorError("rows: some of them are not in the tree")
        return positions

    def _planned(self, k: int, recall: float) -> Effort:
        plan = self._plans.get((k, recall))
        if plan is None:
            if not 0.5 <= recall <= 0.999:
                raise VectorError(
                    f"recall: expected 0.5 to 0.999, got {recall}; ask for exact=True instead of 1"
                )
            plan = self._calibration.effort(max(1, checked_k(k, self._stored)), recall)
            if len(self._plans) >= _MOST_PLANS:
                self._plans.clear()
            self._plans[k, recall] = plan
        return plan

    def _measure(self, k: int) -> int:
        self._scratch_bytes[k] = int(scratch_bytes(self._handle, k))
        return self._scratch_bytes[k]

    def _run_parts(
        self,
        queries: F32Array,
        k: int,
        plan: Effort,
        handle: I64Array,
        pool: ThreadPoolExecutor | None = None,
    ) -> Answer:
        """Answer queries, many of them in threads."""
        if k == 0 or self._size == 0:
            return self._run_listed(queries, 0, np.zeros(0, np.bool_))

        def run(part: F32Array) -> Answer:
            distance, row, scratch = self._run(part, k, plan, handle)
            return Answer(distance, row, scratch[len(scratch) - 4 * len(part) :].view(_F32))

        return in_parts(queries, run, _EXACT_PART if plan is EXACT else _PART, pool)

    def _run(
        self, queries: F32Array, k: int, plan: Effort, handle: I64Array
    ) -> tuple[F32Array, I32Array, U8Array]:
        """Return distance and row, (m, k) each, and scratch memory that ends with the crowd, 4 m bytes."""
        m = len(queries)
        probes, ratio, square, crowd = plan  # a starred call takes 0.1 us longer
        shape = m, k
        distance, row = np.empty(shape, _F32), np.empty(shape, _I32)
        scratch = np.empty((self._scratch_bytes.get(k) or self._measure(k)) + 4 * m, _U8)
        if not query_kernels.search(
            handle, self._plain, scratch, queries, probes, ratio, square, crowd, distance, row
        ):
            raise VectorError(_INSANE)
        return distance, row, scratch

    def _run_listed(self, queries: F32Array, k: int, allowed: NDArray[np.bool_]) -> Answer:
        """Compare the queries with every allowed row."""
        if k == 0:
            if not (np.abs(queries) <= LARGEST).all():
                raise VectorError(_INSANE)
            return nothing(len(queries))
        positions = self._position_of_row[np.flatnonzero(allowed)]
        if self._size < self._stored:
            positions = positions[positions >= 0]

        def run(part: F32Array) -> Answer:
            m = len(part)
            distance, row = np.empty((m, k), _F32), np.empty((m, k), _I32)
            scratch = np.empty(self._scratch_bytes.get(k) or self._measure(k), _U8)
            if not query_kernels.search_listed(self._handle, scratch, part, positions, distance, row):
                raise VectorError(_INSANE)
            return Answer(distance, row, np.full(m, -1, _F32))

        return in_parts(queries, run, _PART)


def _empty_arrays(dim: int) -> TreeArrays:
    sizes = dict.fromkeys(SIZES, 0) | {"dim": dim, "width": -(-dim // 8) * 8}
    return TreeArrays(**{name: np.zeros(shape, dtype) for name, (dtype, shape) in shapes_of(sizes).items()})


def _no_calibration() -> Calibration:
    nothing, none = np.zeros(0, np.float32), np.zeros(0, np.int32)
    table = np.zeros((0, 0), np.float32)
    return Calibration(none, none, nothing, table, nothing, table)
