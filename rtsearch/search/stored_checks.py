"""Checks of a stored tree: every place, count, order and bound that the kernels rely on.

Kernels look at no bounds. A hash finds accidents, but not a file that somebody has made up; so all that a
kernel uses as a place, or as a number that must be finite, is checked once, when the file is opened: 3 ms for
100,000 vectors of 64 dimensions, a tenth of what hashing the file takes on one core.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtsearch.search.arrays import FAR, LARGEST, MOST_DIM, PAD, TreeArrays
from rtsearch.search.calibrate import Calibration
from rtsearch.search.simd import BLOCK
from rtsearch.types import F32Array, I32Array

__all__ = ["unsound_array"]

_FAR = float(FAR)
_LARGEST = float(LARGEST)
_MOST_STEP = 2e15  # rotated coordinates are below 2e15 sqrt(1000), a step is a 63rd of them
_LEAST_STEP = 1e-18
_MOST_BLUR = 1e18
_MOST_RATIO = 1000
_MOST_K = 1 << 20
_MOST_DISTANCE = 1e17  # 2e15 sqrt(1000) is the largest; its square, and four times that, are float32


def unsound_array(tree: TreeArrays, calibration: Calibration) -> str:
    """Return the name of the first array that kernels must not be given; "" where all are sound.

    Args:
        tree: of the types and shapes that ``arrays.shapes_of`` gives.
        calibration: with arrays that fit each other.
    """
    for name, is_sound in _TREE.items():
        if not is_sound(tree):
            return name
    groups = len(tree.group_slot) - 1
    for name, fits in _CALIBRATION.items():
        if not fits(calibration, groups):
            return name
    return ""


def _within(numbers: NDArray[Any], low: float, high: float) -> bool:
    """Tell whether all numbers lie in low..high, ends included; NaN does not."""
    return numbers.size == 0 or bool(numbers.min() >= low and numbers.max() <= high)


def _rises(numbers: NDArray[Any]) -> bool:
    """Tell whether no number is less than the one before it."""
    return bool((numbers[..., 1:] >= numbers[..., :-1]).all())


def _axes(tree: TreeArrays) -> bool:
    """Tell whether the axes are no longer than 1, so that rotated coordinates stay finite."""
    d, width = tree.axes.shape
    if not (1 <= d <= MOST_DIM and width == -(-d // 8) * 8 and _within(tree.axes, -1.01, 1.01)):
        return False
    return _within(np.einsum("de,de->e", tree.axes, tree.axes), 0, 1.01)


def _rows(row: I32Array) -> bool:
    """Tell whether every row number is there once."""
    return _within(row, 0, len(row) - 1) and bool((np.bincount(row, minlength=len(row)) == 1).all())


def _halves(bits: NDArray[np.uint16]) -> bool:
    """Tell whether the bits are of finite float16, whose exponents are below 31."""
    negative, positive = bits.max(initial=0), bits.view(np.int16).max(initial=0)
    return bool(negative < 0xFC00 and positive < 0x7C00)


def _norms(norm: F32Array, least: float, padded: NDArray[np.bool_] | None = None) -> bool:
    """Tell whether norms are finite, or PAD where ``padded`` says so; None leaves it to them."""
    is_pad = norm == PAD
    if padded is not None and not np.array_equal(is_pad, padded):
        return False
    return bool((is_pad | ((norm >= least) & (norm < FAR))).all())


def _points(tree: TreeArrays) -> bool:
    """Tell whether the blocks hold all points, each one once, in order."""
    count = np.diff(tree.block_point, append=len(tree.row))
    if len(count) == 0:
        return len(tree.row) == 0
    held = tree.norm.reshape(-1, BLOCK) != PAD
    inside = np.arange(BLOCK) < count[:, None]
    return bool(tree.block_point[0] == 0 and _within(count, 1, BLOCK) and not (held & ~inside).any())


def _starts(starts: I32Array, end: int) -> bool:
    """Tell whether starts cut 0..end into pieces."""
    return len(starts) > 0 and bool(starts[0] == 0 and starts[-1] == end) and _rises(starts)


def _leaves(tree: TreeArrays) -> bool:
    """Tell whether every leaf has one slot."""
    leaf, leaves = tree.slot_leaf, len(tree.leaf_block) - 1
    return _within(leaf, -1, leaves - 1) and bool((np.bincount(leaf[leaf >= 0], minlength=leaves) == 1).all())


def _step(step: F32Array) -> bool:
    return _within(step, _LEAST_STEP, _MOST_STEP)


def _groups(tree: TreeArrays) -> bool:
    return len(tree.group_norm) >= len(tree.group_slot) - 1 and _norms(tree.group_norm, -_FAR)


def _ks(ks: I32Array) -> bool:
    """Tell whether the measured values of k begin with 1, so that every k lies between two, and ascend."""
    return _within(ks, 1, _MOST_K) and bool((ks[:1] == 1).all() and (np.diff(ks) > 0).all())


_TREE: dict[str, Callable[[TreeArrays], bool]] = {
    "centre": lambda t: _within(t.centre, -_LARGEST, _LARGEST),
    "axes": _axes,
    "vector": lambda t: _within(t.vector, -_LARGEST, _LARGEST),
    "half": lambda t: _halves(t.half),
    "row": lambda t: _rows(t.row),
    "step": lambda t: len(t.row) == 0 or _step(t.step),
    "code": lambda t: _within(t.code, 0, 127),
    "slot_code": lambda t: _within(t.slot_code, 0, 127),
    "group_code": lambda t: _within(t.group_code, 0, 127),
    "norm": lambda t: _norms(t.norm, 0),
    "front_norm": lambda t: _norms(t.front_norm, 0),
    "blur": lambda t: _within(t.blur, 0, _MOST_BLUR),
    "block_point": _points,
    "leaf_block": lambda t: _starts(t.leaf_block, len(t.code)),
    "slot_leaf": _leaves,
    "slot_norm": lambda t: _norms(t.slot_norm, -_FAR, t.slot_leaf < 0),
    "group_slot": lambda t: _starts(t.group_slot, len(t.slot_code)),
    "group_norm": _groups,
}

_CALIBRATION: dict[str, Callable[[Calibration, int], bool]] = {
    "ks": lambda c, _: _ks(c.ks),
    "probes": lambda c, groups: _within(c.probes, 1, groups) and _rises(c.probes),
    "ratio": lambda c, _: _within(c.ratio, 0, _MOST_RATIO) and _rises(c.ratio),
    "recall": lambda c, _: _within(c.recall, -1, 1) and _rises(c.recall),
    "usual_distance": lambda c, _: _within(c.usual_distance, 0, _MOST_DISTANCE),
    "usual_crowd": lambda c, _: _within(c.usual_crowd, 0, 1),
}
