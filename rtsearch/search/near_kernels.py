"""Kernels of the approximate search: groups, leaves nearest first, blocks of codes, float32 re-rank.

Scores stand for distances: with s the score of a code, half its squared distance to the query is s + base,
where base belongs to the query alone (see :func:`kernels.encode_query`).
"""

from __future__ import annotations

import numpy as np

from rtsearch._util.jit import bare_kernel, inlined
from rtsearch.search.arrays import FAR
from rtsearch.search.kernels import keep, limit_for, prefetch_bytes, score, score_and_keep, shrink, sort_best
from rtsearch.search.scratch import BUCKETS
from rtsearch.search.simd import BLOCK, from_half, prefetch

__all__ = [
    "choose_groups",
    "keep_allowed",
    "prefetch_block",
    "prefetch_vector",
    "rerank",
    "scan",
    "scan_block",
    "square_of",
]

_FIRST = 8  # blocks whose best leaf is scanned before it is decided which others are worth it
_CROWDED = np.float32(1.2)  # leaves up to this many times farther than the farthest scanned ones are counted


@bare_kernel
def choose_groups(plain, tree, work, scale, probes):
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
    if high == FAR:  # a limit that is not known yet tells nothing apart
        high = low
        for i in range(count):
            high = max(high, work.near_value[i])
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
def _share_below(value, count, limit):
    """Return the share of value[:count] that lies below a limit."""
    below = np.int32(0)
    for i in range(count):
        below += np.int32(value[i] < limit)
    return np.float32(below) / np.float32(count)


@inlined
def prefetch_block(tree, block, wanted_bytes):
    """Ask for the first bytes of a block that is scanned soon."""
    prefetch_bytes(tree.code, np.int64(block) * tree.code.shape[1], wanted_bytes)


@inlined
def _prefetch_leaf(tree, work, leaf):
    """Ask for the codes of a leaf that is scanned soon, and for its row numbers where not all are allowed."""
    block = tree.leaf_block[leaf]
    prefetch_block(tree, block, 2 * tree.code.shape[1])
    if work.allowed.size:
        prefetch_bytes(tree.row, np.int64(4) * tree.block_point[block], 128)


@inlined
def prefetch_vector(tree, work, position):
    """Ask for a vector that is compared soon."""
    dim = np.int64(work.query.size)
    if tree.half.size:
        prefetch_bytes(tree.half, 2 * dim * position, 2 * dim)
    else:
        prefetch_bytes(tree.vector, 4 * dim * position, 4 * dim)


@inlined
def _prefetch_vectors(tree, work, count):
    """Ask for the vectors and row numbers of the points kept so far."""
    for position in work.item[:count]:
        prefetch_vector(tree, work, position)
        prefetch(tree.row, np.int64(4) * position)


@inlined
def scan_block(plain, tree, work, scale, block, limit, count):
    """Append the points of a block whose scores lie below the limit; return the new count."""
    point = tree.block_point[block]
    return score_and_keep(
        plain, tree.code, tree.norm, block, work.code, scale, limit, point, work.value, work.item, count
    )


@inlined
def keep_allowed(tree, work, count, end):
    """Drop those of the points count..end whose rows are not allowed; return the new end."""
    if work.allowed.size:
        return _keep_allowed(work.value, work.item, (tree.row, work.allowed), count, end)
    return end


@bare_kernel
def _keep_allowed(value, item, rows, count, end):
    """Drop the points count..end whose rows are not allowed. ``rows``: (row, allowed)."""
    row, allowed = rows
    for i in range(count, end):
        here, position = value[i], item[i]
        value[count], item[count] = here, position
        count += np.int64(allowed[row[position]])
    return count


@inlined
def _narrow(plain, tree, work, known, count, limit, wanted, most):
    """Drop the points known..count whose rows are not allowed, and where more than ``most`` are left, all but
    about the ``wanted`` best; return the new count and limit.

    Points are asked about many at once, so that they wait for memory together: block by block took 1.3 times
    as long.
    """
    count = keep_allowed(tree, work, known, count)
    if count > most:
        return shrink(plain, work.value, work.item, count, wanted)
    return count, limit


@bare_kernel
def scan(plain, tree, work, scoring, groups, ratio, wanted, most):
    """Scan leaves nearest first; keep about the ``wanted`` best codes; return how many, their limit, and the
    crowd.

    No code is kept whose squared distance is more than ``most``, infinity where nothing is known. The nearest
    few leaves give a first limit; then come those whose distance is at most ``ratio`` times the limit's,
    until the falling limit ends it. The crowd is the share of the scored leaves within ``_CROWDED`` times
    that: large where the query is far from all points, compared with how far these are from each other.
    """
    scale, base = scoring[0], scoring[1]
    room = work.value.size - 2 * BLOCK
    enough = wanted + (wanted >> 2)
    count, known = np.int64(0), np.int64(0)
    limit = min(np.float32(0.5) * most - base, FAR)
    blocks = _score_leaves(plain, tree, work, scale, groups)
    leaves = np.int64(np.float32(1.5 * wanted) / work.per_leaf)
    first = limit_for(work.block_value, blocks, min(blocks, max(_FIRST, leaves)))
    near = _near_leaves(plain, work, blocks, first)
    for t in range(near):
        leaf = work.near_item[t]
        _prefetch_leaf(tree, work, work.near_item[min(t + 3, near - 1)])
        for block in range(tree.leaf_block[leaf], tree.leaf_block[leaf + 1]):
            count = scan_block(plain, tree, work, scale, block, limit, count)
            if count > room:
                count, limit = _narrow(plain, tree, work, known, count, limit, wanted, enough)
                known = count
    count, limit = _narrow(plain, tree, work, known, count, limit, wanted, wanted)
    known = count
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
        _prefetch_leaf(tree, work, work.leaf_item[min(t + 3, near - 1)])
        for block in range(tree.leaf_block[leaf], tree.leaf_block[leaf + 1]):
            count = scan_block(plain, tree, work, scale, block, limit, count)
            if count > room:
                count, limit = _narrow(plain, tree, work, known, count, limit, wanted, enough)
                known = count
    count, limit = _narrow(plain, tree, work, known, count, limit, wanted, enough)
    reach = min(_CROWDED * ratio * (limit + base) - base, FAR)
    return count, limit, _share_below(work.slot_value, blocks * BLOCK, reach)


@inlined
def square_of(tree, work, position):
    """Squared distance of a stored vector to the query, both as given."""
    total = np.float32(0)
    if tree.half.size:
        for j in range(work.query.size):
            apart = from_half(tree.half[position, j]) - work.query[j]
            total += apart * apart
    else:
        for j in range(work.query.size):
            apart = tree.vector[position, j] - work.query[j]
            total += apart * apart
    return total


@inlined
def rerank(tree, work, count):
    """Fill the result list with the best of the kept points by their float32 distances; return its length."""
    _prefetch_vectors(tree, work, count)
    for t in range(count):
        work.value[t] = square_of(tree, work, work.item[t])
    return sort_best(work.value, work.item, count, (work.best_value, work.best_item), work.bucket)
