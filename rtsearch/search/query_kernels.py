"""Kernels of the search: groups, leaves nearest first, blocks of codes, float32 re-rank, exact sweep.

Scores stand for distances: with s the score of a code, half its squared distance to the query is s + base,
where base belongs to the query alone (see :func:`kernels.encode_query`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rtsearch.records import F32Array, I32Array, U8Array
from rtsearch.search.compiled import kernel
from rtsearch.search.kernels import (
    ROUNDING,
    box_distances,
    encode_place,
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


_FIRST = 8  # blocks whose best leaf is scanned before it is decided which others are worth it
_BUCKETS = 64


class Work(NamedTuple):
    """Scratch memory of one call.

    Attributes:
        rotated: (w,) float32, the query in the tree's axes.
        code: (w,) int8, its code.
        place: (w,) uint8, its code on the grid of the boxes.
        group_value, group_item: scores of groups, numbers of the chosen ones.
        block_value: least score of each slot block that was scored.
        slot_value: score of each leaf slot of those.
        near_value, near_item: leaves worth scanning.
        leaf_value, leaf_item: the same, roughly sorted.
        bucket: (_BUCKETS + 1,) int32, for sorting them.
        value, item: points kept so far, by score, with their position in ``vector``.
        best_value, best_item: (k,) squared distances, ascending, and positions.
    """

    rotated: F32Array
    code: np.ndarray
    place: U8Array
    group_value: F32Array
    group_item: I32Array
    block_value: F32Array
    slot_value: F32Array
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
    """Cut the scratch memory from two pieces; fifteen allocations took 0.6 us."""
    groups, blocks = tree.group_norm.size, tree.slot_code.shape[0] + BLOCK
    slots = tree.slot_leaf.size + BLOCK
    f = np.empty(tree.axes.shape[1] + groups + blocks + 3 * slots + room + k, np.float32)
    i = np.empty(groups + 2 * slots + _BUCKETS + 1 + room + k, np.int32)
    a = tree.axes.shape[1]
    b = a + groups
    c = b + blocks
    d = c + slots
    e = d + slots
    g = e + slots
    h = groups + slots
    j = h + slots
    m = j + _BUCKETS + 1
    return Work(
        f[:a],
        np.empty(tree.axes.shape[1], np.int8),
        np.empty(tree.axes.shape[1], np.uint8),
        f[a:b],
        i[:groups],
        f[b:c],
        f[c:d],
        f[d:e],
        i[groups:h],
        f[e:g],
        i[h:j],
        i[j:m],
        f[g : g + room],
        i[m : m + room],
        f[g + room :],
        i[m + room :],
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
            score(plain, tree.group_code, tree.group_norm, block, work.code, scale, work.group_value, at)
        for lane in range(BLOCK):
            work.group_item[at + lane] = at + lane
    if probes >= groups:
        return groups
    kept, _ = _shrink(plain, work.group_value, work.group_item, groups, probes)
    return kept


@kernel
def _score_leaves(plain, tree, work, scale, groups):
    """Score the leaves of the chosen groups, each score at its slot; return a limit that few lie below."""
    count = 0
    for g in work.group_item[:groups]:
        for block in range(tree.group_slot[g], tree.group_slot[g + 1]):
            at = np.int64(block) * BLOCK
            work.block_value[count] = score(
                plain, tree.slot_code, tree.slot_norm, block, work.code, scale, work.slot_value, at
            )
            count += 1
    return _limit_for(work.block_value, count, min(count, _FIRST))


@kernel
def _near_leaves(plain, tree, work, groups, limit):
    """List the leaves of the chosen groups whose scores lie below the limit; return how many."""
    near = 0
    for g in work.group_item[:groups]:
        for at in range(tree.group_slot[g] * BLOCK, tree.group_slot[g + 1] * BLOCK, BLOCK):
            near = keep(
                plain, work.slot_value, tree.slot_leaf, at, limit, work.near_value, work.near_item, near
            )
    return near


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
def _prefetch_leaf(tree, leaf):
    """Ask for the codes of a leaf that is scanned soon."""
    block_bytes = tree.code.shape[1]
    start = np.int64(tree.leaf_block[leaf]) * block_bytes
    for offset in range(start, start + 2 * block_bytes, 64):
        prefetch(tree.code, offset)


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

    The nearest few give a first limit; then come those whose distance is at most ``ratio`` times the limit's,
    until the falling limit ends it.
    """
    scale, base, _ = scoring
    room = work.value.size - 2 * BLOCK
    count = 0
    limit = FAR
    first = _score_leaves(plain, tree, work, scale, groups)
    for leaf in work.near_item[: _near_leaves(plain, tree, work, groups, first)]:
        for block in range(tree.leaf_block[leaf], tree.leaf_block[leaf + 1]):
            count = _scan_block(plain, tree, work, scale, block, limit, count)
            if count > room:
                count, limit = _shrink(plain, work.value, work.item, count, wanted)
    if count > wanted:
        count, limit = _shrink(plain, work.value, work.item, count, wanted)
    reach = min(ratio * (limit + base) - base, FAR)
    near = _near_leaves(plain, tree, work, groups, reach)
    _sort_roughly(work, near, reach)
    for t in range(near):
        if work.leaf_value[t] < first:
            continue
        if work.leaf_value[t] + base > ratio * (limit + base):
            break
        leaf = work.leaf_item[t]
        if t + 3 < near:
            _prefetch_leaf(tree, work.leaf_item[t + 3])
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
def _settle(tree, work, query, count, found):
    """Move points kept by a sweep to the result list, unless they are there already; return its length."""
    k = work.best_value.size
    for position in work.item[:count]:
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
def _sweep_leaf(plain, tree, work, query, leaf, scoring, found):
    """Add to the result list the points of a leaf that can belong to it; return the list's length."""
    scale, base, slack = scoring
    k = work.best_value.size
    for block in range(tree.leaf_block[leaf], tree.leaf_block[leaf + 1]):
        limit = FAR
        if found == k:
            reach = np.sqrt(work.best_value[k - 1]) + slack + tree.blur[block]
            limit = np.float32(0.50001) * reach * reach - base + np.float32(1e-5) * abs(base)
        count = _scan_block(plain, tree, work, scale, block, min(limit, FAR), 0)
        if count:
            found = _settle(tree, work, query, count, found)
    return found


@kernel
def _sweep(plain, tree, work, query, scoring, found):
    """Complete the result list: visit every leaf whose box does not rule it out; return the list's length.

    A box holds the true points of its leaf, rounding included, so what is skipped cannot belong.
    """
    grid = np.float32(0.5) * tree.step[0]
    apart = encode_place(work.rotated, grid, work.place)
    k = work.best_value.size
    lost = np.float32(1) + ROUNDING * np.float32(query.size)
    limit = FAR
    if found == k:
        reach = (np.sqrt(work.best_value[k - 1]) * lost + apart) / grid
        limit = min(reach * reach * np.float32(1.00001) + np.float32(1), FAR)
    near = 0
    for block in range(tree.slot_code.shape[0]):
        at = np.int64(block) * BLOCK
        box_distances(plain, tree.lower, tree.upper, block, work.place, work.slot_value, at)
        near = keep(plain, work.slot_value, tree.slot_leaf, at, limit, work.near_value, work.near_item, near)
    for t in range(near):
        leaf = work.near_item[t]
        if t + 3 < near:
            _prefetch_leaf(tree, work.near_item[t + 3])
        if leaf >= 0:
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
    work = _work(tree, k, 3 * wanted + 4 * BLOCK)
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
