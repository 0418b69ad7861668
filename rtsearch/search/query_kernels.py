"""Kernels of the search: groups, leaves nearest first, blocks of codes, float32 re-rank, exact sweep.

Scores stand for distances: with s the score of a code, half its squared distance to the query is s + base,
where base belongs to the query alone (see :func:`kernels.encode_query`).
"""

from __future__ import annotations

import numpy as np

from rtsearch._util.jit import bare_kernel, inlined, kernel
from rtsearch.search.arrays import FAR, LARGEST, view
from rtsearch.search.kernels import (
    ROUNDING,
    base_of,
    box_distances,
    encode_place,
    encode_query,
    insert,
    keep,
    limit_for,
    prefetch_bytes,
    rotate,
    score,
    score_and_keep,
    shrink,
    some_below,
    sort_best,
)
from rtsearch.search.scratch import BUCKETS, cut_up, wanted_and_room
from rtsearch.search.simd import BLOCK, FRONT, prefetch

__all__ = ["search", "search_near"]


_FIRST = 8  # blocks whose best leaf is scanned before it is decided which others are worth it


@bare_kernel
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
    kept, _ = shrink(plain, work.group_value, work.group_item, groups, probes)
    return kept


@bare_kernel
def _score_leaves(plain, tree, work, scale, groups):
    """List the leaves of the chosen groups with their scores; return how many blocks of them there are."""
    count = 0
    for g in work.group_item[:groups]:
        for block in range(tree.group_slot[g], tree.group_slot[g + 1]):
            at = np.int64(count) * BLOCK
            work.block_value[count] = score(
                plain, tree.slot_code, tree.slot_norm, block, work.code, scale, work.slot_value, at
            )
            for lane in range(BLOCK):
                work.slot_item[at + lane] = tree.slot_leaf[block * BLOCK + lane]
            count += 1
    return count


@bare_kernel
def _near_leaves(plain, work, blocks, limit):
    """List the scored leaves below the limit; return their number."""
    near = 0
    for at in range(0, blocks * BLOCK, BLOCK):
        near = keep(plain, work.slot_value, work.slot_item, at, limit, work.near_value, work.near_item, near)
    return near


@bare_kernel
def _sort_roughly(work, count, high):
    """Order the leaves worth scanning by score, as far as a few buckets tell them apart (counting sort).

    Reads near_value and near_item, writes leaf_value and leaf_item.
    """
    low = high
    for i in range(count):
        low = min(low, work.near_value[i])
    each = np.float32(BUCKETS - 1) / max(high - low, np.float32(1e-30))
    work.bucket[:] = 0
    for i in range(count):
        work.bucket[np.int32((work.near_value[i] - low) * each) + 1] += 1
    for b in range(BUCKETS):
        work.bucket[b + 1] += work.bucket[b]
    for i in range(count):
        mine = np.int32((work.near_value[i] - low) * each)
        place = work.bucket[mine]
        work.bucket[mine] = place + 1
        work.leaf_value[place] = work.near_value[i]
        work.leaf_item[place] = work.near_item[i]


@inlined
def _prefetch_block(tree, block, wanted_bytes):
    """Ask for the first bytes of a block that is scanned soon."""
    prefetch_bytes(tree.code, np.int64(block) * tree.code.shape[1], wanted_bytes)


@inlined
def _prefetch_leaf(tree, leaf):
    """Ask for the codes of a leaf that is scanned soon."""
    _prefetch_block(tree, tree.leaf_block[leaf], 2 * tree.code.shape[1])


@inlined
def _prefetch_vectors(tree, work, count):
    """Ask for the vectors and row numbers of the points kept so far."""
    row_bytes = np.int64(4 * work.query.size)
    for position in work.item[:count]:
        prefetch_bytes(tree.vector, position * row_bytes, row_bytes)
        prefetch(tree.row, np.int64(4) * position)


@inlined
def _scan_block(plain, tree, work, scale, block, limit, count):
    """Append the points of a block whose scores lie below the limit; return the new count."""
    point = tree.block_point[block]
    return score_and_keep(
        plain, tree.code, tree.norm, block, work.code, scale, limit, point, work.value, work.item, count
    )


@bare_kernel
def _scan(plain, tree, work, scoring, groups, ratio, wanted):
    """Scan leaves nearest first; keep about the ``wanted`` best codes; return how many.

    The nearest few give a first limit; then come those whose distance is at most ``ratio`` times the limit's,
    until the falling limit ends it.
    """
    scale, base = scoring[0], scoring[1]
    room = work.value.size - 2 * BLOCK
    count = 0
    limit = FAR
    blocks = _score_leaves(plain, tree, work, scale, groups)
    first = limit_for(work.block_value, blocks, min(blocks, _FIRST))
    near = _near_leaves(plain, work, blocks, first)
    for t in range(near):
        leaf = work.near_item[t]
        _prefetch_leaf(tree, work.near_item[min(t + 3, near - 1)])
        for block in range(tree.leaf_block[leaf], tree.leaf_block[leaf + 1]):
            count = _scan_block(plain, tree, work, scale, block, limit, count)
            if count > room:
                count, limit = shrink(plain, work.value, work.item, count, wanted)
    if count > wanted:
        count, limit = shrink(plain, work.value, work.item, count, wanted)
    _prefetch_vectors(tree, work, count)  # most of these come to be re-ranked
    reach = min(ratio * (limit + base) - base, FAR)
    near = _near_leaves(plain, work, blocks, reach)
    _sort_roughly(work, near, reach)
    for t in range(near):
        if work.leaf_value[t] < first:
            continue
        if work.leaf_value[t] + base > ratio * (limit + base):
            break
        leaf = work.leaf_item[t]
        _prefetch_leaf(tree, work.leaf_item[min(t + 3, near - 1)])
        for block in range(tree.leaf_block[leaf], tree.leaf_block[leaf + 1]):
            count = _scan_block(plain, tree, work, scale, block, limit, count)
            if count > room:
                count, limit = shrink(plain, work.value, work.item, count, wanted)
    if count > wanted + (wanted >> 2):
        count, limit = shrink(plain, work.value, work.item, count, wanted)
    return count


@inlined
def _distance(tree, work, position):
    """Squared distance of a stored vector to the query, both as given."""
    total = np.float32(0)
    for j in range(work.query.size):
        apart = tree.vector[position, j] - work.query[j]
        total += apart * apart
    return total


@inlined
def _consider(tree, work, position, found):
    """Put a point into the result list if it belongs there and is not there yet; return the list's length."""
    k = work.best_value.size - 1
    square = _distance(tree, work, position)
    if found == k and square > work.best_value[k - 1]:
        return found
    for t in range(found):
        if work.best_item[t] == position:
            return found
    return insert(work.best_value, work.best_item, found, k, square, position)


@inlined
def _rerank(tree, work, count):
    """Fill the result list with the best of the kept points by their float32 distances; return its length."""
    _prefetch_vectors(tree, work, count)
    for t in range(count):
        work.value[t] = _distance(tree, work, work.item[t])
    return sort_best(work.value, work.item, count, work.best_value, work.best_item)


@inlined
def _reach(work, found):
    """Return the largest distance of a point of the result, its rounding included."""
    k = work.best_value.size - 1
    if found < k:
        return np.sqrt(FAR)
    return np.sqrt(work.best_value[k - 1]) * (np.float32(1) + ROUNDING * np.float32(work.query.size))


@inlined
def _limit(reach, base, noise):
    """A limit that no score of a point within reach comes up to, for all that float32 rounds."""
    return min(np.float32(0.50001) * reach * reach - base + noise, FAR)


@inlined
def _sweep_blocks(plain, tree, work, scoring, count, found):
    """Add to the result list the points of the listed blocks that belong to it; return the list's length.

    A code lies no farther from the query's code than its point from the query, plus what both were rounded
    by.
    """
    scale, base, slack, noise = scoring
    for t in range(count):
        _prefetch_block(tree, work.block_item[min(t + 2, count - 1)], tree.code.shape[1])
        block = work.block_item[t]
        limit = _limit(_reach(work, found) + slack + tree.blur[block], base, noise)
        kept = _scan_block(plain, tree, work, scale, block, limit, 0)
        for i in range(kept):
            found = _consider(tree, work, work.item[i], found)
    return found


@bare_kernel
def _near_boxes(plain, tree, work, found, first, last):
    """List the leaves of slot blocks first..last that their boxes do not rule out; return how many.

    A box holds the true points of its leaf, rounding included, so what is left out cannot belong.
    """
    grid = np.float32(0.5) * tree.step[0]
    apart = encode_place(work.rotated, grid, work.place)
    reach = (_reach(work, found) + apart) / grid
    limit = min(reach * reach * np.float32(1.00001) + np.float32(1), FAR)
    near = 0
    for block in range(first, last):
        at = np.int64(block) * BLOCK
        box_distances(plain, tree.lower, tree.upper, block, work.place, work.slot_value, at)
        near = keep(plain, work.slot_value, tree.slot_leaf, at, limit, work.near_value, work.near_item, near)
    return near


@bare_kernel
def _sweep(plain, tree, work, scoring, found, first, last):
    """Add to the result list what belongs to it from slot blocks first..last; return the list's length.

    The first dimensions of two codes lie no farther apart than all: of most blocks only those are read.
    """
    near = _near_boxes(plain, tree, work, found, first, last)
    front = work.code[: min(FRONT, work.code.size)]
    base, noise = base_of(front, tree.step[0], scoring[0])
    reach = _reach(work, found) + scoring[2]
    count = 0
    for t in range(near):
        leaf = work.near_item[t]
        ahead = work.near_item[min(t + 4, near - 1)]
        for block in range(tree.leaf_block[ahead], tree.leaf_block[ahead + 1]):
            _prefetch_block(tree, block, FRONT * BLOCK)
        for block in range(tree.leaf_block[leaf], tree.leaf_block[leaf + 1]):
            limit = _limit(reach + tree.blur[block], base, noise)
            work.block_item[count] = block
            if tree.front_norm.size:
                count += some_below(
                    plain, tree.code, tree.front_norm, block, front, scoring[0], limit, work.value
                )
            else:
                count += 1
            if count == work.block_item.size:
                found = _sweep_blocks(plain, tree, work, scoring, count, found)
                reach = _reach(work, found) + scoring[2]
                count = 0
    return _sweep_blocks(plain, tree, work, scoring, count, found)


@bare_kernel
def _answer(plain, tree, work, near, place, plan):
    """Fill the result list for one query; return its length, and whether every leaf was seen or ruled out."""
    probes, ratio, first, last = plan
    k = work.best_value.size - 1
    wanted, _ = wanted_and_room(k)
    rotate(work.query, tree.centre, tree.axes, work.rotated)
    scoring = encode_query(work.rotated, tree.step[0], work.code)
    found = 0
    if probes:
        groups = _choose_groups(plain, tree, work, scoring[0], probes)
        count = _scan(plain, tree, work, scoring, groups, ratio, wanted)
        found = _rerank(tree, work, count)
    for row in near:
        if row >= 0 and row < place.size and place[row] >= 0:
            found = _consider(tree, work, place[row], found)
    if probes and found < k:
        first, last = 0, tree.slot_code.shape[0]
    found = _sweep(plain, tree, work, scoring, found, first, last)
    return found, last - first == tree.slot_code.shape[0]


@inlined
def _answer_each(plain, tree, work, queries, near, place, plan, distance, row, proved):
    """The answers to all queries; False where one is not sane."""
    k = distance.shape[1]
    for i in range(queries.shape[0]):
        sane = True
        for j in range(queries.shape[1]):
            work.query[j] = queries[i, j]
            sane &= abs(queries[i, j]) <= LARGEST
        if not sane:
            return False
        warm = near[i] if i < near.shape[0] else place[:0]
        found, proof = _answer(plain, tree, work, warm, place, plan)
        proved[i] = np.uint8(proof)
        for t in range(k):
            if t < found:
                distance[i, t] = np.sqrt(work.best_value[t])
                row[i, t] = tree.row[work.best_item[t]]
            else:
                distance[i, t] = np.inf
                row[i, t] = -1
    return True


@kernel
def search(handle, plain, scratch, queries, probes, ratio, first, last, distance, row):
    """Search for all queries (m, d) float32; fill distance and row (m, k).

    What is handed over costs a call 25 ns a number and 50 ns an array; hence the one piece of memory.

    Args:
        handle: see :func:`layout.view`.
        plain: None or True, see :func:`kernels.score`.
        scratch: uint8, as many as :func:`scratch_bytes` says and m more, which are filled with 1 where the
            answer is proved, else 0.
        queries: (m, d) float32.
        probes, ratio: groups to probe, none to leave the approximate search out; stop ratio.
        first, last: slot blocks to sweep; an empty sweep leaves the answer unproved.
        distance, row: (m, k) float32, int32.

    Returns:
        False where a query has a NaN, an infinity or a number beyond 1e15.
    """
    tree = view(handle)
    nothing = tree.row[:0]
    work = cut_up(tree, distance.shape[1], scratch)
    plan = probes, np.float32(ratio), first, last
    proved = scratch[scratch.size - queries.shape[0] :]
    none = nothing.reshape((0, 0))
    return _answer_each(plain, tree, work, queries, none, nothing, plan, distance, row, proved)


@kernel
def search_near(handle, plain, scratch, queries, near, place, probes, ratio, first, last, distance, row):
    """Search like :func:`search`, starting from rows that are likely near.

    Args:
        handle, plain, scratch, queries, probes, ratio, first, last, distance, row: as for :func:`search`.
        near: (m, any) int32; what is no row is passed over.
        place: (any,) int32, position in ``vector`` of each row, -1 for none.
    """
    tree = view(handle)
    work = cut_up(tree, distance.shape[1], scratch)
    plan = probes, np.float32(ratio), first, last
    proved = scratch[scratch.size - queries.shape[0] :]
    return _answer_each(plain, tree, work, queries, near, place, plan, distance, row, proved)
