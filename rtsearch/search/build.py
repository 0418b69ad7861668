"""Build a tree: rotate, split, tighten, group, fill.

    rotate    to principal directions; distances stay the same, the first coordinates carry most of them
    split     at the median of the widest dimension down to leaves of ``leaf_size`` points (Bentley 1975)
    tighten   a few passes of Lloyd's algorithm (1982) in which a point looks only at the leaves near its own
    group     the same once more on the leaves' means
    fill      7-bit codes in blocks of 16, boxes

Nothing depends on the number of threads: each leaf is worked on by one thread, all random choices are seeded.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rtsearch.search import build_kernels as kernels
from rtsearch.search.arrays import SIZES, TreeArrays, allocate
from rtsearch.search.simd import BLOCK
from rtsearch.types import F32Array, I32Array, I64Array

__all__ = ["build_arrays"]

_PASSES = 2  # Lloyd passes over the points; none doubles the search time, a third saves 3 % of it
_NEAR = 64  # leaves that a point may move to
_NEAR_GROUPS = 16
_SAMPLE = 20_000  # points from which directions and code width are estimated
_HEAVY = 3  # times the 99th percentile of the widest dimension that codes reach at most; Gaussians need 1.35
_FEW_LEAVES = 1024  # so few are scored as fast as the groups to be left out are found
_PARTS = 16  # shares of work handed to the threads
_TOP_DEPTH = 3  # levels split before the threads take over

Work = Callable[[int, int], None]


class _Top(NamedTuple):
    """The leaves' means and the groups above them, as in TreeArrays."""

    slot_leaf: I32Array
    slot_code: np.ndarray
    slot_norm: F32Array
    group_slot: I32Array
    group_code: np.ndarray
    group_norm: F32Array


class _Frame(NamedTuple):
    """Rotation and step in which points are coded, as in TreeArrays."""

    centre: F32Array
    axes: F32Array
    step: np.float32


def build_arrays(
    vectors: NDArray[np.floating[Any]],
    held: I64Array,
    leaf_size: int,
    seed: int,
    threads: int,
    plain: bool | None,
) -> TreeArrays:
    """Build the arrays of a tree.

    Args:
        vectors: (n, d) float32 or float16, and stored as such; finite, C-contiguous, n > 0.
        held: rows that are stored but have no part in where the leaves lie, so that they can test the tree.
        leaf_size: points per leaf before tightening.
        seed: of the sample that directions are estimated from.
        threads: that share the work.
        plain: None for the processor's instructions, True for loops.
    """
    with ThreadPoolExecutor(threads) as pool:
        return _Builder(vectors, held, leaf_size, seed, pool, plain).build()


class _Builder:
    """One build; holds what its steps share."""

    def __init__(
        self,
        vectors: NDArray[np.floating[Any]],
        held: I64Array,
        leaf_size: int,
        seed: int,
        pool: ThreadPoolExecutor,
        plain: bool | None,
    ) -> None:
        self.vectors = vectors
        self.held = np.zeros(len(vectors), np.bool_)
        self.held[held] = True
        self.leaf_size = leaf_size
        self.rng = np.random.default_rng(seed)
        self.pool = pool
        self.plain = plain

    def build(self) -> TreeArrays:
        centre, axes = self._directions()
        n = len(self.vectors)
        rotated = np.empty((n, axes.shape[1]), np.float32)
        self._share(lambda a, b: kernels.rotate_rows(self._floats(a, b), centre, axes, rotated[a:b]), n)
        sample = np.abs(rotated[:: max(1, n // _SAMPLE)])
        tail, bulk = np.percentile(sample, 99.95), np.percentile(sample[::8], 99, axis=0).max()
        step = np.float32(max(float(min(tail, _HEAVY * bulk)), 1e-15) / 63)

        base, starts = self._split(rotated, self.leaf_size)
        # Points in the order of the leaves: what follows reads memory from one end to the other.
        kernels.put_in_order(rotated, base)
        self.held = self.held[base]
        order = np.arange(n, dtype=np.int32)
        mean = np.zeros((len(starts) - 1, axes.shape[1]), np.float32)
        self._means(rotated, order, starts, mean)
        for _ in range(_PASSES if len(mean) > 1 else 0):
            self._tighten(rotated, order, starts, mean, step, self._group(mean, step, 1))
        kept = np.diff(starts) > 0
        starts = np.append(starts[:-1][kept], n)
        top = self._group(mean[kept], step, 3)
        tree = self._fill(rotated, order, starts, top, base, _Frame(centre, axes, step))
        self._store(tree)
        return tree

    def _share(self, work: Work, count: int) -> None:
        """Run work(first, last) over 0..count, in the threads where there is enough of it."""
        if count < 2 * _PARTS:
            work(0, count)
            return
        edges = np.linspace(0, count, _PARTS + 1).astype(int)
        list(self.pool.map(work, edges[:-1], edges[1:]))

    def _floats(self, first: int, last: int) -> F32Array:
        """Return the vectors first..last as float32."""
        return self.vectors[first:last].astype(np.float32, copy=False)

    def _directions(self) -> tuple[F32Array, F32Array]:
        """Median and principal directions, the widest first, padded to a multiple of 8 columns."""
        n, d = self.vectors.shape
        rows = np.arange(n) if n <= _SAMPLE else np.sort(self.rng.choice(n, _SAMPLE, replace=False))
        sample = self.vectors[rows].astype(np.float32, copy=False)
        # The median stays put when a few vectors lie far out; a mean would leave the others coarse floats.
        centre = np.median(sample, axis=0).astype(np.float32)
        apart = sample.astype(np.float64) - centre
        _, directions = np.linalg.eigh(apart.T @ apart / n)
        axes = np.zeros((d, -(-d // 8) * 8), np.float32)
        axes[:, :d] = directions[:, ::-1]
        return centre, axes

    def _split(self, points: F32Array, leaf_size: int) -> tuple[I32Array, I64Array]:
        n = len(points)
        order = np.arange(n, dtype=np.int32)
        edges = np.empty(1 << _TOP_DEPTH, np.int64)
        count = kernels.split(points, order, 0, n, leaf_size, _TOP_DEPTH, edges)
        edges = np.append(edges[:count], n)

        def below(low: int, high: int) -> I64Array:
            starts = np.empty((high - low) // leaf_size + 2, np.int64)
            return starts[: kernels.split(points, order, low, high, leaf_size, 64, starts)]

        parts = list(self.pool.map(below, edges[:-1], edges[1:]))
        return order, np.concatenate([*parts, [n]]).astype(np.int64)

    def _means(self, points: F32Array, order: I32Array, starts: I64Array, mean: F32Array) -> None:
        skipped = self.held if len(points) == len(self.held) else np.zeros(len(points), np.bool_)
        self._share(lambda a, b: kernels.means(points, order, starts, skipped, mean, a, b), len(mean))

    def _tighten(
        self, points: F32Array, order: I32Array, starts: I64Array, mean: F32Array, step: np.float32, top: _Top
    ) -> None:
        """Move each point to the nearest leaf near its own; order, starts and mean are brought up to date."""
        leaves = len(mean)
        near = np.empty((leaves, _NEAR), np.int32)
        probes = min(_NEAR_GROUPS, len(top.group_slot) - 1)
        new = np.empty(len(points), np.int32)

        def work(a: int, b: int) -> None:
            kernels.near_leaves(self.plain, mean, step, top, probes, near, a, b)
            kernels.tighten(self.plain, points, order, starts, mean, step, near, new, a, b)

        self._share(work, leaves)
        kernels.sort_by_leaf(new, order, starts)
        self._means(points, order, starts, mean)

    def _group(self, mean: F32Array, step: np.float32, passes: int) -> _Top:
        """Split the leaves' means into groups and tighten those; every mean may move to every group."""
        leaves = len(mean)
        size = leaves if leaves <= _FEW_LEAVES and passes > 1 else max(8, int(0.35 * np.sqrt(leaves)))
        order, starts = self._split(mean, size)
        centre = np.zeros((len(starts) - 1, mean.shape[1]), np.float32)
        self._means(mean, order, starts, centre)
        groups = len(centre)
        everywhere = np.tile(np.arange(groups, dtype=np.int32), (1, 1))
        new = np.empty(leaves, np.int32)
        for _ in range(passes if groups > 1 else 0):
            near = np.broadcast_to(everywhere, (groups, groups))
            kernels_near = np.ascontiguousarray(near)

            def work(a: int, b: int, near: I32Array = kernels_near, starts: I64Array = starts) -> None:
                kernels.tighten(self.plain, mean, order, starts, centre, step, near, new, a, b)

            self._share(work, groups)
            kernels.sort_by_leaf(new, order, starts)
            self._means(mean, order, starts, centre)
        kept = np.diff(starts) > 0
        return self._top(mean, order, np.append(starts[:-1][kept], leaves), centre[kept], step)

    def _top(
        self, mean: F32Array, order: I32Array, starts: I64Array, centre: F32Array, step: np.float32
    ) -> _Top:
        """Lay leaves and groups out in blocks of slots; each group begins a block."""
        count = np.diff(starts)
        group_slot = np.append(0, np.cumsum(-(-count // BLOCK))).astype(np.int32)
        slot_leaf = np.full(group_slot[-1] * BLOCK, -1, np.int32)
        first = np.repeat(group_slot[:-1] * BLOCK - starts[:-1], count)
        slot_leaf[first + np.arange(len(order))] = order
        group_of = np.full(-(-len(centre) // BLOCK) * BLOCK, -1, np.int32)
        group_of[: len(centre)] = np.arange(len(centre))
        blocks = []
        for points, slots in ((mean, slot_leaf), (centre, group_of)):
            code = np.empty((len(slots) // BLOCK, BLOCK * mean.shape[1]), np.uint8)
            norm = np.empty(len(slots), np.float32)
            kernels.fill_means(points, slots, step, code, norm)
            blocks.append((code, norm))
        return _Top(slot_leaf, *blocks[0], group_slot, *blocks[1])

    def _fill(
        self,
        rotated: F32Array,
        order: I32Array,
        starts: I64Array,
        top: _Top,
        base: I32Array,
        frame: _Frame,
    ) -> TreeArrays:
        """Renumber the leaves in the order of the groups and write all arrays but the points."""
        centre, axes, step = frame
        ranked = top.slot_leaf[top.slot_leaf >= 0]
        count = np.diff(starts)[ranked]
        new_starts = np.append(0, np.cumsum(count))
        order = order[np.repeat(starts[:-1][ranked] - new_starts[:-1], count) + np.arange(len(order))]
        leaf_block = np.append(0, np.cumsum(-(-count // BLOCK))).astype(np.int32)
        n, d = self.vectors.shape
        halves = n if self.vectors.dtype == np.float16 else 0
        counts = [n, halves, d, axes.shape[1], int(leaf_block[-1]), len(ranked)]
        counts += [len(top.slot_code), len(top.group_slot) - 1, len(top.group_code)]
        tree = allocate(dict(zip(SIZES, counts, strict=True)))
        tree.row[:] = base[order]
        known = {"centre": centre, "axes": axes, "step": step, "leaf_block": leaf_block, **top._asdict()}
        for name, array in known.items():
            getattr(tree, name)[:] = array
        slots = np.flatnonzero(top.slot_leaf >= 0)
        tree.slot_leaf[slots] = np.arange(len(slots))
        tree.lower[:], tree.upper[:] = 255, 0

        def work(a: int, b: int) -> None:
            kernels.fill_leaves(rotated, order, new_starts, slots, tree, a, b)

        self._share(work, len(ranked))
        return tree

    def _store(self, tree: TreeArrays) -> None:
        """Write the points in the order of the leaves."""
        stored = tree.given

        def work(a: int, b: int) -> None:
            np.take(self.vectors, tree.row[a:b], axis=0, out=stored[a:b], mode="clip")

        self._share(work, len(stored))
