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
    insert,
    keep,
    rotate,
    score,
    score_and_keep,
)
from rtsearch.search.layout import FAR, PAD, view
from rtsearch.search.simd import BLOCK, prefetch

__all__ = ["search"]


_FIRST = 8  # leaves that are scanned before it is decided which others are worth it
_BUCKETS = 64


class Work(NamedTuple):
    """Scratch memory of one call.

    Attributes:
        rotated: (w,) float32, the query in the tree's axes.
        code: (w,) int8, its code.
        group_value, group_item: scores of groups, numbers of the chosen ones.
        slot_value: score of each leaf slot of those.
        first_value, first_item: the few nearest slots, by score.
        near_value, near_item: leaves worth scanning.
        leaf_value, leaf_item: the same, roughly sorted.
        bucket: (_BUCKETS + 1,) int32, for sorting them.
        value, item: points kept so far, by score, with their position in ``vector``.
        best_value, best_item: (k,) squared distances, ascending, and positions.
    """

    rotated: F32Array
    code: np.ndarray
    group_value: F32Array
    group_item: I32Array
    slot_value: F32Array
    first_value: F32Array
    first_item: I32Array
    near_value: F32Array
    near_item: I32Array
    leaf_value: F32Array
    leaf_item: I32Array
    bucket: I32Array
    value: F32Array
    item: I32Array
    best_value: F32Array
    best_item: I32Array


@kernel
def _work(tree, k, room):
    width = tree.axes.shape[1]
    slots = tree.slot_leaf.size + BLOCK
    return Work(
        np.empty(width, np.float32),
        np.empty(width, np.int8),
        np.empty(tree.group_norm.size, np.float32),
        np.empty(tree.group_norm.size, np.int32),
        np.empty(slots, np.float32),
        np.empty(_FIRST, np.float32),
        np.empty(_FIRST, np.int32),
        np.empty(slots, np.float32),
        np.empty(slots, np.int32),
        np.empty(slots, np.float32),
        np.empty(slots, np.int32),
        np.empty(_BUCKETS + 1, np.int32),
        np.empty(room, np.float32),
        np.empty(room, np.int32),
        np.empty(k, np.float32),
        np.empty(k, np.int32),
    )


@kernel
def _limit_for(value, count, wanted):
    """A limit below which lie at least ``wanted`` of value[:count], and not many more; by bisection.

    Quickselect took three times as long: its branches cannot be foreseen, these counts need none.
    """
    low, high = value[0], value[0]
    for i in range(count):
        low = min(low, value[i])
        high = max(high, value[i])
    high += abs(high) * np.float32(1e-6) + np.float32(1e-30)
    most = wanted + (wanted >> 2)
    for _ in range(24):
        middle = np.float32(0.5) * (low + high)
        below = np.int32(0)
        for i in range(count):
            below += np.int32(value[i] < middle)
        if below >= wanted:
            high = middle
            if below <= most:
                break
        else:
            low = middle
    return high


@kernel
def _shrink(plain, value, item, count, wanted):
    """Keep about the ``wanted`` smallest values; return how many, and the limit that they lie below."""
    limit = _limit_for(value, count, wanted)
    value[count : (count + BLOCK - 1) // BLOCK * BLOCK] = PAD
    kept = 0
    for at in range(0, count, BLOCK):
        kept = keep(plain, value, item, at, limit, value, item, kept)
    # Bisection cannot part equal values.
    return min(kept, 2 * wanted), limit


@kernel
def _choose_groups(plain, tree, work, scale, probes):
    """Put about ``probes`` nearest groups into group_item; return how many."""
    groups = tree.group_slot.size - 1
    for block in range(tree.group_code.shape[0]):
        at = block * BLOCK
        if probes < groups:
            score(plain, tree.group_code, tree.group_norm, block, work.code, scale, work.group_value, at, FAR)
        for lane in range(BLOCK):
            work.group_item[at + lane] = at + lane
    if probes >= groups:
        return groups
    kept, _ = _shrink(plain, work.group_value, work.group_item, groups, probes)
    return kept


@kernel
def _score_leaves(plain, tree, work, scale, groups):
    """Score the leaves of the chosen groups, each score at its slot; note the few nearest."""
    room = work.first_value.size
    work.first_value[:] = FAR
    limit = FAR
    for g in work.group_item[:groups]:
        for block in range(tree.group_slot[g], tree.group_slot[g + 1]):
            at = np.int64(block) * BLOCK
            mask = score(
                plain, tree.slot_code, tree.slot_norm, block, work.code, scale, work.slot_value, at, limit
            )
            if mask:
                for slot in range(at, at + BLOCK):
                    if work.slot_value[slot] < limit:
                        insert(
                            work.first_value,
                            work.first_item,
                            room,
                            room,
                            work.slot_value[slot],
                            np.int32(slot),
                        )
                        limit = work.first_value[room - 1]


@kernel
def _sort_roughly(work, count, high):
    """Order the leaves worth scanning by score, as far as a few buckets tell them apart (counting sort).

    Reads near_value and near_item, writes leaf_value and leaf_item.
    """
    low = high
    for i in range(count):
        low = min(low, work.near_value[i])
    each = np.float32(_BUCKETS - 1) / max(high - low, np.float32(1e-30))
    work.bucket[:] = 0
    for i in range(count):
        work.bucket[np.int32((work.near_value[i] - low) * each) + 1] += 1
    for b in range(_BUCKETS):
        work.bucket[b + 1] += work.bucket[b]
    for i in range(count):
        b = np.int32((work.near_value[i] - low) * each)
        place = work.bucket[b]
        work.bucket[b] = place + 1
        work.leaf_value[place] = work.near_value[i]
        work.leaf_item[place] = work.near_item[i]


@kernel
def _scan_block(plain, tree, work, scale, block, limit, count):
    """Append the points of a block whose scores lie below the limit; return the new count."""
    point = tree.block_point[block]
    return score_and_keep(
        plain, tree.code, tree.norm, block, work.code, scale, limit, point, work.value, work.item, count
    )


@kernel
def _scan(plain, tree, work, scoring, groups, ratio, wanted):
    """Scan leaves nearest first; keep about the ``wanted`` best codes; return how many.

    The few nearest leaves give a first limit; then come those whose distance is at most ``ratio`` times the
    limit's, until the falling limit ends it.
    """
    scale, base, _ = scoring
    room = work.value.size - 8 * BLOCK
    count = 0
    limit = FAR
    for t in range(work.first_value.size):
        if work.first_value[t] >= FAR:
            break
        leaf = tree.slot_leaf[work.first_item[t]]
        for block in range(tree.leaf_block[leaf], tree.leaf_block[leaf + 1]):
            count = _scan_block(plain, tree, work, scale, block, limit, count)
            if count > room:
                count, limit = _shrink(plain, work.value, work.item, count, wanted)
        work.slot_value[work.first_item[t]] = PAD
    if count > wanted:
        count, limit = _shrink(plain, work.value, work.item, count, wanted)
    reach = min(ratio * (limit + base) - base, FAR)
    near = 0
    for g in work.group_item[:groups]:
        for block in range(tree.group_slot[g], tree.group_slot[g + 1]):
            at = np.int64(block) * BLOCK
            near = keep(
                plain, work.slot_value, tree.slot_leaf, at, reach, work.near_value, work.near_item, near
            )
    _sort_roughly(work, near, reach)
    for t in range(near):
        if work.leaf_value[t] + base > ratio * (limit + base):
            break
        leaf = work.leaf_item[t]
        for block in range(tree.leaf_block[leaf], tree.leaf_block[leaf + 1]):
            count = _scan_block(plain, tree, work, scale, block, limit, count)
            if count > room:
                count, limit = _shrink(plain, work.value, work.item, count, wanted)
    if count > wanted + (wanted >> 2):
        count, limit = _shrink(plain, work.value, work.item, count, wanted)
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
        mask = score(plain, tree.code, tree.norm, block, work.code, scale, work.near_value, 0, limit)
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
        score(plain, tree.slot_code, tree.slot_norm, block, work.code, scale, work.slot_value, 0, FAR)
        for lane in range(BLOCK):
            slot = block * BLOCK + lane
            leaf = tree.slot_leaf[slot]
            if leaf < 0:
                continue
            if found == k:
                worst = np.sqrt(work.best_value[k - 1]) * (np.float32(1) + lost) + slack
                half = work.slot_value[lane] + tree.slot_spread[slot] + base - np.float32(1e-5) * abs(base)
                reach = worst + tree.slot_radius[slot]
                if half > np.float32(0.50001) * reach * reach:
                    continue
                if _box_distance(tree, leaf, work.rotated) > worst * worst:
                    continue
            found = _sweep_leaf(plain, tree, work, query, leaf, scoring, found)
    return found


@kernel
def search(handle, plain, queries, probes, ratio, exact, distance, row):
    """Search for all queries (m, d) float32; fill distance and row (m, k). False: a NaN or infinity."""
    tree = view(handle)
    k = distance.shape[1]
    wanted = max(
        2 * k, k + BLOCK
    )  # codes order points roughly; the float32 re-rank needs some to choose from
    work = _work(tree, k, 2 * wanted + 10 * BLOCK)
    for i in range(queries.shape[0]):
        query = queries[i]
        sane = True
        for j in range(query.size):
            sane &= abs(query[j]) <= np.float32(1e15)
        if not sane:
            return False
        rotate(query, tree.centre, tree.axes, work.rotated)
        scoring = encode_query(work.rotated, tree.step[0], work.code)
        groups = _choose_groups(plain, tree, work, scoring[0], probes)
        _score_leaves(plain, tree, work, scoring[0], groups)
        count = _scan(plain, tree, work, scoring, groups, ratio, wanted)
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
