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
    keep,
    select,
    some_below,
    sort_best,
)
from rtsearch.search.near_kernels import prefetch_block, scan_block, square_of
from rtsearch.search.simd import BLOCK, FRONT

__all__ = ["compare", "sweep"]

_SAME = np.float32(1.00001)  # how differently two kernels may round one distance


@inlined
def compare(tree, work, count, end, worst):
    """Keep those of the listed points count..end that are at most ``worst`` (squared) away.

    Their values become squared distances. Returns the new count, and ``worst``, which falls when there are
    more than enough.
    """
    k = work.best_value.size - 1
    for i in range(count, end):
        position = work.item[i]
        square = square_of(tree, work, position)
        work.value[count], work.item[count] = square, position
        count += np.int64(square <= worst)
    if count > 2 * k + BLOCK:
        select(work.value, work.item, 0, count, k - 1)
        count, worst = np.int64(k), work.value[k - 1]
    return count, worst


@inlined
def _reach(work, worst):
    """Return the largest distance of a point of the result, its rounding included."""
    return np.sqrt(worst) * (np.float32(1) + ROUNDING * np.float32(work.query.size))


@inlined
def _limit(reach, base, noise):
    """A limit that no score of a point within reach comes up to, for all that float32 rounds."""
    return min(np.float32(0.50001) * reach * reach - base + noise, FAR)


@bare_kernel
def _sweep_blocks(plain, tree, work, scoring, blocks, count, worst):
    """Add to the kept points those of the listed blocks that may belong; return their count, and ``worst``.

    A code lies no farther from the query's code than its point from the query, plus what both were rounded
    by.
    """
    scale, base, slack, noise = scoring
    for t in range(blocks):
        prefetch_block(tree, work.block_item[min(t + 2, blocks - 1)], tree.code.shape[1])
        block = work.block_item[t]
        limit = _limit(_reach(work, worst) + slack + tree.blur[block], base, noise)
        end = scan_block(plain, tree, work, scale, block, limit, count)
        count, worst = compare(tree, work, count, end, worst)
    return count, worst


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
def sweep(plain, tree, work, scoring, found):
    """Fill the result list with the nearest of all points; return its length.

    What ``found`` points of the approximate answer leave possible is looked at once more, those points too.
    The first dimensions of two codes lie no farther apart than all: of most blocks only those are read.
    """
    k = work.best_value.size - 1
    worst = work.best_value[k - 1] * _SAME + np.float32(1e-37) if found == k else FAR
    near = _near_boxes(plain, tree, work, worst)
    front = work.code[: min(FRONT, work.code.size)]
    base, noise = base_of(front, tree.step[0], scoring[0])
    reach = _reach(work, worst) + scoring[2]
    blocks, count = 0, np.int64(0)
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
                count, worst = _sweep_blocks(plain, tree, work, scoring, blocks, count, worst)
                reach = _reach(work, worst) + scoring[2]
                blocks = 0
    count, worst = _sweep_blocks(plain, tree, work, scoring, blocks, count, worst)
    return sort_best(work.value, work.item, count, (work.best_value, work.best_item), work.bucket)
