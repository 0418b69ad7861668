"""Checks of what a caller hands to a search: shapes, types and numbers, once, before any kernel runs.

The checks of stored trees are in ``stored_checks``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtsearch.errors import VectorError
from rtsearch.search.arrays import LARGEST
from rtsearch.types import F32Array, I32Array

__all__ = [
    "checked_allowed",
    "checked_k",
    "checked_names",
    "checked_vectors",
    "refuse_coarse",
    "refuse_extremes",
]

_LEAST_SPREAD = np.float32(1e-15)  # the square of a distance a thousand times smaller is no float32
_MOST_K = 1 << 16  # of a tree with fewer rows
_MOST_ROWS = 2**31 - 1
_COARSE = 1e-3  # error of a neighbour's distance; of vectors with as much, exact answers miss 1 % of the rows
_F32 = np.dtype(np.float32)  # found faster than the type


def checked_vectors(name: str, vectors: NDArray[Any], dim: int | None = None) -> F32Array:
    """Return vectors as (any, dim) float32, C-contiguous and writable: kernels are compiled for that alone.

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
    if len(array) > _MOST_ROWS:
        raise VectorError(f"{name}: expected at most {_MOST_ROWS:,} rows, got {len(array):,}")
    with np.errstate(over="ignore"):  # a number too large for float32 becomes inf and is refused as such
        return np.array(array, np.float32, order="C", subok=False)


def refuse_extremes(vectors: NDArray[np.floating[Any]]) -> None:
    """Check that all numbers, and the squares of their differences, are within float32.

    Raises:
        VectorError: NaN, infinity, or numbers beyond 1e15 among them, or all closer than 1e-15 to each other.
    """
    if not len(vectors):
        return
    low, high = (some(vectors, axis=0).astype(np.float32) for some in (np.min, np.max))
    # NaN fails every comparison; no array as large as the vectors is made on the way.
    if not (low.min() >= -LARGEST and high.max() <= LARGEST):
        raise VectorError("vectors: NaN, infinity or a number beyond 1e15 among them; remove those rows")
    spread = (high - low).max()
    if 0 < spread < _LEAST_SPREAD:
        raise VectorError(
            f"vectors: they differ by {spread:.1g} at most, too little for float32; scale them up"
        )


def refuse_coarse(given: NDArray[Any], clean: F32Array, rows: NDArray[Any], near: I32Array) -> None:
    """Check that float32 keeps what tells vectors apart, where they were given with more digits.

    Args:
        given: (n, d), before the conversion.
        clean: (n, d) float32, after it.
        rows: (m,) of a sample.
        near: (m, k) rows that are near those.

    Raises:
        VectorError: distances of neighbours change by more than a thousandth.
    """
    exact = np.linalg.norm(given[near].astype(np.float64) - given[rows][:, None].astype(np.float64), axis=2)
    kept = np.linalg.norm(clean[near].astype(np.float64) - clean[rows][:, None], axis=2)
    total = float(exact.sum())
    if total and float(np.abs(kept - exact).sum()) > _COARSE * total:
        raise VectorError(
            f"vectors: float32 is too coarse for these {np.asarray(given).dtype} numbers; "
            "subtract their median from vectors and queries, and give the difference"
        )


def checked_k(k: int, rows: int) -> int:
    """Return the number of neighbours to find among so many rows.

    Raises:
        VectorError: it is no whole number, negative, or so large that memory would not do.
    """
    if not isinstance(k, (int, np.integer)) or isinstance(k, bool) or k < 0:
        raise VectorError(f"k: expected a whole number, 0 or more, got {k}")
    if k > max(rows, _MOST_K):
        raise VectorError(f"k: expected at most {max(rows, _MOST_K)}, got {k}; there are {rows} rows")
    return int(k)


def checked_names(names: NDArray[np.integer[Any]], rows: int) -> I32Array:
    """Return the numbers to give instead of row numbers, (rows,) int32.

    Raises:
        VectorError: wrong shape or dtype, negative, beyond int32, or one of them twice.
    """
    array = np.asarray(names)
    if array.shape != (rows,) or array.dtype.kind not in "iu":
        raise VectorError(f"names: expected ({rows},) whole numbers, got {array.dtype} {array.shape}")
    if rows and not 0 <= array.min() <= array.max() < _MOST_ROWS:
        raise VectorError(f"names: expected 0 to {_MOST_ROWS - 1}; keep larger ones beside: numbers[row]")
    if len(np.unique(array)) < rows:
        raise VectorError("names: one of them stands for two rows; give each row its own")
    return array.astype(np.int32)


def checked_allowed(allowed: NDArray[np.bool_], rows: int) -> NDArray[np.bool_]:
    """Return a mask of rows as (rows,) bool, C-contiguous.

    Raises:
        VectorError: wrong shape or dtype.
    """
    array = np.asarray(allowed)
    if array.dtype != np.bool_ or array.shape != (rows,):
        raise VectorError(f"allowed: expected bool ({rows},), got {array.dtype} {array.shape}")
    return np.ascontiguousarray(array)
