"""KDTree: nearest neighbours among hundreds of thousands of vectors in microseconds.

The class checks what comes in, once, and hands it to the kernels; see docs/search.md for how it works.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtsearch.errors import VectorError
from rtsearch.records import F32Array, I32Array
from rtsearch.search import query_kernels
from rtsearch.search.build import build_arrays
from rtsearch.search.calibrate import EXACT, Calibration, Effort, calibrate, held_out
from rtsearch.search.layout import SIZES, TreeArrays, handle_of, shapes_of
from rtsearch.search.simd import instructions
from rtsearch.search.store import load_arrays, save_arrays

__all__ = ["KDTree"]

_LARGEST = np.float32(1e15)  # the square of a larger number, summed over 1000 dimensions, is no float32
_LEAF_SIZE = 32
_MOST_DIM = 1000


class KDTree:
    """A KD-tree over the rows of an array of vectors. It never changes; many threads may query it."""

    def __init__(self, arrays: TreeArrays, calibration: Calibration) -> None:
        self._arrays = arrays
        self._calibration = calibration
        self._handle = handle_of(arrays)
        self._size, self._dim = arrays.vector.shape
        # None compiles the processor's instructions, True plain loops; see kernels.score.
        self._plain = True if instructions() == "plain" else None
        self._efforts: dict[tuple[int, float], Effort] = {}
        self._place: I32Array | None = None

    @classmethod
    def build(
        cls, vectors: NDArray[Any], *, leaf_size: int = _LEAF_SIZE, seed: int = 0, threads: int = 0
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
        clean = _checked("vectors", vectors)
        n, d = clean.shape
        if not 1 <= d <= _MOST_DIM:
            raise VectorError(f"vectors: expected 1 to {_MOST_DIM} dimensions, got {d}")
        if not np.isfinite(clean).all() or (n and np.abs(clean).max() > _LARGEST):
            raise VectorError("vectors: NaN, infinity or a number beyond 1e15 among them; remove those rows")
        if leaf_size < 1:
            raise VectorError(f"leaf_size: expected at least 1, got {leaf_size}")
        if n == 0:
            return cls(_empty_arrays(d), _no_calibration())
        plain = True if instructions() == "plain" else None
        held = held_out(n, seed)
        arrays = build_arrays(clean, held, leaf_size, seed, threads or os.cpu_count() or 1, plain)
        tree = cls(arrays, _no_calibration())
        groups, leaves = len(arrays.group_slot) - 1, len(arrays.leaf_block) - 1
        calibration = calibrate(clean[held], n, groups, leaves, tree._run)
        return cls(arrays, calibration)

    @classmethod
    def load(cls, folder: str | Path) -> KDTree:
        """Map a saved tree into memory and check every byte of it.

        Raises:
            NotALibraryError: there is no tree.
            FormatError: it was written by a newer version.
            DamagedError: it was truncated or altered.
        """
        return cls(*load_arrays(Path(folder), os.cpu_count() or 1))

    def save(self, folder: str | Path) -> None:
        """Write the tree into a folder, which is made if need be; atomic."""
        save_arrays(Path(folder), self._arrays, self._calibration)

    def __len__(self) -> int:
        return self._size

    @property
    def dim(self) -> int:
        """Dimensions of the vectors."""
        return self._dim

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays, the tree's own copy of the vectors included."""
        return sum(array.nbytes for array in self._arrays)

    def vectors(self, rows: I32Array) -> F32Array:
        """(n, d) float32: the vectors of n rows, as they were given."""
        if self._place is None:  # found out by who asks first; two at once find the same
            place = np.empty(self._size, np.int32)
            place[self._arrays.row] = np.arange(self._size, dtype=np.int32)
            self._place = place
        vectors: F32Array = self._arrays.vector[self._place[rows]]
        return vectors

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
        clean = _checked("queries", queries)
        if clean.shape[1] != self._dim:
            raise VectorError(f"queries: expected {self._dim} dimensions, got {clean.shape[1]}")
        return self._run(
            clean, k, EXACT if exact else self._efforts.get((k, recall)) or self._choose(k, recall)
        )

    def _choose(self, k: int, recall: float) -> Effort:
        if not 0.5 <= recall <= 0.999:
            raise VectorError(f"recall: expected 0.5 to 0.999, got {recall}; ask for exact=True instead of 1")
        effort = self._calibration.effort(k, recall)
        self._efforts[k, recall] = effort
        return effort

    def _run(self, queries: F32Array, k: int, effort: Effort) -> tuple[F32Array, I32Array]:
        if not isinstance(k, (int, np.integer)) or k < 0:
            raise VectorError(f"k: expected a whole number, 0 or more, got {k}")
        m = len(queries)
        distance, row = np.empty((m, k), np.float32), np.empty((m, k), np.int32)
        if k == 0 or self._size == 0:
            distance.fill(np.inf)
            row.fill(-1)
            sane = bool(np.isfinite(queries).all())
        else:
            sane = query_kernels.search(self._handle, self._plain, queries, *effort, distance, row)
        if not sane:
            raise VectorError(
                "queries: NaN, infinity or a number beyond 1e15 among them; leave those rows out"
            )
        return distance, row


def _checked(name: str, vectors: NDArray[Any]) -> F32Array:
    """(any, any) float32, C-contiguous and writable: kernels are compiled for that alone."""
    if type(vectors) is np.ndarray and vectors.dtype == np.float32 and vectors.ndim == 2:
        flags = vectors.flags
        if flags.c_contiguous and flags.writeable:
            return vectors
    array = np.asanyarray(vectors)
    if array.ndim != 2:
        raise VectorError(f"{name}: expected two dimensions (rows, columns), got shape {array.shape}")
    if array.dtype.kind not in "fiu":
        raise VectorError(f"{name}: expected numbers, got {array.dtype}")
    with np.errstate(over="ignore"):  # a number too large for float32 becomes inf and is refused as such
        return np.array(array, np.float32, order="C", subok=False)


def _empty_arrays(dim: int) -> TreeArrays:
    sizes = dict.fromkeys(SIZES, 0) | {"dim": dim, "width": -(-dim // 8) * 8}
    return TreeArrays(**{name: np.zeros(shape, dtype) for name, (dtype, shape) in shapes_of(sizes).items()})


def _no_calibration() -> Calibration:
    nothing = np.zeros(0, np.float32)
    return Calibration(np.zeros(0, np.int32), np.zeros(0, np.int32), nothing, np.zeros((0, 0), np.float32))
