"""The memory that a search works in: one piece, cut up into the arrays of a Work.

The caller brings the piece, so that kernels need not allocate: fifteen allocations took 0.6 us.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import carray
from numpy.typing import NDArray

from rtsearch._util.jit import inlined, kernel
from rtsearch.search.arrays import view
from rtsearch.search.simd import BLOCK, load_pointer
from rtsearch.types import F32Array, I32Array, U8Array

__all__ = ["BUCKETS", "Work", "cut_up", "scratch_bytes", "wanted_and_room"]

BUCKETS = 64  # that leaves are sorted into
_WAITING = 64  # blocks; with many, the limit falls late, with few, memory is asked for late


class Work(NamedTuple):
    """Scratch memory of one call.

    Attributes:
        query: (d,) float32.
        rotated: (w,) float32, the query in the tree's axes.
        code: (w,) int8, its code.
        place: (w,) uint8, its code on the grid of the boxes.
        group_value, group_item: scores of groups, numbers of the chosen ones.
        block_value: least score of each slot block that was scored.
        slot_value, slot_item: scores and numbers of the leaves of those.
        near_value, near_item: leaves worth scanning.
        leaf_value, leaf_item: the same, roughly sorted.
        bucket: (BUCKETS + 1,) int32, for sorting them.
        block_item: (_WAITING,) int32, blocks of points that wait for being scanned.
        value, item: points kept so far, by score, with their position in ``vector``.
        best_value, best_item: (k + 1,) squared distances, ascending, and positions; the last place takes what
            does not belong there.
        allowed: bool of each row that may be found; empty where all may.
        per_leaf: how many points of a leaf that holds any may be found, on average.
    """

    query: F32Array
    rotated: F32Array
    code: np.ndarray
    place: U8Array
    group_value: F32Array
    group_item: I32Array
    block_value: F32Array
    slot_value: F32Array
    slot_item: I32Array
    near_value: F32Array
    near_item: I32Array
    leaf_value: F32Array
    leaf_item: I32Array
    bucket: I32Array
    block_item: I32Array
    value: F32Array
    item: I32Array
    best_value: F32Array
    best_item: I32Array
    allowed: NDArray[np.bool_]
    per_leaf: np.float32


@inlined
def wanted_and_room(k):
    """Return the number of wanted codes, and the room for those kept while scanning.

    Codes order points roughly; the float32 re-rank needs some to choose from.
    """
    wanted = max(2 * k, k + BLOCK)
    return wanted, 3 * wanted + 4 * BLOCK


@kernel
def scratch_bytes(handle, k):
    """Bytes that a search for k neighbours needs to work in."""
    tree = view(handle)
    dim, width = tree.axes.shape
    groups, blocks = tree.group_norm.size, tree.slot_code.shape[0] + BLOCK
    slots = tree.slot_leaf.size + BLOCK
    room = wanted_and_room(k)[1]
    return 4 * (
        dim + 2 * width + 2 * groups + blocks + 6 * slots + BUCKETS + 1 + _WAITING + 2 * room + 2 * (k + 1)
    )


@kernel
def cut_up(handle, tree, k, scratch):
    """Cut the scratch memory up; see :func:`arrays.handle_of` for what the handle says of allowed rows."""
    dim, width = tree.axes.shape
    groups, blocks = tree.group_norm.size, tree.slot_code.shape[0] + BLOCK
    slots = tree.slot_leaf.size + BLOCK
    room = wanted_and_room(k)[1]
    at = scratch.ctypes.data
    f, i = np.float32, np.int32
    query = carray(load_pointer(at), (dim,), f)
    at += 4 * dim
    rotated = carray(load_pointer(at), (width,), f)
    at += 4 * width
    code = carray(load_pointer(at), (width,), np.int8)
    place = carray(load_pointer(at + width), (width,), np.uint8)
    at += 4 * width
    group_value = carray(load_pointer(at), (groups,), f)
    group_item = carray(load_pointer(at + 4 * groups), (groups,), i)
    at += 8 * groups
    block_value = carray(load_pointer(at), (blocks,), f)
    at += 4 * blocks
    slot_value = carray(load_pointer(at), (slots,), f)
    slot_item = carray(load_pointer(at + 4 * slots), (slots,), i)
    near_value = carray(load_pointer(at + 8 * slots), (slots,), f)
    near_item = carray(load_pointer(at + 12 * slots), (slots,), i)
    leaf_value = carray(load_pointer(at + 16 * slots), (slots,), f)
    leaf_item = carray(load_pointer(at + 20 * slots), (slots,), i)
    at += 24 * slots
    bucket = carray(load_pointer(at), (BUCKETS + 1,), i)
    block_item = carray(load_pointer(at + 4 * (BUCKETS + 1)), (_WAITING,), i)
    at += 4 * (BUCKETS + 1 + _WAITING)
    value = carray(load_pointer(at), (room,), f)
    item = carray(load_pointer(at + 4 * room), (room,), i)
    at += 8 * room
    return Work(
        query,
        rotated,
        code,
        place,
        group_value,
        group_item,
        block_value,
        slot_value,
        slot_item,
        near_value,
        near_item,
        leaf_value,
        leaf_item,
        bucket,
        block_item,
        value,
        item,
        carray(load_pointer(at), (k + 1,), f),
        carray(load_pointer(at + 4 * (k + 1)), (k + 1,), i),
        carray(load_pointer(handle[-4]), (handle[-3],), np.bool_),
        f(handle[-2]) / f(handle[-1]),
    )
