"""Nearest neighbours: a KD-tree compiled with numba.

    vectors -> KDTree -> the k nearest rows of each query, as exactly as asked for
               GrowingTree: the same while rows come and go
               SomeRows: a filter over it
               RecallWatch: whether the promised recall is kept

Importing this package loads numba; ``import rtsearch`` does not.
"""

import numpy as np

from rtsearch.search.answers import Reach, Result
from rtsearch.search.growing import GrowingTree
from rtsearch.search.kdtree import KDTree
from rtsearch.search.some_rows import SomeRows
from rtsearch.search.watch import RecallWatch

__all__ = ["GrowingTree", "KDTree", "Reach", "RecallWatch", "Result", "SomeRows", "warm_up"]


def warm_up(dim: int = 64, k: int = 16) -> None:
    """Load or compile every kernel of the search, so that nothing compiles on the frame path.

    Args:
        dim: dimensions of the searches to come; others are warm too.
        k: neighbours of the searches to come.
    """
    # One row of 16 is few enough for a search among allowed rows to compare them one by one.
    tree = GrowingTree(KDTree.build(np.eye(max(dim, 16), dim, dtype=np.float32)))
    tree.add(np.ones((1, dim), np.float32))
    query = np.zeros((1, dim), np.float32)
    tree.query(query, k)
    tree.query(query, k, allowed=np.arange(tree.row_end) == 0)
