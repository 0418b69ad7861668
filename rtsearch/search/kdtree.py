"""KDTree: nearest neighbours among hundreds of thousands of vectors in microseconds.

The class checks vectors once and hands them to the kernels, which docs/explanation/search.md explains.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtsearch._util.cpu import usable_cores
from rtsearch.errors import VectorError
from rtsearch.search import query_kernels
from rtsearch.search.arrays import LARGEST, MOST_DIM, PAD, SIZES, TreeArrays, handle_of, shapes_of
from rtsearch.search.build import build_arrays
from rtsearch.search.calibrate import EXACT, Calibration, Effort, calibrate, held_out
from rtsearch.search.scratch import scratch_bytes
from rtsearch.search.simd import BLOCK, instructions
from rtsearch.search.store import load_arrays, save_arrays
from rtsearch.types import F32Array, I32Array, U8Array

__all__ = ["KDTree", "Result", "checked_vectors"]

LEAF_SIZE = 32  # 16 points cost more per leaf, 64 more per point; see docs/explanation/search.md
_AT_ONCE = 4  # queries between two looks at the clock
_INSANE = "queries: NaN, infinity or a number beyond 1e15 among them; leave those rows out"
_SLICE = 64  # slot blocks swept between two looks at the clock

_F32, _I32, _U8 = np.dtype(np.float32), np.dtype(np.int32), np.dtype(np.uint8)  # found faster than the types

Plan = tuple[int, float, int, int]
Answer = tuple[F32Array, I32Array, U8Array]


@dataclass(frozen=True, slots=True)
class Result:
    """Neighbours of a search.

    Attributes:
        distance: (m, k) float32, Euclidean, ascending; inf where there is no row.
        row: (m, k) int32, -1 where there is none.
        proved: (m,) bool, whether the answer is known to be exact.
    """

    distance: F32Array
    row: I32Array
    proved: NDArray[np.bool_]


class KDTree:
    """A KD-tree over the rows of an array of vectors. It never changes; many threads may query it."""

    def __init__(self, arrays: TreeArrays, calibration: Calibration) -> None:
        self._arrays = arrays
        self._calibration = calibration
        self._handle = handle_of(arrays)
        self._size = int(np.count_nonzero(arrays.norm < PAD))
        self._stored, self._dim = (int(length) for length in arrays.vector.shape)
        # None compiles the processor's instructions, True plain loops; see kernels.score.
        self._plain = True if instructions() == "plain" else None
        self._exact = self._plan(EXACT)
        self._plans: dict[tuple[int, float], Plan] = {}
        self._scratch_bytes: dict[int, int] = {}

    @classmethod
    def build(
        cls, vectors: NDArray[Any], *, leaf_size: int = LEAF_SIZE, seed: int = 0, threads: int = 0
    ) -> KDTree:
        """Build a tree; the result depends on the seed, not on the number of threads.

        Args:
            vectors: (n, d), finite numbers, d from 1 to 1000; copied.
            leaf_size: points per leaf, before tightening.
            seed: of the samples that directions and recall are estimated from.
            threads: 0 takes one per core.

        Raises:
            VectorError: wrong shape or dtype, NaN, infinity, or numbers beyond 1e15.
        """
        clean = checked_vectors("vectors", vectors)
        n, d = clean.shape
        if not 1 <= d <= MOST_DIM:
            raise VectorError(f"vectors: expected 1 to {MOST_DIM} dimensions, got {d}")
        # NaN fails every comparison; no array as large as the vectors is made on the way.
        if n and not (clean.min() >= -LARGEST and clean.max() <= LARGEST):
            raise VectorError("vectors: NaN, infinity or a number beyond 1e15 among them; remove those rows")
        if leaf_size < 1:
            raise VectorError(f"leaf_size: expected at least 1, got {leaf_size}")
        if n == 0:
            return cls(_empty_arrays(d), _no_calibration())
        plain = True if instructions() == "plain" else None
        threads = threads or usable_cores()
        held = held_out(n, seed)
        arrays = build_arrays(clean, held, leaf_size, seed, threads, plain)
        return cls(arrays, cls(arrays, _no_calibration())._calibrate(clean[held], threads))

    def _calibrate(self, queries: F32Array, threads: int) -> Calibration:
        groups, leaves = len(self._arrays.group_slot) - 1, len(self._arrays.leaf_block) - 1
        with ThreadPoolExecutor(threads) as pool:

            def search(some: F32Array, k: int, effort: Effort) -> F32Array:
                plan = self._plan(effort)
                parts = np.array_split(some, 2 * threads)
                return np.concatenate(list(pool.map(lambda part: self._run(part, k, plan)[0], parts)))

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
        """Write the tree into a folder, which is made if need be; atomic."""
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
    def nbytes(self) -> int:
        """Bytes of all arrays, the tree's own copy of the vectors included."""
        return sum(array.nbytes for array in self._arrays)

    def query(
        self, queries: NDArray[Any], k: int, *, exact: bool = False, recall: float = 0.98
    ) -> tuple[F32Array, I32Array]:
        """Find the k nearest rows of each query.

        Args:
            queries: (m, d), finite numbers.
            k: neighbours per query.
            exact: search until the answer is proved.
            recall: share of the true neighbours that is found on average, 0.5 to 0.999.

        Returns:
            distance (m, k) float32, Euclidean, ascending, and row (m, k) int32; inf and -1 where the tree has
            fewer than k rows.

        Raises:
            VectorError: wrong shape or dtype, NaN or infinity, k negative, recall out of range.
        """
        clean = checked_vectors("queries", queries, self._dim)
        plan = self._exact if exact else self._plans.get((k, recall)) or self._choose(k, recall)
        distance, row, _ = self._run(clean, k, plan)
        return distance, row

    def search(
        self,
        queries: NDArray[Any],
        k: int,
        *,
        exact: bool = False,
        recall: float = 0.98,
        near: NDArray[np.integer[Any]] | None = None,
        deadline_s: float | None = None,
    ) -> Result:
        """Search like :meth:`query`, and tell which answers are proved.

        Args:
            queries: as for :meth:`query`.
            k: as for :meth:`query`.
            exact: as for :meth:`query`.
            recall: as for :meth:`query`.
            near: (m, any) rows that are likely near, such as the answer of the frame before; -1 for none.
            deadline_s: time after which the best that is known is returned: at least the first four queries
                are answered, all are answered approximately before any is proved, and those not come to have
                row -1 throughout.
        """
        clean = checked_vectors("queries", queries, self._dim)
        plan = self._exact if exact else self._plans.get((k, recall)) or self._choose(k, recall)
        rows = None if near is None else _checked_near(near, len(clean))
        if deadline_s is None:
            distance, row, scratch = self._run(clean, k, plan, rows)
            return Result(distance, row, _proved(scratch, len(clean)).copy())
        return self._search_until(clean, k, plan, rows, time.perf_counter() + deadline_s)

    def _search_until(
        self, queries: F32Array, k: int, plan: Plan, near: I32Array | None, end_s: float
    ) -> Result:
        m = len(queries)
        if not (np.abs(queries) <= LARGEST).all():
            raise VectorError(_INSANE)
        result = Result(
            np.full((m, k), np.inf, np.float32), np.full((m, k), -1, np.int32), np.zeros(m, np.bool_)
        )
        for first in range(0, m, _AT_ONCE):
            if first and time.perf_counter() >= end_s:
                break
            part = slice(first, min(first + _AT_ONCE, m))
            warm = None if near is None else near[part]
            self._put(result, part, self._run(queries[part], k, (plan[0], plan[1], 0, 0), warm))
        blocks = len(self._arrays.slot_code)
        for i in range(m if plan[3] else 0):
            part = slice(i, i + 1)
            for first in range(0, blocks, _SLICE):
                if result.proved[i] or time.perf_counter() >= end_s:
                    break
                last = min(first + _SLICE, blocks)
                sweep = (0, plan[1], first, last)
                self._put(result, part, self._run(queries[part], k, sweep, result.row[part]))
                result.proved[i] = last == blocks
        return result

    @staticmethod
    def _put(result: Result, part: slice, answer: Answer) -> None:
        result.distance[part], result.row[part], scratch = answer
        result.proved[part] = _proved(scratch, part.stop - part.start)

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
        """The same tree answering names[row] instead of row."""
        row = np.asarray(names, np.int32)[self._arrays.row]
        return KDTree(self._arrays._replace(row=row), self._calibration)

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
        positions[known] = places[rows[known]]
        return positions

    def _known_positions(self, rows: NDArray[np.integer[Any]]) -> I32Array:
        positions = self._positions(rows)
        if (positions < 0).any():
            raise VectorError("rows: some of them are not in the tree")
        return positions

    def _choose(self, k: int, recall: float) -> Plan:
        if not 0.5 <= recall <= 0.999:
            raise VectorError(f"recall: expected 0.5 to 0.999, got {recall}; ask for exact=True instead of 1")
        plan = self._plan(self._calibration.effort(_checked_k(k), recall))
        self._plans[k, recall] = plan
        return plan

    def _plan(self, effort: Effort) -> Plan:
        return effort.probes, float(effort.ratio), 0, len(self._arrays.slot_code) if effort.exact else 0

    def _measure(self, k: int) -> int:
        self._scratch_bytes[k] = int(scratch_bytes(self._handle, k))
        return self._scratch_bytes[k]

    def _run(self, queries: F32Array, k: int, plan: Plan, near: I32Array | None = None) -> Answer:
        """Distance and row, (m, k) each, and bytes of which the last m tell whether they are proved."""
        m = len(queries)
        probes, ratio, first, last = plan  # a starred call takes 0.1 us longer
        shape = m, k if type(k) is int and k > 0 else _checked_k(k)
        distance, row = np.empty(shape, _F32), np.empty(shape, _I32)
        scratch = np.empty((self._scratch_bytes.get(k) or self._measure(shape[1])) + m, _U8)
        if shape[1] == 0 or self._stored == 0:
            distance.fill(np.inf)
            row.fill(-1)
            scratch.fill(1)
            sane = bool((np.abs(queries) <= LARGEST).all())
        elif near is None:
            sane = query_kernels.search(
                self._handle, self._plain, scratch, queries, probes, ratio, first, last, distance, row
            )
        else:
            tree = self._handle, self._plain, scratch, queries, near, self._position_of_row
            sane = query_kernels.search_near(*tree, probes, ratio, first, last, distance, row)
        if not sane:
            raise VectorError(_INSANE)
        return distance, row, scratch


def _proved(scratch: U8Array, m: int) -> NDArray[np.bool_]:
    return scratch[len(scratch) - m :].view(np.bool_)


def checked_vectors(name: str, vectors: NDArray[Any], dim: int | None = None) -> F32Array:
    """(any, dim) float32, C-contiguous and writable: kernels are compiled for that alone.

    Raises:
        VectorError: wrong shape or dtype.
    """
    clean = vectors
    fit = type(vectors) is np.ndarray and vectors.dtype is _F32 and vectors.ndim == 2
    if not fit or not (flags := vectors.flags).c_contiguous or not flags.writeable:
        clean = _converted(name, vectors)
    if dim is not None and clean.shape[1] != dim:
        raise VectorError(f"{name}: expected {dim} dimensions, got {clean.shape[1]}")
    return clean


def _converted(name: str, vectors: NDArray[Any]) -> F32Array:
    array = np.asanyarray(vectors)
    if array.ndim != 2:
        raise VectorError(f"{name}: expected two dimensions (rows, columns), got shape {array.shape}")
    if array.dtype.kind not in "fiu":
        raise VectorError(f"{name}: expected numbers, got {array.dtype}")
    with np.errstate(over="ignore"):  # a number too large for float32 becomes inf and is refused as such
        return np.array(array, np.float32, order="C", subok=False)


def _checked_near(rows: NDArray[np.integer[Any]], m: int) -> I32Array:
    array = np.asarray(rows)
    if array.ndim != 2 or len(array) != m or array.dtype.kind not in "iu":
        raise VectorError(f"near: expected ({m}, any) rows, got {array.dtype} {array.shape}")
    flags = array.flags
    clean = array.dtype == np.int32 and flags.c_contiguous and flags.writeable
    return array if clean else np.array(array, np.int32, order="C")


def _checked_k(k: int) -> int:
    if not isinstance(k, (int, np.integer)) or isinstance(k, bool) or k < 0:
        raise VectorError(f"k: expected a whole number, 0 or more, got {k}")
    return int(k)


def _empty_arrays(dim: int) -> TreeArrays:
    sizes = dict.fromkeys(SIZES, 0) | {"dim": dim, "width": -(-dim // 8) * 8}
    return TreeArrays(**{name: np.zeros(shape, dtype) for name, (dtype, shape) in shapes_of(sizes).items()})


def _no_calibration() -> Calibration:
    nothing = np.zeros(0, np.float32)
    return Calibration(np.zeros(0, np.int32), np.zeros(0, np.int32), nothing, np.zeros((0, 0), np.float32))
