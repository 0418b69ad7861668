"""Small kernels that both building and searching use: codes, scores, selection, sorting."""

from __future__ import annotations

import numpy as np

from rtsearch._util.jit import bare_kernel, inlined
from rtsearch.search.arrays import FAR, PAD
from rtsearch.search.simd import (
    BLOCK,
    FRONT,
    any_below,
    box_block,
    keep_below,
    prefetch,
    score_block,
    score_keep,
)

__all__ = [
    "ROUNDING",
    "base_of",
    "box_distances",
    "clear_lane",
    "encode_place",
    "encode_point",
    "encode_query",
    "insert",
    "keep",
    "limit_for",
    "plain_score_block",
    "prefetch_bytes",
    "rotate",
    "score",
    "score_and_keep",
    "select",
    "shrink",
    "some_below",
    "sort_best",
]

ROUNDING = np.float32(2.0**-22)  # relative error of one rotated coordinate, per dimension, with room to spare
_MANY = 256  # values; counting the places of more takes longer than selecting and sorting them


@inlined
def prefetch_bytes(array, start, length):
    """Ask for so many bytes of an array, from byte ``start`` on."""
    for offset in range(start, start + length, 64):
        prefetch(array, offset)


@bare_kernel
def rotate(vector, centre, axes, out):
    """out = (vector - centre) @ axes. All float32; vector (d,), axes (d, w), out (w,)."""
    out[:] = np.float32(0)
    fours = vector.size // 4 * 4
    for j in range(0, fours, 4):  # four at a time, so that sums wait for memory a quarter as often
        a, b = vector[j] - centre[j], vector[j + 1] - centre[j + 1]
        c, d = vector[j + 2] - centre[j + 2], vector[j + 3] - centre[j + 3]
        for e in range(out.size):
            out[e] += (a * axes[j, e] + b * axes[j + 1, e]) + (c * axes[j + 2, e] + d * axes[j + 3, e])
    for j in range(fours, vector.size):
        a = vector[j] - centre[j]
        for e in range(out.size):
            out[e] += a * axes[j, e]


@bare_kernel
def base_of(code, step, scale):
    """Return the terms that turn a code's scores into half squared distances, and their float32 rounding.

    See :func:`encode_query`.
    """
    total, squares = np.int32(0), np.int32(0)
    for e in range(code.size):
        value = np.int32(code[e])
        total += value
        squares += value * value
    width = scale / step
    offset = np.float32(64) * scale * np.float32(total)
    length = width * width * np.float32(squares)
    return offset + np.float32(0.5) * length, np.float32(2e-6) * (abs(offset) + length)


@bare_kernel
def encode_query(rotated, step, code):
    """Write the query's signed 8-bit code; return (scale, base, slack, noise).

    With s = norm - scale * dot(point code, query code), the squared distance between decoded point and
    decoded query is 2 (s + base), but for the rounding of float32, at most ``noise``. The query itself is at
    most ``slack`` away from its decoded code.
    """
    largest = np.float32(1e-30)
    for e in range(rotated.size):
        largest = max(largest, abs(rotated[e]))
    width = largest / np.float32(127)
    inverse = np.float32(127) / largest
    length = np.float32(0)
    error = np.float32(0)
    for e in range(rotated.size):
        value = np.int32(np.floor(rotated[e] * inverse + np.float32(0.5)))
        value = min(max(value, np.int32(-127)), np.int32(127))
        code[e] = value
        decoded = np.float32(value) * width
        length += decoded * decoded
        error += (rotated[e] - decoded) * (rotated[e] - decoded)
    scale = step * width
    base, noise = base_of(code, step, scale)
    slack = np.sqrt(error) + ROUNDING * np.float32(rotated.size) * np.sqrt(length)
    return scale, base, slack, noise


@bare_kernel
def encode_place(rotated, step, code):
    """Write the query's unsigned 8-bit code on the grid of the boxes; return how far it is from the query."""
    inverse = np.float32(1) / step
    error = np.float32(0)
    length = np.float32(0)
    for e in range(rotated.size):
        value = np.floor(rotated[e] * inverse + np.float32(128.5))
        value = min(max(value, np.float32(0)), np.float32(255))
        code[e] = np.uint8(value)
        apart = rotated[e] - (value - np.float32(128)) * step
        error += apart * apart
        length += rotated[e] * rotated[e]
    return np.sqrt(error) + ROUNDING * np.float32(rotated.size) * np.sqrt(length)


@bare_kernel
def encode_point(rotated, step, code, block, lane):
    """Write one point's 7-bit code into its block; return half the squared length of the decoded point, of
    its first FRONT coordinates, and the squared distance from the point.
    """
    inverse = np.float32(1) / step
    length, front = np.float32(0), np.float32(0)
    error = np.float32(0)
    for e in range(rotated.size):
        value = np.floor(rotated[e] * inverse + np.float32(64.5))
        value = min(max(value, np.float32(0)), np.float32(127))
        code[block, (e >> 2) * 4 * BLOCK + 4 * lane + (e & 3)] = np.uint8(value)
        decoded = (value - np.float32(64)) * step
        length += decoded * decoded
        error += (rotated[e] - decoded) * (rotated[e] - decoded)
        if e == FRONT - 1:
            front = length
    return np.float32(0.5) * length, np.float32(0.5) * front, error


@bare_kernel
def clear_lane(code, norm, block, lane):
    """Make a slot hold no point."""
    norm[block * BLOCK + lane] = PAD
    for e in range(code.shape[1] // BLOCK):
        code[block, (e >> 2) * 4 * BLOCK + 4 * lane + (e & 3)] = np.uint8(64)


@bare_kernel
def plain_score_block(code, norm, block, query, scale, out, at):
    """Score a block like :func:`simd.score_block`, in plain loops, for other processors."""
    least = PAD
    for lane in range(BLOCK):
        dot = np.int32(0)
        for e in range(query.size):
            dot += np.int32(code[block, (e >> 2) * 4 * BLOCK + 4 * lane + (e & 3)]) * np.int32(query[e])
        value = norm[block * BLOCK + lane] - scale * np.float32(dot)
        out[at + lane] = value
        least = min(least, value)
    return least


@inlined
def box_distances(plain, lower, upper, block, query, out, at):
    """Squared distances, in codes, of the query from the boxes of a block; see :func:`simd.box_block`."""
    if plain is None:
        box_block(lower, upper, block, query, out, at)
    else:
        for lane in range(BLOCK):
            total = np.int64(0)
            for e in range(query.size):
                place = (e >> 2) * 4 * BLOCK + 4 * lane + (e & 3)
                below = np.int64(lower[block, place]) - np.int64(query[e])
                above = np.int64(query[e]) - np.int64(upper[block, place])
                gap = min(max(below, above, np.int64(0)), np.int64(127))
                total += gap * gap
            out[at + lane] = np.float32(total)


@inlined
def score(plain, code, norm, block, query, scale, out, at):
    """Score one block. numba compiles one branch only: ``plain`` is None (instructions) or True (loops)."""
    if plain is None:
        return score_block(code, norm, block, query, scale, out, at)
    else:  # noqa: RET505 - numba prunes a branch, not the code after one
        return plain_score_block(code, norm, block, query, scale, out, at)


@inlined
def some_below(plain, code, norm, block, query, scale, limit, out):
    """Return 1 if a score of the block lies below the limit, else 0; ``out`` has room for 16 scores."""
    if plain is None:
        return any_below(code, norm, block, query, scale, limit)
    else:  # noqa: RET505
        return np.int64(plain_score_block(code, norm, block, query, scale, out, 0) < limit)


@inlined
def score_and_keep(plain, code, norm, block, query, scale, limit, point, value, item, count):
    """Score one block and append what lies below the limit; see :func:`simd.score_keep`."""
    if plain is None:
        return score_keep(code, norm, block, query, scale, limit, point, value, item, count)
    else:  # noqa: RET505
        plain_score_block(code, norm, block, query, scale, value, count)
        kept = count
        for lane in range(BLOCK):
            value[kept] = value[count + lane]
            item[kept] = point + lane
            kept += np.int64(value[count + lane] < limit)
        return kept


@inlined
def keep(plain, value, item, at, limit, to_value, to_item, count):
    """Append those of value[at:at + 16] that lie below the limit; see :func:`simd.keep_below`."""
    if plain is None:
        return keep_below(value, item, at, limit, to_value, to_item, count)
    else:  # noqa: RET505
        for lane in range(BLOCK):
            below = value[at + lane] < limit
            to_value[count] = value[at + lane]
            to_item[count] = item[at + lane]
            count += np.int64(below)
        return count


@bare_kernel
def limit_for(value, count, wanted):
    """A limit below which lie at least ``wanted`` of value[:count], and not many more; by bisection.

    Quickselect took three times as long: its branches cannot be foreseen, these counts need none.
    """
    low = FAR
    for i in range(count):
        low = min(low, value[i])
    high = low
    for i in range(count):
        high = max(high, value[i] if value[i] < FAR else low)
    high += abs(high) * np.float32(1e-6) + np.float32(1e-30)
    most = wanted + (wanted >> 2)
    for _ in range(60):
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


@bare_kernel
def shrink(plain, value, item, count, wanted):
    """Keep about the ``wanted`` smallest values; return how many, and the limit that they lie below."""
    limit = limit_for(value, count, wanted)
    value[count : (count + BLOCK - 1) // BLOCK * BLOCK] = PAD
    kept = 0
    for at in range(0, count, BLOCK):
        kept = keep(plain, value, item, at, limit, value, item, kept)
    # Bisection cannot part equal values.
    return min(kept, 2 * wanted), limit


@bare_kernel
def select(value, item, low, high, kth):
    """Reorder value[low:high], and item with it, so that position kth holds what sorting would put there.

    Hoare's quickselect with the median of three as pivot.
    """
    while high - low > 1:
        first, middle, last = value[low], value[(low + high) >> 1], value[high - 1]
        pivot = max(min(first, middle), min(max(first, middle), last))
        i = low
        j = high - 1
        while i <= j:
            while value[i] < pivot:
                i += 1
            while value[j] > pivot:
                j -= 1
            if i <= j:
                value[i], value[j] = value[j], value[i]
                item[i], item[j] = item[j], item[i]
                i += 1
                j -= 1
        if kth <= j:
            high = j + 1
        elif kth >= i:
            low = i
        else:
            return


@bare_kernel
def insert(value, item, count, room, new_value, new_item):
    """Insert into a list sorted by (value, item) that holds at most ``room``; return its new length."""
    if count < room:
        place = count
        count += 1
    else:
        place = room - 1
        if value[place] < new_value or (value[place] == new_value and item[place] < new_item):
            return count
    while place > 0 and (
        value[place - 1] > new_value or (value[place - 1] == new_value and item[place - 1] > new_item)
    ):
        value[place] = value[place - 1]
        item[place] = item[place - 1]
        place -= 1
    value[place] = new_value
    item[place] = new_item
    return count


@bare_kernel
def sort_best(value, item, count, best, bucket):
    """Write the smallest of value[:count], ascending, to the best; return how many.

    Few are ordered by (value, item): the place of each is the number of those before it. That takes count *
    count comparisons, but 16 at a time, and no branch that cannot be foreseen: re-ranking 35 for 16 took half
    the time of insertion. Many are selected and sorted by their bits, equal ones in any order.

    Args:
        value, item: not negative, with room up to the next multiple of 16; left in disorder.
        best: (value, item), (k + 1,) each, of which the last place holds anything afterwards.
        bucket: (65,) int32 to work in.
    """
    best_value, best_item = best
    k = best_value.size - 1
    if count > _MANY:
        if count > k:
            select(value, item, 0, count, k)
        count = min(count, k)
        _sort_by_bits(value, item, count, best, bucket)
        return count
    end = (count + BLOCK - 1) // BLOCK * BLOCK
    value[count:end] = PAD
    for i in range(count):
        here, mine = value[i], item[i]
        place = np.int32(0)
        for j in range(end):
            place += np.int32((value[j] < here) | ((value[j] == here) & (item[j] < mine)))
        place = min(place, np.int32(k))
        best_value[place], best_item[place] = here, mine
    return min(count, k)


@bare_kernel
def _sort_by_bits(value, item, count, best, bucket):
    """Sort value[:count], and item with it, into the best: radix sort, six bits of the float at a time."""
    best_value, best_item = best
    for i in range(count):
        best_value[i], best_item[i] = value[i], item[i]
    for shift in range(0, 36, 12):  # an even number of passes ends where it began
        _scatter(best_value, best_item, value, item, count, shift, bucket)
        _scatter(value, item, best_value, best_item, count, shift + 6, bucket)


@bare_kernel
def _scatter(value, item, to_value, to_item, count, shift, bucket):
    """Order by six bits of the values, from bit ``shift`` on; equal ones keep their order."""
    bits = value.view(np.uint32)
    bucket[:] = 0
    for i in range(count):
        bucket[((bits[i] >> np.uint32(shift)) & np.uint32(63)) + 1] += 1
    for b in range(64):
        bucket[b + 1] += bucket[b]
    for i in range(count):
        mine = (bits[i] >> np.uint32(shift)) & np.uint32(63)
        place = bucket[mine]
        bucket[mine] = place + 1
        to_value[place], to_item[place] = value[i], item[i]
