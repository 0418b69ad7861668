"""Calibrate the search effort for a promised recall, once, on the tree itself, when it is built.

Some vectors, which have no part in where the leaves lie, serve as queries, each left out of its own answer.
For every effort, from a glance to nearly everything, the share of true neighbours that is found is measured
at a few values of k. A query takes the least effort whose measured recall, less the uncertainty of the
measurement, keeps the promise at the values of k on both sides of its own; where none does, it is exact.

That holds for queries like the stored vectors. What is usual for those is stored too: how far the k-th
neighbour is, and how large a share of the leaves is hardly farther than those that were scanned (the crowd).
With more than the usual of either the search goes on, among all groups; twice as far, until it is exact.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from rtsearch.types import F32Array, I32Array, I64Array

__all__ = [
    "EXACT",
    "NOTHING_MEASURED",
    "Calibration",
    "Effort",
    "Search",
    "calibrate",
    "held_out",
    "narrowed",
]

_KS = (1, 5, 16, 100, 400)
_RATIOS = (0.5, 0.75, 0.95, 1.15, 1.4, 1.8, 2.5, 3.5)
_LEAVES = 350  # leaves whose groups are probed at ratio 1
_QUERIES = 512
_SMALL_K = 16
_LARGE_K_QUERIES = {100: 256, 400: 64}  # a query costs more and tells more
_MOST_ASKED = 0.999
_CAUTION = 1.0  # standard errors taken off a measured recall
_USUAL = 0.98  # share of the measured queries that a usual distance, or a usual crowd, lets through


class Effort(NamedTuple):
    """Search effort.

    Attributes:
        probes: groups whose leaves are considered.
        ratio: stop at the first leaf this many times farther away (squared) than the worst point kept.
        usual_square: where the k-th distance, squared, is larger, the search goes on; -1: all are exact.
        usual_crowd: so it does where the crowd is larger.
    """

    probes: int
    ratio: float
    usual_square: float
    usual_crowd: float


EXACT = Effort(64, 1.0, -1.0, 1.0)
Search = Callable[[F32Array, int, Effort], tuple[F32Array, F32Array]]


class Calibration(NamedTuple):
    """Measured recall of each effort.

    Attributes:
        ks: (a,) int32, values of k, ascending.
        probes: (b,) int32, and ratio: (b,) float32: the efforts, ascending.
        recall: (a, b) float32, what each is sure to find, never falling along b.
        usual_distance: (a,) float32, how far the k-th neighbour usually is at most.
        usual_crowd: (a, b) float32, how large the crowd usually is at most.
    """

    ks: I32Array
    probes: I32Array
    ratio: F32Array
    recall: F32Array
    usual_distance: F32Array
    usual_crowd: F32Array

    @property
    def most_k(self) -> int:
        """The largest k that was measured; 1 where none was."""
        return int(self.ks[-1]) if len(self.ks) else 1

    def effort(self, k: int, recall: float) -> Effort:
        """The least effort that keeps the promise at k; EXACT where none does.

        Recall rises ever more slowly with effort, so a straight line between two efforts promises too little.
        """
        if k > self.most_k or len(self.ks) == 0:
            return EXACT
        above = int(np.searchsorted(self.ks, k))
        below = above if self.ks[above] == k else above - 1
        level = max(_crossing(row, recall) for row in self.recall[below : above + 1])
        if level > len(self.ratio) - 1:
            return EXACT
        places, ks = np.arange(len(self.ratio)), np.log(self.ks)
        crowds = [np.interp(level, places, row) for row in self.usual_crowd]
        return Effort(
            int(np.ceil(np.interp(level, places, self.probes))),
            float(np.interp(level, places, self.ratio)),
            float(np.interp(np.log(k), ks, self.usual_distance)) ** 2,
            float(np.interp(np.log(k), ks, crowds)),
        )


_NONE, _TABLE = np.zeros(0, np.float32), np.zeros((0, 0), np.float32)
NOTHING_MEASURED = Calibration(np.zeros(0, np.int32), np.zeros(0, np.int32), _NONE, _TABLE, _NONE, _TABLE)


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
    """Measure a tree of n points through ``search(queries, k, effort)``; queries are points of it.

    ``search`` gives distances (m, k) and the crowd of each query (m,), -1 where its answer is exact.
    """
    ks = [k for k in _KS if 16 * k <= n]
    probes = []
    for ratio in _RATIOS:
        share = min(1.0, _LEAVES * ratio**3 / leaves)
        probes.append(min(groups, max(4, round(share * groups))))
    efforts = np.array(probes, np.int32), np.array(_RATIOS, np.float32)
    return Calibration(np.array(ks, np.int32), *efforts, *_measured(queries, ks, efforts, search))


def narrowed(of: Calibration, share: float, queries: F32Array, n: int, search: Search) -> Calibration:
    """Measure a tree again whose searches find n of its points, a share of those that were measured before.

    Other points of it serve as queries, since what is looked for among some rows may be unlike all of these.
    Recall is the lesser of theirs and the one of before. The k-th neighbour is as usual as one farther back
    was before, or as theirs.
    """
    ks = [k for k in (_SMALL_K, 1) if 16 * k <= n and k in of.ks][:1]
    if not ks:
        return of
    recall, distance, crowd = _measured(queries, ks, (of.probes, of.ratio), search)
    back = np.log(of.ks / share)
    usual = np.interp(back, np.log(of.ks), of.usual_distance).astype(np.float32)
    crowds = [np.interp(back, np.log(of.ks), row) for row in of.usual_crowd.T]
    before = usual[list(of.ks).index(ks[0])]
    farther = distance[0] / before if 0 < before < distance[0] else np.float32(1)
    return of._replace(
        recall=np.minimum(of.recall, recall),
        usual_distance=usual * farther,
        usual_crowd=np.maximum(np.stack(crowds, axis=1), crowd).astype(np.float32),
    )


def _measured(
    queries: F32Array, ks: list[int], efforts: tuple[I32Array, F32Array], search: Search
) -> tuple[F32Array, F32Array, F32Array]:
    """Recall, usual distance and usual crowd, as in a Calibration."""
    probes, ratios = efforts
    recall = np.zeros((len(ks), len(ratios)), np.float32)
    usual_crowd = np.zeros((len(ks), len(ratios)), np.float32)
    usual_distance = np.zeros(len(ks), np.float32)
    truth = _truth(queries, ks, search)
    for a, k in enumerate(ks):
        some = queries[: _LARGE_K_QUERIES.get(k)]
        # The query itself comes first, at distance 0, and does not count.
        worst = truth[: len(some), k : k + 1] * np.float32(1 + 1e-6)
        usual_distance[a] = _usual(worst[:, 0])
        for b, effort in enumerate(zip(probes.tolist(), ratios.tolist(), strict=True)):
            found, crowd = search(some, k + 1, Effort(*effort, np.inf, 1.0))
            usual_crowd[a, b:] = _usual(crowd)
            share_found = (found[:, 1:] <= worst).mean(axis=1)
            recall[a, b:] = share_found.mean() - _CAUTION * share_found.std() / np.sqrt(len(some))
            if recall[a, b] > _MOST_ASKED:
                break
    return np.maximum.accumulate(recall, axis=1), usual_distance, usual_crowd


def _usual(values: F32Array) -> float:
    """Return what all but a few of the values do not exceed; np.quantile takes ten times as long."""
    place = int(_USUAL * (len(values) - 1))
    return float(np.partition(values, place)[place])


def _truth(queries: F32Array, ks: list[int], search: Search) -> F32Array:
    """Exact distances; only the first queries are asked for many."""
    truth = np.full((len(queries), max(ks, default=0) + 1), np.inf, np.float32)
    for k in ks:
        if k in _LARGE_K_QUERIES or k == max(k for k in ks if k <= _SMALL_K):
            some = slice(0, _LARGE_K_QUERIES.get(k))
            truth[some, : k + 1] = search(queries[some], k + 1, EXACT)[0]
    return truth
