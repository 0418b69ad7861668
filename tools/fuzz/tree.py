"""Fuzz a stored tree: what the checks let pass, a search must answer without a crash.

    python tools/fuzz/tree.py [--array NAME] [libFuzzer options, e.g. -max_total_time=60]

Each input changes bytes of some arrays of a small tree, or of the named one only, and three queries follow.
A row that is not there, an exception or a crash of the process ends the run; libFuzzer keeps the input.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtsearch.search import KDTree
from rtsearch.search.arrays import TreeArrays
from rtsearch.search.calibrate import Calibration
from rtsearch.search.stored_checks import unsound_array

POINTS, DIM = 600, 20
MOST_CHANGES = 8
# Numbers that only luck would find: NaN, infinities, the ends of int32, the kernels' own limits.
NUMBERS = np.array([np.nan, np.inf, -np.inf, -1, 1e15, 1e37, 1e38], np.float32).view(np.int32).tolist()
NUMBERS += [-1, -(2**31), 2**31 - 1, 0]


class Target:
    """One tree, of which every input changes a copy.

    Args:
        only: name of the array that is changed; "" for any.
    """

    def __init__(self, only: str) -> None:
        rng = np.random.default_rng(0)
        points = (rng.normal(size=(POINTS, DIM)) * np.exp(-np.arange(DIM) / 8)).astype(np.float32)
        tree = KDTree.build(points, leaf_size=1)
        self._arrays: dict[str, NDArray[Any]] = {**tree._arrays._asdict(), **tree._calibration._asdict()}
        self._names = [only] if only else list(self._arrays)
        self._queries = points[:3]
        if only and only not in self._arrays:
            sys.exit(f"a tree has no array {only}; there are: {', '.join(self._arrays)}")

    def __call__(self, data: Any) -> None:
        """Change the tree as ``data`` (an atheris.FuzzedDataProvider) says, and search it."""
        arrays = dict(self._arrays)
        for _ in range(data.ConsumeIntInRange(1, MOST_CHANGES)):
            name = self._names[data.ConsumeIntInRange(0, len(self._names) - 1)]
            arrays[name] = arrays[name].copy()
            flat = arrays[name].reshape(-1).view(np.uint8 if arrays[name].itemsize == 1 else np.int32)
            place = data.ConsumeIntInRange(0, flat.size - 1)
            if flat.itemsize == 1:
                flat[place] = data.ConsumeIntInRange(0, 255)
            elif data.ConsumeBool():
                flat[place] = NUMBERS[data.ConsumeIntInRange(0, len(NUMBERS) - 1)]
            else:
                flat[place] = data.ConsumeIntInRange(-(2**31), 2**31 - 1)
        tree = TreeArrays(**{name: arrays[name] for name in TreeArrays._fields})
        calibration = Calibration(**{name: arrays[name] for name in Calibration._fields})
        if not unsound_array(tree, calibration):
            self._search(KDTree(tree, calibration))

    def _search(self, tree: KDTree) -> None:
        for k, exact in ((16, False), (16, True), (100, False)):
            row = tree.query(self._queries, k, exact=exact)[1]
            if row.min() < -1 or row.max() >= POINTS:
                raise AssertionError(f"rows that are not there, at k = {k}, exact = {exact}")


def main() -> None:
    try:
        import atheris
    except ImportError:
        sys.exit("fuzzing needs atheris, which is no dependency of rtsearch: pip install atheris")
    arguments, only = sys.argv[:], ""
    if "--array" in arguments:
        at = arguments.index("--array")
        only = arguments[at + 1] if at + 1 < len(arguments) else "--array"
        del arguments[at : at + 2]
    target = Target(only)
    atheris.Setup(arguments, lambda data: target(atheris.FuzzedDataProvider(data)))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
