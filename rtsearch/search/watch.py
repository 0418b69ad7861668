"""Watch the recall of a running search: now and then a query is answered exactly too, and both compared."""

from __future__ import annotations

import logging

import numpy as np

from rtsearch.search.growing import GrowingTree
from rtsearch.search.kdtree import KDTree
from rtsearch.types import F32Array

__all__ = ["RecallWatch"]

_log = logging.getLogger(__name__)


class RecallWatch:
    """Measures a sample of the answers that a tree gives.

    Args:
        tree: that answers.
        every: one query in so many is answered exactly too.
        report: so many samples are logged together.
    """

    def __init__(self, tree: KDTree | GrowingTree, *, every: int = 1000, report: int = 100) -> None:
        self._tree = tree
        self._every = every
        self._report = report
        self._seen = 0
        self._samples = 0
        self._found = 0.0

    @property
    def recall(self) -> float:
        """Share of the true neighbours found in the samples so far; NaN before the first."""
        return self._found / self._samples if self._samples else float("nan")

    def observe(self, queries: F32Array, distance: F32Array) -> None:
        """Record queries (m, d) and the distances (m, k) they were answered with."""
        for i in range(-self._seen % self._every, len(queries), self._every):
            truth, _ = self._tree.query(queries[i : i + 1], distance.shape[1], exact=True)
            true = truth[np.isfinite(truth)]
            if true.size:
                found = (distance[i] <= true[-1] * np.float32(1 + 1e-6)).sum()
                self._found += min(1.0, float(found / true.size))
                self._samples += 1
                if self._samples % self._report == 0:
                    _log.info("recall %.3f in a sample of %d queries", self.recall, self._samples)
        self._seen += len(queries)
