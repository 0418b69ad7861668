"""KDTree: nearest neighbours among hundreds of thousands of vectors in microseconds.

The class checks vectors once and hands them to the kernels, which docs/explanation/search.md explains.
"""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rtsearch._util.cpu import usable_cores
from rtsearch.errors import VectorError
from rtsearch.search.answers import Answer, Reach, Result, widened
from rtsearch.search.arrays import MOST_DIM, TreeArrays, empty_arrays
from rtsearch.search.build import build_arrays
from rtsearch.search.calibrate import (
    EXACT,
    NOTHING_MEASURED,
    Calibration,
    Effort,
    Search,
    calibrate,
    held_out,
    narrowed,
)
from rtsearch.search.input_checks import (
    checked_allowed,
    checked_k,
    checked_names,
    checked_vectors,
    refuse_coarse,
    refuse_extremes,
)
from rtsearch.search.masks import restricted
from rtsearch.search.places import Places
from rtsearch.search.query_kernels import SPARSE
from rtsearch.search.runner import ALONE, EXACT_PART, Runner
from rtsearch.search.simd import instructions
from rtsearch.search.store import load_arrays, save_arrays
from rtsearch.types import F32Array, I32Array, I64Array

__all__ = ["KDTree"]

LEAF_SIZE = 32  # 16 points cost more per leaf, 64 more per point; see docs/explanation/search.md
_FEW, _FEW_EXACT = 1 / 64, 1 / 16  # share of the rows; so few allowed ones are compared with, one by one
_MARKED = 1 / 4  # share of the rows; fewer get a tree of their own, as most of what is near them is left out
_DENSE = 1.01 * float(SPARSE)  # with so many allowed points of a leaf, kernels answer every query
_UNUSUAL = -2  # crowd of a query that the kernel leaves to the caller
_OTHERS = 128  # rows that are left out, with which recall among the others is measured
_MOST_PLANS = 1000
_SAMPLE = 64  # vectors whose neighbours tell whether float32 is too coarse


class _Narrowed(NamedTuple):
    """Handle, share of the rows, and effort of a search among some rows."""

    handle: I64Array
    share: float
    plan: Effort


class KDTree:
    """A KD-tree over the rows of an array of vectors. It never changes; many threads may query it."""

    def __init__(
        self,
        arrays: TreeArrays,
        calibration: Calibration,
        places: Places | None = None,
        pass_empty: bool = False,
    ) -> None:
        self._arrays = arrays
        self._calibration = calibration
        self._places = places or Places(arrays)
        self._pass_empty = pass_empty
        self._runner = Runner(arrays, self._places, pass_empty)
        self._run = self._runner.run
        self._handle, self._size = self._runner.handle, self._runner.size
        self._stored, self._dim = len(arrays.row), len(arrays.centre)
        self._per_leaf = float(self._handle[-2] / self._handle[-1])
        self._row_end = int(arrays.row.max(initial=-1)) + 1
        self._plans: dict[tuple[int, float], Effort] = {}

    @classmethod
    def build(
        cls, vectors: NDArray[Any], *, leaf_size: int = LEAF_SIZE, seed: int = 0, threads: int = 0
    ) -> KDTree:
        """Build a tree; the result depends on the seed, not on the number of threads.

        Args:
            vectors: (n, d), finite numbers, d from 1 to 1000; copied, as float16 if they are that, else as
                float32. Answers are the same; float16 takes 231 instead of 359 bytes of 64 dimensions.
            leaf_size: points per leaf, before tightening.
            seed: of the samples that directions and recall are estimated from.
            threads: 0 takes one per core.

        Raises:
            VectorError: wrong shape or dtype, NaN, infinity, numbers beyond 1e15, all vectors within 1e-15 of
                each other, or numbers of which float32 does not keep what tells neighbours apart.
        """
        halves = type(vectors) is np.ndarray and vectors.dtype == np.float16 and vectors.ndim == 2
        clean: NDArray[np.floating[Any]] = vectors if halves else checked_vectors("vectors", vectors)
        n, d = clean.shape
        if not 1 <= d <= MOST_DIM:
            raise VectorError(f"vectors: expected 1 to {MOST_DIM} dimensions, got {d}")
        refuse_extremes(clean)
        if leaf_size < 1:
            raise VectorError(f"leaf_size: expected at least 1, got {leaf_size}")
        if n == 0:
            return cls(empty_arrays(d), NOTHING_MEASURED)
        plain = True if instructions() == "plain" else None
        threads = threads or usable_cores()
        held = held_out(n, seed)
        arrays = build_arrays(clean, held, leaf_size, seed, threads, plain)
        tree = cls(arrays, NOTHING_MEASURED)
        if not np.can_cast(np.asarray(vectors).dtype, np.float32):
            sample = np.arange(0, n, -(-n // _SAMPLE))
            near = tree._runner.run_parts(clean[sample], min(n, 16), EXACT, tree._handle, ALONE).row
            refuse_coarse(np.asarray(vectors), clean, sample, near)
        return cls(arrays, tree._calibrate(clean[held].astype(np.float32, copy=False), threads))

    def _calibrate(self, queries: F32Array, threads: int) -> Calibration:
        groups, leaves = len(self._arrays.group_slot) - 1, len(self._arrays.leaf_block) - 1
        with ThreadPoolExecutor(threads) as pool:
            return calibrate(queries, len(self), groups, leaves, self._measured(pool))

    def _measured(self, pool: ThreadPoolExecutor | None = None) -> Search:
        """Return what a calibration searches with."""

        def search(some: F32Array, k: int, effort: Effort) -> tuple[F32Array, F32Array]:
            answer = self._runner.run_parts(some, k, effort, self._handle, ALONE, pool)
            return answer.distance, answer.crowd

        return search

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

    def __reduce__(self) -> tuple[type[KDTree], tuple[TreeArrays, Calibration, None, bool]]:
        """Copies and pickles hold the arrays; the handle's addresses are those of one process."""
        return type(self), (self._arrays, self._calibration, None, self._pass_empty)

    def __len__(self) -> int:
        return self._size

    @property
    def dim(self) -> int:
        """Dimensions of the vectors."""
        return self._dim

    @property
    def dtype(self) -> np.dtype[np.floating[Any]]:
        """Type of the vectors as they are stored, float32 or float16."""
        return self._arrays.given.dtype

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
        reach: Reach | None = None,
    ) -> tuple[F32Array, I32Array]:
        """Find the k nearest rows of each query.

        Args:
            queries: (m, d), finite numbers; many are shared out among the cores.
            k: neighbours per query.
            exact: search until the answer is proved.
            recall: share of the true neighbours that is found on average, 0.5 to 0.999.
            allowed: (rows,) bool, the rows that may be found; None for all. Where one mask serves many
                searches, the tree that :meth:`only` gives answers faster.
            reach: of the other trees that are searched for the same; None where this is the only one.

        Returns:
            distance (m, k) float32, Euclidean, ascending, and row (m, k) int32; inf and -1 where there are
            fewer than k rows.

        Raises:
            VectorError: wrong shape or dtype, NaN or infinity, recall out of range, k negative or larger than
                both 65,536 and the number of rows.
        """
        clean = checked_vectors("queries", queries, self._dim)
        plan = EXACT if exact else self._plans.get((k, recall)) or self._planned(k, recall)
        if type(k) is int and 0 < k <= self._size and len(clean) < 2 * EXACT_PART:
            known = ALONE if reach is None else reach.square
            if allowed is None:
                distance, row, _ = self._run(clean, k, plan, self._handle, known)
                return distance, row
            mask = checked_allowed(allowed, self._row_end)
            some = self._narrowed(mask, k, plan, recall)
            if some.share * self._per_leaf > _DENSE:
                distance, row, _ = self._run(clean, k, some.plan, some.handle, known)
            else:
                distance, row, _ = self._find_among(clean, k, some, mask, known)
            return distance, row
        distance, row, _ = self._find(clean, k, plan, recall, allowed, reach)
        return distance, row

    def search(
        self,
        queries: NDArray[Any],
        k: int,
        *,
        exact: bool = False,
        recall: float = 0.98,
        allowed: NDArray[np.bool_] | None = None,
        reach: Reach | None = None,
    ) -> Result:
        """Search like :meth:`query`, and tell which answers are proved."""
        clean = checked_vectors("queries", queries, self._dim)
        plan = EXACT if exact else self._planned(k, recall)
        distance, row, crowd = self._find(clean, k, plan, recall, allowed, reach)
        return Result(distance, row, crowd < 0)

    def _find(
        self,
        queries: F32Array,
        k: int,
        plan: Effort,
        recall: float,
        mask: NDArray[np.bool_] | None,
        reach: Reach | None,
    ) -> Answer:
        k = checked_k(k, self._stored)
        few = min(k, self._size)
        known = ALONE if reach is None else reach.square
        if few < k:  # what is the last of fewer tells other trees nothing
            known = known.copy()
        if mask is None:
            return widened(self._runner.run_parts(queries, few, plan, self._handle, known), k)
        allowed = checked_allowed(mask, self._row_end)
        some = self._narrowed(allowed, few, plan, recall)
        return widened(self._find_among(queries, few, some, allowed, known), k)

    def _find_among(
        self, queries: F32Array, k: int, some: _Narrowed, allowed: NDArray[np.bool_], known: F32Array
    ) -> Answer:
        if some.share <= (_FEW_EXACT if some.plan is EXACT else _FEW):
            return widened(self._runner.run_listed(queries, k, allowed), k)
        answer = self._runner.run_parts(queries, k, some.plan, some.handle, known)
        unusual = answer.crowd == _UNUSUAL
        if unusual.any():  # it has to be searched among all groups, or compared with the few allowed rows
            anew = self._runner.run_listed(queries[unusual], k, allowed)
            for column, new in zip(answer, widened(anew, k), strict=True):
                column[unusual] = new
        return answer

    def _narrowed(self, allowed: NDArray[np.bool_], k: int, plan: Effort, recall: float) -> _Narrowed:
        handle, share = restricted(self._handle, allowed, 2 * _FEW_EXACT)
        if plan is not EXACT and k and share:
            plan = self._planned(min(int(k / share), self._calibration.most_k), recall)
        return _Narrowed(handle, share, plan)

    def without(self, rows: NDArray[np.integer[Any]]) -> KDTree:
        """The same tree with some rows marked as removed; shares all memory but the marks.

        Raises:
            VectorError: a row is not in the tree.
        """
        gone = np.atleast_1d(rows)
        if not gone.size:
            return self
        arrays, places = self._places.without(self._places.known(gone))
        return KDTree(arrays, self._calibration, places, self._pass_empty)

    def only(self, allowed: NDArray[np.bool_]) -> KDTree:
        """The tree of some rows alone, for many searches among them; rows keep their numbers.

        Down to a quarter of the rows it shares all memory but the marks of the others. Fewer get a tree of
        their own, built by one thread. The recall that is asked for is kept for queries like any row of this
        tree, whether it may be found or not.

        Args:
            allowed: (rows,) bool, the rows that may be found; the tree keeps nothing of it.

        Raises:
            VectorError: wrong shape or dtype.
        """
        keep = checked_allowed(allowed, self._row_end)[self._arrays.row] & self._places.live
        others = np.flatnonzero(self._places.live & ~keep)
        if not len(others):
            return self
        count = int(np.count_nonzero(keep))
        marked = KDTree(self._places.only(keep), self._calibration, pass_empty=True)
        tree, share = marked, count / self._size
        if share < _MARKED:
            # So few may be closer to each other than a tree of their own can tell.
            with contextlib.suppress(VectorError):
                own = KDTree.build(self._arrays.given[keep], threads=1)
                tree, share = own.renumbered(self._arrays.row[keep]), 1.0
        some = others[:: -(-len(others) // _OTHERS)]
        measured = narrowed(tree._calibration, share, self._points(some), count, tree._measured())
        return KDTree(tree._arrays, measured, pass_empty=tree._pass_empty)

    def renumbered(self, names: NDArray[np.integer[Any]]) -> KDTree:
        """The same tree answering names[row] instead of row.

        Raises:
            VectorError: names that are no whole numbers from 0 to 2,147,483,646, or not one for each row.
        """
        row = checked_names(names, self._stored)[self._arrays.row]
        return KDTree(self._arrays._replace(row=row), self._calibration, pass_empty=self._pass_empty)

    def holds(self, rows: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
        """Tell which of (n,) rows are in the tree.

        Raises:
            VectorError: rows that are no whole numbers.
        """
        return self._places.of(np.asarray(rows)) >= 0

    def vectors(self, rows: NDArray[np.integer[Any]]) -> F32Array:
        """(n, d) float32: the vectors of n rows, as they were given.

        Raises:
            VectorError: a row is not in the tree.
        """
        return self._points(self._places.known(np.asarray(rows)))

    def stored(self) -> tuple[I32Array, F32Array]:
        """Rows and vectors of the tree, without the removed ones; in no particular order."""
        live = self._places.live
        return self._arrays.row[live], self._points(live)

    def _points(self, positions: NDArray[Any]) -> F32Array:
        """Return the vectors at some positions."""
        points: F32Array = self._arrays.given[positions].astype(np.float32, copy=False)
        return points

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
