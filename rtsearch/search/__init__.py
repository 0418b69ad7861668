"""Nearest neighbours: a KD-tree compiled with numba.

Importing this package loads numba; ``import rtsearch`` does not.
"""

from rtsearch.search.kdtree import KDTree

__all__ = ["KDTree"]
