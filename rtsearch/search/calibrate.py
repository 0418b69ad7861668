"""Calibrate the search effort for a promised recall, once, on the tree itself, when it is built.

Some vectors, which have no part in where the leaves lie, serve as queries, each left out of its own answer.
For every effort, from a glance to nearly everything, the share of true neighbours that is found is measured
at a few values of k. A query takes the least effort whose measured recall, less the uncertainty of the
measurement, keeps the promise at the values of k on both sides of its own; where none does, it is exact.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from rtsearch.types import F32Array, I32Array, I64Array

__all__ = ["EXACT", "Calibration", "Effort", "calibrate", "held_out"]

_KS = (1, 5, 16, 100)
_RATIOS = (0.5, 0.75, 0.95, 1.15, 1.4, 1.8, 2.5, 3.5)
_LEAVES = 350  # leaves whose groups are probed at ratio 1
_QUERIES = 512
_SMALL_K = 16
_LARGE_K_QUERIES = 256  # beyond _SMALL_K a query costs more and tells more
_MOST_ASKED = 0.999
_CAUTION = 1.0  # standard errors taken off a measured recall


class Effort(NamedTuple):
    """Search effort.

    Attributes:
        probes: groups whose leaves are considered.
        ratio: stop at the first leaf this many times farther away (squared) than the worst point kept.
        exact: go on until the answer is proved.
    """

    probes: int
    ratio: np.float32
    exact: bool


EXACT = Effort(64, np.float32(1.0), True)
Search = Callable[[F32Array, int, Effort], F32Array]


class Calibration(NamedTuple):
    """Measured recall of each effort.

    Attributes:
        ks: (a,) int32, values of k, ascending.
        probes: (b,) int32, and ratio: (b,) float32: the efforts, ascending.
        recall: (a, b) float32, what each is sure to find, never falling along b.
    """

    ks: I32Array
    probes: I32Array
    ratio: F32Array
    recall: F32Array

    def effort(self, k: int, recall: float) -> Effort:
        """The least effort that keeps the promise at k; EXACT where none does.

        Recall rises ever more slowly with effort, so a straight line between two efforts promises too little.
        """
        if len(self.ks) == 0 or k > 2 * self.ks[-1]:
            return EXACT
        above = int(np.searchsorted(self.ks, k))
        below = above if above < len(self.ks) and self.ks[above] == k else above - 1
        levels = [_crossing(row, recall) for row in self.recall[max(below, 0) : above + 1]]
        level = max(levels)
        if level > len(self.ratio) - 1:
            return EXACT
        places = np.arange(len(self.ratio))
        probes = int(np.ceil(np.interp(level, places, self.probes)))
        return Effort(probes, np.float32(np.interp(level, places, self.ratio)), False)


def _crossing(curve: F32Array, recall: float) -> float:
    """Return the point where a rising curve reaches the recall, in steps of its points; inf if never."""
    enough = np.flatnonzero(curve >= recall)
    if len(enough) == 0:
        return np.inf
    right = int(enough[0])
    if right == 0:
        return 0.0
    low, high = float(curve[right - 1]), float(curve[right])
    return right - 1 + (recall - low) / (high - low)


def held_out(n: int, seed: int) -> I64Array:
    """Rows of n to measure with."""
    return np.sort(np.random.default_rng(seed).choice(n, min(n // 16, _QUERIES), replace=False))


def calibrate(queries: F32Array, n: int, groups: int, leaves: int, search: Search) -> Calibration:
    """Measure a tree of n points through ``search(queries, k, effort)``; queries are points of it."""
    ks = [k for k in _KS if 16 * k <= n]
    efforts = []
    for ratio in _RATIOS:
        share = min(1.0, _LEAVES * ratio**3 / leaves)
        efforts.append(Effort(min(groups, max(4, round(share * groups))), np.float32(ratio), False))
    recall = np.zeros((len(ks), len(efforts)), np.float32)
    truth = _truth(queries, ks, search) if ks else queries
    for a, k in enumerate(ks):
        some = queries[: _LARGE_K_QUERIES if k > _SMALL_K else None]
        # The query itself comes first, at distance 0, and does not count.
        worst = truth[: len(some), k : k + 1] * np.float32(1 + 1e-6)
        for b, effort in enumerate(efforts):
            found = search(some, k + 1, effort)
            share_found = (found[:, 1:] <= worst).mean(axis=1)
            recall[a, b:] = share_found.mean() - _CAUTION * share_found.std() / np.sqrt(len(some))
            if recall[a, b] > _MOST_ASKED:
                break
    return Calibration(
        np.array(ks, np.int32),
        np.array([e.probes for e in efforts], np.int32),
        np.array([e.ratio for e in efforts], np.float32),
        np.maximum.accumulate(recall, axis=1),
    )


def _truth(queries: F32Array, ks: list[int], search: Search) -> F32Array:
    """Exact distances, as many as the largest k needs; only the first queries are asked for many."""
    truth = np.full((len(queries), ks[-1] + 1), np.inf, np.float32)
    truth[:_LARGE_K_QUERIES] = search(queries[:_LARGE_K_QUERIES], ks[-1] + 1, EXACT)
    few = max(k for k in ks if k <= _SMALL_K) + 1
    truth[_LARGE_K_QUERIES:, :few] = search(queries[_LARGE_K_QUERIES:], few, EXACT)
    return truth
