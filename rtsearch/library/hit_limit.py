"""Find the distance up to which objects are taken for the same thing, with a known share of false hits.

pairs of different things of a class -> their distances -> the distance that a hundredth of them lie within
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rtsearch.library.duplicates import usual_distance
from rtsearch.types import F32Array

__all__ = ["FALSE_HITS", "SAMPLE", "false_hits", "hit_limit"]

FALSE_HITS = 0.01
"""Share of pairs of different things that lie within the limit."""
SAMPLE = 10_000
"""Objects that tell the usual distance of two looks."""
_FEW_PAIRS = 20
_USUAL_LIMIT = 0.7  # times the usual distance of two looks, where there are fewer


def hit_limit(unlike: F32Array, looks: Callable[[], F32Array]) -> tuple[float, int]:
    """Return the largest distance of a hit, and the number of pairs that it comes from; 0 for too few.

    Of other pairs, k in n + 1 lie within the k-th nearest of n on the average, whatever their distances are.
    So the limit is the largest for which that is a hundredth, and the nearest pair for fewer than 99 pairs.

    Args:
        unlike: (n,) distances of pairs of different things of the class that is looked for.
        looks: gives the looks of some of all objects, (m, d); called where there are too few pairs.
    """
    if len(unlike) >= _FEW_PAIRS:
        within = _within(len(unlike))
        return float(np.partition(unlike, within - 1)[within - 1]), len(unlike)
    some = looks()
    return (_USUAL_LIMIT * usual_distance(some) if len(some) else 0.0), 0


def false_hits(pairs: int) -> float | None:
    """Return the share of different things within a limit that comes from so many pairs; None for none."""
    return _within(pairs) / (pairs + 1) if pairs else None


def _within(pairs: int) -> int:
    return max(1, int(FALSE_HITS * (pairs + 1)))
