"""Kernels of the exact search: boxes, first dimensions, codes, float32 distances.

Nothing is ruled out that could belong: limits are widened by all that was rounded.
"""

from __future__ import annotations

import numpy as np

from rtsearch._util.jit import bare_kernel, inlined
from rtsearch.search.arrays import FAR
from rtsearch.search.kernels import (
    ROUNDING,
    base_of,
    box_distances,
    encode_place,
    insert,
    keep,
    select,
    some_below,
    sort_best,
)
from rtsearch.search.near_kernels import keep_allowed, prefetch_block, scan_block, square_of
from rtsearch.search.simd import BLOCK, FRONT

__all__ = ["compare", "in_order", "sweep"]

_SAME = np.float32(1.00001)  # how differently two kernels may round one distance
_SORTED = 64  # largest k whose answers are sorted all the time, so that the limit falls with every point


@inlined
def compare(tree, work, start, end, kept, worst):
    """Add those of the listed points start..end to the answer that are at most ``worst`` (squared) away.

    For k up to _SORTED the answer is the result list, which may hold the points already. For more it is what
    value and item hold up to ``kept`` = start; a point may come once only.

    Returns:
        The length of the answer, and ``worst``, which falls as the answer grows.
    """
    k = work.best_value.size - 1
    for i in range(start, end):
        position = work.item[i]
        square = square_of(tree, work, position)
        if k > _SORTED:
            work.value[kept], work.item[kept] = square, position
            kept += np.int64(square <= worst)
        elif square < worst and not _is_in(work.best_item, kept, position):
            kept = np.int64(insert(work.best_value, work.best_item, kept, k, square, position))
            if kept == k:
                worst = work.best_value[k - 1]
    if kept > 2 * k + BLOCK:
        select(work.value, work.item, 0, kept, k - 1)
        kept, worst = np.int64(k), work.value[k - 1]
    return kept, worst


@inlined
def _is_in(items, count, item):
    """Return True if items[:count] hold an item."""
    same = np.int32(0)
    for t in range(count):
        same += np.int32(items[t] == item)
    return same > 0


@inlined
def in_order(work, kept):
    """Bring the answer into the result list; return its length."""
    if work.best_value.size - 1 <= _SORTED:
        return np.int64(kept)
    return np.int64(sort_best(work.value, work.item, kept, (work.best_value, work.best_item), work.bucket))


@inlined
def _reach(work, worst):
    """Return the largest distance of a point of the result, its rounding included."""
    return np.sqrt(worst) * (np.float32(1) + ROUNDING * np.float32(work.query.size))


@inlined
def _limit(reach, base, noise):
    """A limit that no score of a point within reach comes up to, for all that float32 rounds."""
    return min(np.float32(0.50001) * reach * reach - base + noise, FAR)


@bare_kernel
def _sweep_blocks(plain, tree, work, scoring, blocks, kept, worst):
    """Add to the answer what belongs to it from the listed blocks; see :func:`compare`.

    A code lies no farther from the query's code than its point from the query, plus what both were rounded
    by.
    """
    scale, base, slack, noise = scoring
    start = np.int64(0)
    for t in range(blocks):
        prefetch_block(tree, work.block_item[min(t + 2, blocks - 1)], tree.code.shape[1])
        block = work.block_item[t]
        limit = _limit(_reach(work, worst) + slack + tree.blur[block], base, noise)
        if work.best_value.size - 1 > _SORTED:
            start = kept
        end = scan_block(plain, tree, work, scale, block, limit, start)
        end = keep_allowed(tree, work, start, end)
        kept, worst = compare(tree, work, start, end, kept, worst)
    return kept, worst


@bare_kernel
def _near_boxes(plain, tree, work, worst):
    """List the leaves that their boxes do not rule out; return how many.

    A box holds the true points of its leaf, rounding included, so what is left out cannot belong.
    """
    grid = np.float32(0.5) * tree.step[0]
    apart = encode_place(work.rotated, grid, work.place)
    reach = (_reach(work, worst) + apart) / grid
    limit = min(reach * reach * np.float32(1.00001) + np.float32(1), FAR)
    near = 0
    for block in range(tree.slot_code.shape[0]):
        at = np.int64(block) * BLOCK
        box_distances(plain, tree.lower, tree.upper, block, work.place, work.slot_value, at)
        near = keep(plain, work.slot_value, tree.slot_leaf, at, limit, work.near_value, work.near_item, near)
    return near


@bare_kernel
def sweep(plain, tree, work, scoring, found, worst):
    """Fill the result list with the nearest of all points within ``worst`` (squared); return its length.

    What the ``found`` points of the approximate answer leave possible is looked at once more.
    The first dimensions of two codes lie no farther apart than all: of most blocks only those are read.
    """
    k = work.best_value.size - 1
    worst = min(worst * _SAME + np.float32(1e-37), FAR)
    kept = np.int64(found if k <= _SORTED else 0)
    near = _near_boxes(plain, tree, work, worst)
    front = work.code[: min(FRONT, work.code.size)]
    base, noise = base_of(front, tree.step[0], scoring[0])
    reach = _reach(work, worst) + scoring[2]
    blocks = 0
    for t in range(near):
        leaf = work.near_item[t]
        ahead = work.near_item[min(t + 4, near - 1)]
        for block in range(tree.leaf_block[ahead], tree.leaf_block[ahead + 1]):
            prefetch_block(tree, block, FRONT * BLOCK)
        for block in range(tree.leaf_block[leaf], tree.leaf_block[leaf + 1]):
            limit = _limit(reach + tree.blur[block], base, noise)
            work.block_item[blocks] = block
            if tree.front_norm.size:
                blocks += some_below(
                    plain, tree.code, tree.front_norm, block, front, scoring[0], limit, work.leaf_value
                )
            else:
                blocks += 1
            if blocks == work.block_item.size:
                kept, worst = _sweep_blocks(plain, tree, work, scoring, blocks, kept, worst)
                reach = _reach(work, worst) + scoring[2]
                blocks = 0
    kept, worst = _sweep_blocks(plain, tree, work, scoring, blocks, kept, worst)
    return in_order(work, kept)
