"""Arrays of a tree, and the view of them that kernels work on.

Points lie in the order of the leaves, leaves in the order of the groups. A leaf owns whole blocks of 16
codes, the last one padded. ::

    group ── 16 leaf slots ── leaf ── block of 16 codes ── 16 vectors
             (slot_code, box)         (code, norm)         (vector or half, row)

A kernel gets one small array of sizes and addresses instead of twenty arrays: looking twenty up at every call
costs 3 us, as much as a third of a whole query.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba import carray
from numpy.typing import NDArray

from rtsearch._util.jit import kernel
from rtsearch.search.simd import BLOCK, FRONT, load_pointer
from rtsearch.types import F32Array, I32Array, I64Array, U8Array

__all__ = [
    "FAR",
    "LARGEST",
    "MOST_DIM",
    "PAD",
    "SIZES",
    "TreeArrays",
    "allocate",
    "empty_arrays",
    "handle_of",
    "passing_empty",
    "shapes_of",
    "view",
]

PAD = np.float32(1e38)  # norm of a slot that holds no point: its score is never below a limit
FAR = np.float32(1e37)  # "no limit yet"
LARGEST = np.float32(1e15)  # the square of a larger number, summed over 1000 dimensions, is no float32
MOST_DIM = 1000
_LINE = 64  # bytes of a cache line
_HUGE_PAGE = 2 << 20


class TreeArrays(NamedTuple):
    """The arrays of one tree. n points, d dimensions, w = d rounded up to a multiple of 8.

    Attributes:
        centre: (d,) float32, median of the points, taken off before rotating.
        axes: (d, w) float32, principal directions, the widest first.
        vector: (n, d) float32, the points as they were given, in leaf order; empty where ``half`` has them.
        half: (n, d) uint16, the bits of points that were given as float16; empty where ``vector`` has them.
        row: (n,) int32, the caller's row number of each point.
        step: (1,) float32, width of one code.
        code: (blocks, 16 w) uint8, rotated coordinates / step + 64, within 0..127.
        norm: (16 blocks,) float32, half the squared length of each decoded point; PAD where there is none.
        front_norm: (16 blocks,) float32, the same of its first FRONT coordinates; empty where that is all.
        blur: (blocks,) float32, no point of the block is farther than this from its decoded code.
        block_point: (blocks,) int32, position of the block's first point.
        leaf_block: (leaves + 1,) int32, first block of each leaf.
        slot_leaf: (16 slot blocks,) int32, leaf of each slot, -1 for padding.
        slot_code: (slot blocks, 16 w) uint8, codes of the leaves' means.
        slot_norm: (16 slot blocks,) float32, as norm, less a quarter of the leaf's mean squared radius.
        lower, upper: (slot blocks, 16 w) uint8, the leaves' bounding boxes: rotated coordinates / step * 2
            + 128, rounded outwards.
        group_slot: (groups + 1,) int32, first slot block of each group.
        group_code: (group blocks, 16 w) uint8, codes of the groups' means.
        group_norm: (16 group blocks,) float32, as norm.
    """

    centre: F32Array
    axes: F32Array
    vector: F32Array
    half: NDArray[np.uint16]
    row: I32Array
    step: F32Array
    code: U8Array
    norm: F32Array
    front_norm: F32Array
    blur: F32Array
    block_point: I32Array
    leaf_block: I32Array
    slot_leaf: I32Array
    slot_code: U8Array
    slot_norm: F32Array
    lower: U8Array
    upper: U8Array
    group_slot: I32Array
    group_code: U8Array
    group_norm: F32Array

    @property
    def given(self) -> F32Array | NDArray[np.float16]:
        """The points as they were given, (n, d), in leaf order."""
        return self.half.view(np.float16) if len(self.half) else self.vector


SIZES = ("points", "halves", "dim", "width", "blocks", "leaves", "slot_blocks", "groups", "group_blocks")


def shapes_of(sizes: dict[str, int]) -> dict[str, tuple[type, tuple[int, ...]]]:
    """Type and shape that each array of a tree of these sizes must have, by name."""
    n, halves, d, w, blocks, leaves, slots, groups, group_blocks = (sizes[name] for name in SIZES)
    f, i, u = np.float32, np.int32, np.uint8
    return {
        "centre": (f, (d,)),
        "axes": (f, (d, w)),
        "vector": (f, (n - halves, d)),
        "half": (np.uint16, (halves, d)),
        "row": (i, (n,)),
        "step": (f, (1,)),
        "code": (u, (blocks, BLOCK * w)),
        "norm": (f, (BLOCK * blocks,)),
        "front_norm": (f, (BLOCK * blocks if w > FRONT else 0,)),
        "blur": (f, (blocks,)),
        "block_point": (i, (blocks,)),
        "leaf_block": (i, (leaves + 1,)),
        "slot_leaf": (i, (BLOCK * slots,)),
        "slot_code": (u, (slots, BLOCK * w)),
        "slot_norm": (f, (BLOCK * slots,)),
        "lower": (u, (slots, BLOCK * w)),
        "upper": (u, (slots, BLOCK * w)),
        "group_slot": (i, (groups + 1,)),
        "group_code": (u, (group_blocks, BLOCK * w)),
        "group_norm": (f, (BLOCK * group_blocks,)),
    }


def allocate(sizes: dict[str, int]) -> TreeArrays:
    """Arrays of these sizes, in one piece of memory and each at a multiple of 64 bytes.

    So a vector of 64 float32 is read from four cache lines, not five. The one piece is large enough for the
    system to give huge pages, where it has them: a search looks at hundreds of places, and with small pages
    even finding those in memory misses the cache.
    """
    shapes = shapes_of(sizes)
    lengths = [np.dtype(dtype).itemsize * math.prod(shape) for dtype, shape in shapes.values()]
    starts = np.append(0, np.cumsum([-(-length // _LINE) * _LINE for length in lengths]))
    margin = _HUGE_PAGE if starts[-1] >= _HUGE_PAGE else _LINE
    memory = np.empty(int(starts[-1]) + margin, np.uint8)
    memory = memory[-memory.ctypes.data % margin :]
    pieces = (memory[start : start + length] for start, length in zip(starts[:-1], lengths, strict=True))
    return TreeArrays(
        *(
            piece.view(dtype).reshape(shape)
            for piece, (dtype, shape) in zip(pieces, shapes.values(), strict=True)
        )
    )


def empty_arrays(dim: int) -> TreeArrays:
    """Arrays of a tree of no points."""
    sizes = dict.fromkeys(SIZES, 0) | {"dim": dim, "width": -(-dim // 8) * 8}
    return TreeArrays(**{name: np.zeros(shape, dtype) for name, (dtype, shape) in shapes_of(sizes).items()})


def passing_empty(arrays: TreeArrays) -> TreeArrays:
    """The same arrays, with which searches pass by leaves and groups whose points are all removed."""
    there = arrays.norm < PAD
    held = _any(there, np.arange(0, len(there) + 1, BLOCK))
    leaf = np.append(_any(held, arrays.leaf_block), False)  # the last place is that of padding
    slot = leaf[arrays.slot_leaf]
    group = np.zeros(len(arrays.group_norm), np.bool_)
    group[: len(arrays.group_slot) - 1] = _any(slot, BLOCK * arrays.group_slot)
    return arrays._replace(
        front_norm=np.where(there, arrays.front_norm, PAD) if arrays.front_norm.size else arrays.front_norm,
        slot_norm=np.where(slot, arrays.slot_norm, PAD),
        group_norm=np.where(group, arrays.group_norm, PAD),
    )


def _any(flags: NDArray[np.bool_], starts: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
    """Tell for each piece of the flags, which lie between starts, whether one of them is set."""
    before = np.concatenate([[0], np.cumsum(flags, dtype=np.int32)])
    some: NDArray[np.bool_] = np.diff(before[starts]) > 0
    return some


def handle_of(arrays: TreeArrays) -> I64Array:
    """Sizes and addresses for :func:`view`; the caller keeps the arrays alive.

    The last four numbers are the address and length of a bool array of the rows that may be found, 0 and 0
    where all may, how many points that are, and how many leaves hold them. See ``masks``.
    """
    sizes = [
        len(arrays.row),
        len(arrays.half),
        *arrays.axes.shape,
        len(arrays.code),
        len(arrays.leaf_block) - 1,
        len(arrays.slot_code),
        len(arrays.group_slot) - 1,
        len(arrays.group_code),
    ]
    expected = shapes_of(dict(zip(SIZES, sizes, strict=True)))
    for name, array in arrays._asdict().items():
        if (array.dtype, array.shape) != expected[name] or not array.flags.c_contiguous:
            raise AssertionError(f"{name}: expected {expected[name]}, got {array.dtype} {array.shape}")
    points = int(np.count_nonzero(arrays.norm < PAD))
    leaves = max(1, int(np.count_nonzero(arrays.slot_norm < PAD)))
    return np.array([*sizes, *(array.ctypes.data for array in arrays), 0, 0, points, leaves], np.int64)


@kernel
def view(handle):
    """The arrays behind a handle, as a TreeArrays."""
    n, halves, d, w, blocks = handle[0], handle[1], handle[2], handle[3], handle[4]
    leaves, slots, groups, group_blocks = handle[5], handle[6], handle[7], handle[8]
    f, i, u = np.float32, np.int32, np.uint8
    front_norms = BLOCK * blocks if w > FRONT else 0
    return TreeArrays(
        carray(load_pointer(handle[9]), (d,), f),
        carray(load_pointer(handle[10]), (d, w), f),
        carray(load_pointer(handle[11]), (n - halves, d), f),
        carray(load_pointer(handle[12]), (halves, d), np.uint16),
        carray(load_pointer(handle[13]), (n,), i),
        carray(load_pointer(handle[14]), (1,), f),
        carray(load_pointer(handle[15]), (blocks, BLOCK * w), u),
        carray(load_pointer(handle[16]), (BLOCK * blocks,), f),
        carray(load_pointer(handle[17]), (front_norms,), f),
        carray(load_pointer(handle[18]), (blocks,), f),
        carray(load_pointer(handle[19]), (blocks,), i),
        carray(load_pointer(handle[20]), (leaves + 1,), i),
        carray(load_pointer(handle[21]), (BLOCK * slots,), i),
        carray(load_pointer(handle[22]), (slots, BLOCK * w), u),
        carray(load_pointer(handle[23]), (BLOCK * slots,), f),
        carray(load_pointer(handle[24]), (slots, BLOCK * w), u),
        carray(load_pointer(handle[25]), (slots, BLOCK * w), u),
        carray(load_pointer(handle[26]), (groups + 1,), i),
        carray(load_pointer(handle[27]), (group_blocks, BLOCK * w), u),
        carray(load_pointer(handle[28]), (BLOCK * group_blocks,), f),
    )
