"""Kernels of the build: median splits, means, tightening, filling the blocks.

Each works on a range of leaves or points, so that threads share the work and the result does not depend on
how many there are.
"""

from __future__ import annotations

import numpy as np

from rtsearch._util.jit import inlined, kernel
from rtsearch.search.arrays import FAR, PAD
from rtsearch.search.kernels import (
    ROUNDING,
    clear_lane,
    encode_point,
    encode_query,
    prefetch_bytes,
    rotate,
    score,
    select,
    shrink,
)
from rtsearch.search.simd import BLOCK, FRONT

__all__ = [
    "fill_leaves",
    "fill_means",
    "means",
    "near_leaves",
    "put_in_order",
    "rotate_rows",
    "sort_by_leaf",
    "split",
    "tighten",
]

_AHEAD = 8  # points; memory that is asked for so early comes in time
_SAMPLE = 256  # points from which the widest dimension of a node is judged


@inlined
def _prefetch_row(points, row):
    """Ask for a row of points (n, w) float32."""
    row_bytes = np.int64(4 * points.shape[1])
    prefetch_bytes(points, row * row_bytes, row_bytes)


@kernel
def rotate_rows(vector, centre, axes, out):
    """Rotate the rows of vector (n, d) into out (n, w)."""
    for i in range(len(vector)):
        rotate(vector[i], centre, axes, out[i])


@kernel
def _widest(rotated, order, low, high):
    """The dimension of largest variance among at most about 256 of the points order[low:high]."""
    width = rotated.shape[1]
    stride = max(1, (high - low) // _SAMPLE)
    base = rotated[order[low]]
    total = np.zeros(width, np.float32)
    square = np.zeros(width, np.float32)
    count = np.float32(0)
    for t in range(low, high, stride):
        point = rotated[order[t]]
        count += np.float32(1)
        for e in range(width):
            x = point[e] - base[e]
            total[e] += x
            square[e] += x * x
    for e in range(width):
        square[e] -= total[e] * total[e] / count
    return np.argmax(square)


@kernel
def split(rotated, order, low, high, leaf_size, depth, starts):
    """Median splits of order[low:high] along the widest dimension, down to leaf_size points or fewer.

    Stops ``depth`` levels down at the latest. Writes the first place of each leaf to ``starts``; returns how
    many there are.
    (Bentley 1975; the split position is a multiple of leaf_size, so all leaves but one are full.)
    """
    key = np.empty(high - low, np.float32)
    stack = np.empty((128, 3), np.int64)
    stack[0, 0], stack[0, 1], stack[0, 2] = low, high, 0
    size = 1
    count = 0
    base = low
    while size:
        size -= 1
        low, high, level = stack[size, 0], stack[size, 1], stack[size, 2]
        if high - low <= leaf_size or level >= depth:
            starts[count] = low
            count += 1
            continue
        middle = low + (high - low + leaf_size - 1) // leaf_size // 2 * leaf_size
        widest = _widest(rotated, order, low, high)
        for t in range(low, high):
            key[t - base] = rotated[order[t], widest]
        select(key[low - base : high - base], order[low:high], 0, high - low, middle - low)
        stack[size, 0], stack[size, 1], stack[size, 2] = middle, high, level + 1
        stack[size + 1, 0], stack[size + 1, 1], stack[size + 1, 2] = low, middle, level + 1
        size += 2
    return count


@kernel
def means(rotated, order, starts, skipped, out, first, last):
    """out[leaf] = mean of its points that are not skipped, for leaves first..last; without any it stays."""
    width = rotated.shape[1]
    total = np.empty(width, np.float32)
    for leaf in range(first, last):
        count = 0
        total[:] = np.float32(0)
        for t in range(starts[leaf], starts[leaf + 1]):
            _prefetch_row(rotated, order[min(t + _AHEAD, order.size - 1)])
            if skipped[order[t]]:
                continue
            count += 1
            point = rotated[order[t]]
            for e in range(width):
                total[e] += point[e]
        if count == 0:
            continue
        share = np.float32(1) / np.float32(count)
        for e in range(width):
            out[leaf, e] = total[e] * share


@kernel
def fill_means(mean, slot, step, code, norm):
    """Encode mean[slot[i]] into slot i of the blocks (code, norm); where slot[i] is -1, nothing."""
    for i in range(slot.size):
        block, lane = i // BLOCK, i % BLOCK
        if slot[i] < 0:
            clear_lane(code, norm, block, lane)
        else:
            length, _, _ = encode_point(mean[slot[i]], step, code, block, lane)
            norm[i] = length


@kernel
def near_leaves(plain, mean, step, top, probes, near, first, last):
    """near[leaf] = about three quarters as many leaves near it as there is room for, then -1.

    top: (slot_leaf, slot_code, slot_norm, group_slot, group_code, group_norm) as in TreeArrays; only the
    leaves of about ``probes`` groups are looked at.
    """
    slot_leaf, slot_code, slot_norm, group_slot, group_code, group_norm = top
    room = near.shape[1]
    groups = group_slot.size - 1
    code = np.empty(mean.shape[1], np.int8)
    group_value, group_item = np.empty(group_norm.size, np.float32), np.empty(group_norm.size, np.int32)
    value, item = np.empty(slot_norm.size, np.float32), np.empty(slot_norm.size, np.int32)
    for leaf in range(first, last):
        scale, _, _, _ = encode_query(mean[leaf], step, code)
        for at in range(0, group_norm.size, BLOCK):
            score(plain, group_code, group_norm, at // BLOCK, code, scale, group_value, at)
            group_item[at : at + BLOCK] = np.arange(at, at + BLOCK)
        chosen, _ = shrink(plain, group_value, group_item, groups, probes)
        count = 0
        for g in group_item[:chosen]:
            for block in range(group_slot[g], group_slot[g + 1]):
                score(plain, slot_code, slot_norm, block, code, scale, value, count)
                item[count : count + BLOCK] = slot_leaf[block * BLOCK : (block + 1) * BLOCK]
                count += BLOCK
        count, _ = shrink(plain, value, item, count, min(count, room * 3 // 4))
        count = min(count, room)
        near[leaf, :count] = item[:count]
        near[leaf, count:] = -1


@kernel
def _nearest(plain, code, norm, query, scale, out):
    """Place of the least score in all blocks."""
    best_block = 0
    best = FAR
    for block in range(code.shape[0]):
        least = score(plain, code, norm, block, query, scale, out, block * BLOCK)
        if least < best:
            best = least
            best_block = block
    lane = 0
    while lane < BLOCK - 1 and out[best_block * BLOCK + lane] != best:
        lane += 1
    return best_block * BLOCK + lane


@kernel
def tighten(plain, rotated, order, starts, mean, step, near, new, first, last):
    """One pass of Lloyd's algorithm (1982), kept local: new[point] = nearest of the leaves near its own."""
    room = near.shape[1]
    blocks = (room + BLOCK - 1) // BLOCK
    leaf_code = np.empty((blocks, BLOCK * mean.shape[1]), np.uint8)
    leaf_norm = np.empty(blocks * BLOCK, np.float32)
    slot = np.full(blocks * BLOCK, -1, np.int32)
    out = np.empty(blocks * BLOCK, np.float32)
    code = np.empty(mean.shape[1], np.int8)
    for leaf in range(first, last):
        if starts[leaf] == starts[leaf + 1]:
            continue
        slot[:room] = near[leaf]
        fill_means(mean, slot, step, leaf_code, leaf_norm)
        for t in range(starts[leaf], starts[leaf + 1]):
            _prefetch_row(rotated, order[min(t + _AHEAD, order.size - 1)])
            scale, _, _, _ = encode_query(rotated[order[t]], step, code)
            new[order[t]] = slot[_nearest(plain, leaf_code, leaf_norm, code, scale, out)]


@kernel
def put_in_order(points, order):
    """Make points[i] what points[order[i]] was, along the cycles of the order: no second array is needed."""
    done = np.zeros(order.size, np.bool_)
    for start in range(order.size):
        if done[start]:
            continue
        first, here = points[start].copy(), start
        while order[here] != start:
            points[here] = points[order[here]]
            done[here] = True
            here = order[here]
        points[here] = first
        done[here] = True


@kernel
def sort_by_leaf(leaf_of, order, starts):
    """Counting sort: order lists the points of leaf 0, then of leaf 1, ... each by rising number."""
    starts[:] = 0
    for i in range(leaf_of.size):
        starts[leaf_of[i] + 1] += 1
    for leaf in range(starts.size - 1):
        starts[leaf + 1] += starts[leaf]
    place = starts[:-1].copy()
    for i in range(leaf_of.size):
        order[place[leaf_of[i]]] = i
        place[leaf_of[i]] += 1


@kernel
def _fill_box(low, high, step, slot, lower, upper):
    """Round a leaf's bounding box outwards to the grid of the boxes and write it to its slot."""
    inverse = np.float32(2) / step
    for e in range(low.size):
        place = (e >> 2) * 4 * BLOCK + 4 * (slot % BLOCK) + (e & 3)
        below = np.floor(low[e] * inverse + np.float32(128))
        above = np.ceil(high[e] * inverse + np.float32(128))
        lower[slot // BLOCK, place] = np.uint8(min(max(below, np.float32(0)), np.float32(255)))
        upper[slot // BLOCK, place] = np.uint8(min(max(above, np.float32(0)), np.float32(255)))


@kernel
def fill_leaves(rotated, order, starts, slots, tree, first, last):
    """Write blocks and boxes of leaves first..last, and lower their slots' norms by a quarter of the mean
    squared radius; ``tree`` is a TreeArrays, slots[leaf] the leaf's slot.
    """
    width = rotated.shape[1]
    step = tree.step[0]
    mean, low, high = np.empty(width, np.float32), np.empty(width, np.float32), np.empty(width, np.float32)
    for leaf in range(first, last):
        mean[:] = np.float32(0)
        low[:] = FAR
        high[:] = -FAR
        count = starts[leaf + 1] - starts[leaf]
        for t in range(count):
            block, lane = tree.leaf_block[leaf] + t // BLOCK, t % BLOCK
            _prefetch_row(rotated, order[min(starts[leaf] + t + _AHEAD, order.size - 1)])
            if lane == 0:
                tree.block_point[block] = starts[leaf] + t
                tree.blur[block] = np.float32(0)
            point = rotated[order[starts[leaf] + t]]
            length, front, error = encode_point(point, step, tree.code, block, lane)
            tree.norm[block * BLOCK + lane] = length
            if width > FRONT:
                tree.front_norm[block * BLOCK + lane] = front
            square = np.float32(0)
            for e in range(width):
                square += point[e] * point[e]
                mean[e] += point[e]
            rounding = ROUNDING * np.float32(width) * np.sqrt(square)
            tree.blur[block] = max(tree.blur[block], np.sqrt(error) + rounding)
            for e in range(width):
                low[e] = min(low[e], point[e] - rounding)
                high[e] = max(high[e], point[e] + rounding)
        for t in range(count, (tree.leaf_block[leaf + 1] - tree.leaf_block[leaf]) * BLOCK):
            block, lane = tree.leaf_block[leaf] + t // BLOCK, t % BLOCK
            clear_lane(tree.code, tree.norm, block, lane)
            if width > FRONT:
                tree.front_norm[block * BLOCK + lane] = PAD
        _fill_box(low, high, step, slots[leaf], tree.lower, tree.upper)
        spread = np.float32(0)
        for t in range(starts[leaf], starts[leaf + 1]):
            point = rotated[order[t]]
            for e in range(width):
                apart = point[e] - mean[e] / np.float32(count)
                spread += apart * apart
        tree.slot_norm[slots[leaf]] -= np.float32(0.25) * spread / np.float32(count)
