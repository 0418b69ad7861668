"""Fuzz stored trees: what the checks let pass, a search must answer without a crash.

Each input changes bytes of some arrays of a small tree, of float32 or of float16 numbers, and three queries
follow. A row that is not there is an error, as an exception is.
"""

from __future__ import annotations

import random
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtsearch.search import KDTree
from rtsearch.search.arrays import TreeArrays
from rtsearch.search.calibrate import Calibration
from rtsearch.search.stored_checks import unsound_array

__all__ = ["Target"]

_POINTS, _DIM = 600, 20
_MOST_CHANGES = 8
_CHANGE = struct.Struct("<BIBi")  # array, place in it, number of NUMBERS or 255 for the value, value
# Numbers that only luck would find: NaN, infinities, the ends of int32, the kernels' own limits.
_NUMBERS = np.array([np.nan, np.inf, -np.inf, -1, 1e15, 1e37, 1e38], np.float32).view(np.int32).tolist()
_NUMBERS += [-1, -(2**31), 2**31 - 1, 0]
_BITS = {1: np.uint8, 2: np.uint16, 4: np.int32, 8: np.int32}


class Target:
    """Two trees, of one of which every input changes a copy."""

    most_bytes = _MOST_CHANGES * _CHANGE.size

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        points = (rng.normal(size=(_POINTS, _DIM)) * np.exp(-np.arange(_DIM) / 8)).astype(np.float32)
        self._trees = [_arrays_of(points), _arrays_of(points.astype(np.float16))]
        self._queries = points[:3]
        changes = [_CHANGE.pack(array, 1, array, 0) for array in range(len(self._trees[0]))]
        self.seeds = [change * times for change in changes for times in (1, 2)]

    @staticmethod
    def mutate(data: bytes, most_bytes: int, seed: int) -> bytes:
        """Return a few changes, made anew: the search is compiled, so no input is known to be better."""
        rng = random.Random(seed)
        count = rng.randint(1, most_bytes // _CHANGE.size)
        kinds = (*range(len(_NUMBERS)), 255)
        changes = ((rng.randrange(256), rng.getrandbits(32), rng.choice(kinds)) for _ in range(count))
        return b"".join(_CHANGE.pack(*change, rng.randint(-(2**31), 2**31 - 1)) for change in changes)

    def __call__(self, data: bytes) -> None:
        changes = len(data) // _CHANGE.size
        arrays = dict(self._trees[changes % 2])
        names = [name for name, array in arrays.items() if array.size]
        whole = data[: changes * _CHANGE.size]
        for array, place, number, value in _CHANGE.iter_unpack(whole):
            name = names[array % len(names)]
            arrays[name] = arrays[name].copy()
            flat = arrays[name].reshape(-1).view(_BITS[arrays[name].itemsize])
            chosen = value if number == 255 else _NUMBERS[number % len(_NUMBERS)]
            flat[place % flat.size] = np.int64(chosen).astype(flat.dtype)  # of small numbers the lowest bits
        tree = TreeArrays(**{name: arrays[name] for name in TreeArrays._fields})
        calibration = Calibration(**{name: arrays[name] for name in Calibration._fields})
        if not unsound_array(tree, calibration):
            self._search(KDTree(tree, calibration))

    def _search(self, tree: KDTree) -> None:
        for k, exact in ((16, False), (16, True), (100, False)):
            row = tree.query(self._queries, k, exact=exact)[1]
            if row.min() < -1 or row.max() >= _POINTS:
                raise AssertionError(f"rows that are not there, at k = {k}, exact = {exact}")


def _arrays_of(points: NDArray[Any]) -> dict[str, NDArray[Any]]:
    tree = KDTree.build(points, leaf_size=1)
    return {**tree._arrays._asdict(), **tree._calibration._asdict()}
