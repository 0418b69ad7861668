"""Masks of the rows that may be found: their share, what kernels need to know of them, and where they lie.

A mask comes with one query and may be another one with the next, so little may be read of it: of 376,459 rows
reading all takes as long as a search. Kernels look at it eight rows at a time.
"""

from __future__ import annotations

import numpy as np
from numba import carray
from numpy.typing import NDArray

from rtsearch._util.jit import kernel
from rtsearch.search.simd import load_pointer
from rtsearch.types import I32Array, I64Array

__all__ = ["positions_allowed", "restricted"]

_LINE = 64  # rows that are counted at once, as many bytes as a cache line has
_PLACES = 64  # where so many rows are counted each, from which the share of the allowed ones is estimated


def restricted(handle: I64Array, allowed: NDArray[np.bool_], few: float) -> tuple[I64Array, float]:
    """Return a handle for searching the points whose rows are allowed, and their share.

    Args:
        handle: see :func:`arrays.handle_of`.
        allowed: (rows,) bool, C-contiguous; the caller keeps it alive.
        few: a larger share is an estimate, a smaller one is counted.
    """
    narrow = np.empty_like(handle)
    return narrow, _restrict(handle, narrow, allowed, few)


@kernel
def _restrict(handle, narrow, allowed, few):
    """Fill a handle, see :func:`restricted`; return the share of allowed rows."""
    rows, apart = allowed.size, allowed.size // _PLACES
    share = np.float64(0)
    if apart > _LINE:
        share = _count(allowed, apart, _PLACES) / np.float64(_PLACES * _LINE)
    if share <= few:
        there = _count(allowed, _LINE, rows // _LINE)
        for i in range(rows // _LINE * _LINE, rows):
            there += np.int64(allowed[i])
        share = there / np.float64(max(1, rows))
    narrow[:] = handle
    narrow[-4], narrow[-3] = allowed.ctypes.data, rows
    narrow[-2] = max(1, np.int64(share * handle[-2]))
    return share


@kernel
def _count(allowed, apart, places):
    """Count the allowed among the 64 rows at each of so many places, which are so far apart."""
    total = np.uint64(0)
    for place in range(places):
        eights = carray(load_pointer(allowed.ctypes.data + place * apart), (8,), np.uint64)
        sums = np.uint64(0)
        for i in range(8):
            sums += eights[i]
        total += (sums * np.uint64(0x0101010101010101)) >> np.uint64(56)
    return np.int64(total)


def positions_allowed(allowed: NDArray[np.bool_], of_row: I32Array) -> I32Array:
    """Return the positions of the allowed rows, in the order of the rows, without those that have none.

    Args:
        allowed: (rows,) bool, C-contiguous.
        of_row: (rows,) int32, position of each row, -1 where there is none.
    """
    positions = np.empty(len(allowed), np.int32)  # memory that is not written to costs nothing
    return positions[: _list(allowed, of_row, positions)]


@kernel
def _list(allowed, of_row, positions):
    """Fill positions; return how many there are."""
    count = np.int64(0)
    eights = carray(load_pointer(allowed.ctypes.data), (allowed.size // 8,), np.uint64)
    for eight in range(eights.size):
        if eights[eight]:
            for row in range(8 * eight, 8 * eight + 8):
                if allowed[row] and of_row[row] >= 0:
                    positions[count] = of_row[row]
                    count += 1
    for row in range(8 * eights.size, allowed.size):
        if allowed[row] and of_row[row] >= 0:
            positions[count] = of_row[row]
            count += 1
    return count
