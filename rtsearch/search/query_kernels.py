"""Kernels of the search that Python calls."""

from __future__ import annotations

import numpy as np

from rtsearch._util.jit import bare_kernel, inlined, kernel
from rtsearch.search.arrays import FAR, LARGEST, view
from rtsearch.search.kernels import encode_query, rotate
from rtsearch.search.near_kernels import choose_groups, prefetch_vector, rerank, scan
from rtsearch.search.scratch import cut_up, wanted_and_room
from rtsearch.search.sweep_kernels import compare, in_order, sweep

__all__ = ["SPARSE", "search", "search_listed"]

_WIDE = np.float32(1.4)  # least stop ratio where the usual one does not do
_FAR = np.float32(4)  # times the usual squared distance; what is farther is searched for exactly
SPARSE = np.float32(8)  # allowed points of a leaf; with fewer, most of all that groups hold is no use
_NOTHING_KNOWN = (np.float32(np.inf), np.float32(np.inf))


@bare_kernel
def _answer(plain, tree, work, plan, reach):
    """Fill the result list for one query; return its length, the crowd, and the new reach (see ``search``).

    What the calibration has not seen is searched for anew, among all groups; what is far beyond it, exactly.
    Where few rows are allowed that is left to the caller, who is told by a crowd of -2.
    """
    probes, ratio, usual_square, usual_crowd = plan
    k = work.best_value.size - 1
    wanted, _ = wanted_and_room(k)
    rotate(work.query, tree.centre, tree.axes, work.rotated)
    scoring = encode_query(work.rotated, tree.step[0], work.code)
    last, worst = reach
    base, found, crowd = scoring[1], 0, np.float32(0)
    for _ in range(2):
        groups = choose_groups(plain, tree, work, scoring[0], probes)
        count, limit, crowd = scan(plain, tree, work, scoring, groups, ratio, wanted, last)
        found = rerank(tree, work, count)
        if found == k:
            worst = min(worst, work.best_value[k - 1])
        if usual_square < 0 or (worst <= min(usual_square, FAR) and crowd <= usual_crowd):
            break
        if work.allowed.size and work.per_leaf < SPARSE:
            return found, np.float32(-2), last, worst
        probes, ratio = tree.group_slot.size, max(_WIDE, ratio)
    if limit < FAR:
        last = np.float32(2) * (limit + base)
    if usual_square < np.inf and worst > _FAR * usual_square:
        found, crowd = sweep(plain, tree, work, scoring, found, worst), np.float32(-1)
        if found == k:
            worst = min(worst, work.best_value[k - 1])
    return found, crowd, last, worst


@inlined
def _take_query(work, query):
    """Copy a query; False where it is not sane."""
    sane = True
    for j in range(query.size):
        work.query[j] = query[j]
        sane &= abs(query[j]) <= LARGEST
    return sane


@inlined
def _give_answer(tree, work, found, distance, row):
    """Write the result list to one line of distance and row."""
    for t in range(distance.size):
        if t < found:
            distance[t] = np.sqrt(work.best_value[t])
            row[t] = tree.row[work.best_item[t]]
        else:
            distance[t] = np.inf
            row[t] = -1


@inlined
def _answer_each(plain, tree, work, queries, plan, distance, row, crowd, reach):
    """Answer all queries; False where one is not sane."""
    for i in range(queries.shape[0]):
        if not _take_query(work, queries[i]):
            return False
        known = (reach[i, 0], reach[i, 1]) if reach.size else _NOTHING_KNOWN
        found, crowd[i], last, worst = _answer(plain, tree, work, plan, known)
        if reach.size:
            reach[i, 0], reach[i, 1] = last, worst
        _give_answer(tree, work, found, distance[i], row[i])
    return True


@inlined
def _compare_each(tree, work, queries, positions, distance, row):
    """Compare all queries with all points at some positions; False where a query is not sane."""
    for i in range(queries.shape[0]):
        if not _take_query(work, queries[i]):
            return False
        kept, worst = np.int64(0), FAR
        for t in range(positions.size):
            ahead = positions[min(t + 8, positions.size - 1)]
            prefetch_vector(tree, work, ahead)
            work.item[kept] = positions[t]
            kept, worst = compare(tree, work, kept, kept + 1, kept, worst)
        found = in_order(work, kept)
        _give_answer(tree, work, found, distance[i], row[i])
    return True


@kernel
def search(handle, plain, scratch, queries, probes, ratio, usual_square, usual_crowd, distance, row, reach):
    """Search for all queries (m, d) float32; fill distance and row (m, k).

    What is handed over costs a call 25 ns a number and 50 ns an array; hence the one piece of memory.

    Args:
        handle: see :func:`arrays.view`.
        plain: None or True, see :func:`kernels.score`.
        scratch: uint8, as many as :func:`scratch_bytes` says and 4 m more, which are filled with the crowd of
            each query (float32, see :func:`near_kernels.scan`), -1 where its answer is proved.
        queries: (m, d) float32.
        probes, ratio: groups to probe; stop ratio.
        usual_square, usual_crowd: the search goes on where the k-th distance (squared) or the crowd is
            larger; -1 proves every answer, infinity goes on nowhere.
        distance, row: (m, k) float32, int32.
        reach: (m, 2) float32, or (0, 2) where this tree is the only one: for each query the squared distances
            of the last code that is kept, and of the k-th neighbour, in the trees that were searched before,
            infinity before the first. Nothing farther is looked for; both fall with what is found.

    Returns:
        False where a query has a NaN, an infinity or a number beyond 1e15.
    """
    tree = view(handle)
    work = cut_up(handle, tree, distance.shape[1], scratch)
    plan = probes, np.float32(ratio), np.float32(usual_square), np.float32(usual_crowd)
    crowd = scratch[scratch.size - 4 * queries.shape[0] :].view(np.float32)
    return _answer_each(plain, tree, work, queries, plan, distance, row, crowd, reach)


@kernel
def search_listed(handle, scratch, queries, positions, distance, row):
    """Compare all queries with some points, one after the other; fill distance and row (m, k).

    Args:
        handle, scratch, queries, distance, row: as for :func:`search`.
        positions: (any,) int32, places of the points in ``vector``.

    Returns:
        False where a query has a NaN, an infinity or a number beyond 1e15.
    """
    tree = view(handle)
    work = cut_up(handle, tree, distance.shape[1], scratch)
    return _compare_each(tree, work, queries, positions, distance, row)
