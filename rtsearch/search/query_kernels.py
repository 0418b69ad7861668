"""Kernels of the search: groups, leaves nearest first, blocks of codes, float32 re-rank, exact sweep.

Scores stand for distances: with s the score of a code, half its squared distance to the query is s + base,
where base belongs to the query alone (see :func:`kernels.encode_query`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rtsearch.records import F32Array, I32Array
from rtsearch.search.compiled import kernel
from rtsearch.search.kernels import (
    ROUNDING,
    encode_query,
    heap_build,
    heap_pop,
    insert,
    rotate,
    score,
    select,
)
from rtsearch.search.layout import FAR, view
from rtsearch.search.simd import BLOCK, prefetch

__all__ = ["search"]


class Work(NamedTuple):
    """Scratch memory of one call.

    Attributes:
        rotated: (w,) float32, the query in the tree's axes.
        code: (w,) int8, its code.
        out: (16,) float32, scores of one block.
        leaf_value, leaf_item: leaves to visit, a heap by score.
        group_value, group_item: groups by score.
        value, item: points kept so far, by score, with their position in ``vector``; item -1 never occurs.
        best_value, best_item: (k,) squared distances, ascending, and positions.
    """

    rotated: F32Array
    code: np.ndarray
    out: F32Array
    leaf_value: F32Array
    leaf_item: I32Array
    group_value: F32Array
    group_item: I32Array
    value: F32Array
    item: I32Array
    best_value: F32Array
    best_item: I32Array


@kernel
def _work(tree, k, room):
    width = tree.axes.shape[1]
    leaves, groups = tree.slot_leaf.size, tree.group_norm.size
    return Work(
        np.empty(width, np.float32),
        np.empty(width, np.int8),
        np.empty(BLOCK, np.float32),
        np.empty(leaves, np.float32),
        np.empty(leaves, np.int32),
        np.empty(groups, np.float32),
        np.empty(groups, np.int32),
        np.empty(room + BLOCK, np.float32),
        np.empty(room + BLOCK, np.int32),
        np.empty(k, np.float32),
        np.empty(k, np.int32),
    )


@kernel
def _collect_leaves(plain, tree, work, scale, first, last, count):
    """Append the leaves of slot blocks first..last and their scores to the list; return its new length."""
    for block in range(first, last):
        score(plain, tree.slot_code, tree.slot_norm, block, work.code, scale, work.out, 0, FAR)
        for lane in range(BLOCK):
            leaf = tree.slot_leaf[block * BLOCK + lane]
            if leaf >= 0:
                work.leaf_value[count] = work.out[lane]
                work.leaf_item[count] = leaf
                count += 1
    return count


@kernel
def _rank_leaves(plain, tree, work, scale, probes):
    """Make a heap of the leaves of the ``probes`` nearest groups; return how many leaves there are."""
    groups = tree.group_slot.size - 1
    if probes >= groups:
        count = _collect_leaves(plain, tree, work, scale, 0, tree.slot_code.shape[0], 0)
    else:
        for block in range(tree.group_code.shape[0]):
            score(plain, tree.group_code, tree.group_norm, block, work.code, scale, work.out, 0, FAR)
            for lane in range(BLOCK):
                work.group_value[block * BLOCK + lane] = work.out[lane]
                work.group_item[block * BLOCK + lane] = block * BLOCK + lane
        select(work.group_value, work.group_item, 0, groups, probes - 1)
        count = 0
        for g in work.group_item[:probes]:
            count = _collect_leaves(
                plain, tree, work, scale, tree.group_slot[g], tree.group_slot[g + 1], count
            )
    heap_build(work.leaf_value, work.leaf_item, count)
    return count


@kernel
def _keep(work, mask, point, count):
    """Append the scored points whose bit is set; ``point`` is the block's first position."""
    lane = 0
    while mask:
        if mask & np.uint32(1):
            work.value[count] = work.out[lane]
            work.item[count] = point + lane
            count += 1
        mask >>= np.uint32(1)
        lane += 1
    return count


@kernel
def _scan_leaves(plain, tree, work, scale, base, ratio, leaves, wanted):
    """Scan leaves nearest first; keep about the ``wanted`` best codes; return how many.

    Stops at the first leaf whose distance exceeds ``ratio`` times that of the worst code still wanted.
    """
    room = work.value.size - BLOCK
    count = 0
    limit = FAR
    while leaves > 0:
        if work.leaf_value[0] + base > ratio * (limit + base):
            break
        leaf = work.leaf_item[0]
        for block in range(tree.leaf_block[leaf], tree.leaf_block[leaf + 1]):
            mask = score(plain, tree.code, tree.norm, block, work.code, scale, work.out, 0, limit)
            if mask:
                count = _keep(work, mask, tree.block_point[block], count)
                if count >= room or (limit == FAR and count > wanted):
                    select(work.value, work.item, 0, count, wanted - 1)
                    count = wanted
                    limit = work.value[wanted - 1]
        leaves = heap_pop(work.leaf_value, work.leaf_item, leaves)
    if count > wanted:
        select(work.value, work.item, 0, count, wanted - 1)
        count = wanted
    return count


@kernel
def _distance(tree, position, query):
    """Squared distance of a stored vector to the query, both as given."""
    total = np.float32(0)
    for j in range(query.size):
        apart = tree.vector[position, j] - query[j]
        total += apart * apart
    return total


@kernel
def _rerank(tree, work, query, count):
    """Move the best of the kept points to the result list, by their float32 distances; return its length."""
    row_bytes = np.int64(4 * query.size)
    for t in range(count):
        start = np.int64(work.item[t]) * row_bytes
        for offset in range(start, start + row_bytes, 64):
            prefetch(tree.vector, offset)
    found = 0
    for t in range(count):
        position = work.item[t]
        square = _distance(tree, position, query)
        found = insert(work.best_value, work.best_item, found, work.best_value.size, square, position)
    return found


@kernel
def _box_distance(tree, leaf, rotated):
    """Squared distance of the query to the leaf's bounding box."""
    total = np.float32(0)
    for e in range(rotated.size):
        below = tree.box[leaf, 0, e] - rotated[e]
        above = rotated[e] - tree.box[leaf, 1, e]
        apart = max(below, above, np.float32(0))
        total += apart * apart
    return total


@kernel
def _sweep_leaf(plain, tree, work, query, leaf, scoring, found):
    """Add to the result list the points of a leaf that can belong to it; return the list's length."""
    scale, base, slack = scoring
    k = work.best_value.size
    for block in range(tree.leaf_block[leaf], tree.leaf_block[leaf + 1]):
        reach = np.sqrt(work.best_value[k - 1]) + slack + tree.blur[block]
        limit = np.float32(0.50001) * reach * reach - base
        limit = min(limit + np.float32(1e-5) * abs(base), FAR) if found == k else FAR
        mask = score(plain, tree.code, tree.norm, block, work.code, scale, work.out, 0, limit)
        if mask == 0:
            continue
        for lane in range(BLOCK):
            if (mask >> np.uint32(lane)) & np.uint32(1) == 0:
                continue
            position = tree.block_point[block] + lane
            square = _distance(tree, position, query)
            if found == k and square > work.best_value[k - 1]:
                continue
            known = False
            for t in range(found):
                known |= work.best_item[t] == position
            if not known:
                found = insert(work.best_value, work.best_item, found, k, square, position)
    return found


@kernel
def _sweep(plain, tree, work, query, scoring, found):
    """Complete the result list: visit every leaf that ball and box cannot rule out; return its length.

    A leaf's ball and box hold its true points, rounding included, so what is skipped cannot belong.
    """
    scale, base, slack = scoring
    k = work.best_value.size
    lost = ROUNDING * np.float32(query.size)
    for block in range(tree.slot_code.shape[0]):
        score(plain, tree.slot_code, tree.slot_norm, block, work.code, scale, work.out, 0, FAR)
        for lane in range(BLOCK):
            slot = block * BLOCK + lane
            leaf = tree.slot_leaf[slot]
            if leaf < 0:
                continue
            if found == k:
                worst = np.sqrt(work.best_value[k - 1]) * (np.float32(1) + lost) + slack
                half = work.out[lane] + tree.slot_spread[slot] + base - np.float32(1e-5) * abs(base)
                reach = worst + tree.slot_radius[slot]
                if half > np.float32(0.50001) * reach * reach:
                    continue
                if _box_distance(tree, leaf, work.rotated) > worst * worst:
                    continue
            work.leaf_value[0] = work.out[lane]
            found = _sweep_leaf(plain, tree, work, query, leaf, scoring, found)
            score(plain, tree.slot_code, tree.slot_norm, block, work.code, scale, work.out, 0, FAR)
    return found


@kernel
def search(handle, plain, queries, probes, ratio, exact, distance, row):
    """Search for all queries (m, d) float32; fill distance and row (m, k). False: a NaN or infinity."""
    tree = view(handle)
    k = distance.shape[1]
    wanted = max(
        2 * k, k + BLOCK
    )  # codes order points roughly; the float32 re-rank needs some to choose from
    work = _work(tree, k, 4 * wanted)
    for i in range(queries.shape[0]):
        query = queries[i]
        sane = True
        for j in range(query.size):
            sane &= abs(query[j]) <= np.float32(1e15)
        if not sane:
            return False
        rotate(query, tree.centre, tree.axes, work.rotated)
        scoring = encode_query(work.rotated, tree.step[0], work.code)
        leaves = _rank_leaves(plain, tree, work, scoring[0], probes)
        count = _scan_leaves(plain, tree, work, scoring[0], scoring[1], ratio, leaves, wanted)
        found = _rerank(tree, work, query, count)
        if exact or found < k:
            found = _sweep(plain, tree, work, query, scoring, found)
        for t in range(k):
            if t < found:
                distance[i, t] = np.sqrt(work.best_value[t])
                row[i, t] = tree.row[work.best_item[t]]
            else:
                distance[i, t] = np.inf
                row[i, t] = -1
    return True
