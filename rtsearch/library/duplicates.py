"""Find the objects of a library that are nearly the same, so that a search can show one of them.

    rows -> the nearest of each in the tree -> within reach by their looks? -> groups, led by their first rows

Copies, re-encoded and scaled ones, frames of one moment and bursts lie within reach of each other; see
docs/explanation/search.md for the figures. Looks alone decide, whatever ``describe.meaning`` is. Two objects
of one picture are never the same, however alike.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rtsearch.search import KDTree
from rtsearch.types import F32Array, I32Array

__all__ = ["REACH", "leaders", "looks_of", "usual_distance"]

REACH = 0.15
"""Largest distance of the looks of near duplicates, as a share of the usual distance of two looks."""
_GLANCE = 4  # rows that are looked at to see whether a row has near duplicates at all
_NEIGHBOURS = 32  # rows that are looked at for one that has; larger groups need several rounds
_MOST_ROUNDS = 8
_BATCH_ROWS = 8192


def leaders(
    tree: KDTree,
    searched: F32Array,
    looks: NDArray[np.bool_],
    picture: NDArray[np.integer],
    whole: NDArray[np.bool_],
) -> I32Array:
    """Return the row that stands for each row: (n,) int32, its own number where nothing is nearly the same.

    Every row is within reach of its leader, or of one that was a leader before it joined that one.

    Args:
        tree: of the rows.
        searched: (n, d), the vectors of the tree.
        looks: (d,), dimensions that tell what an object looks like.
        picture: (n,), number of the picture that each object was seen in.
        whole: (n,), rows that stand for whole images; they are never the same as an object.
    """
    leader = np.arange(len(searched), dtype=np.int32)
    seen = looks_of(searched, looks)
    reach = REACH * usual_distance(seen)
    objects = _Objects(tree, searched, seen, reach, picture, whole)
    glance = objects.near(leader, _GLANCE)
    crowded = leader[(glance.within & (glance.others != leader[:, None])).any(1)]
    asked, among = crowded, None
    for _ in range(_MOST_ROUNDS):
        near = objects.near(asked, _NEIGHBOURS, among)
        if not _join(asked, near, leader):
            break
        leader = leader[leader]
        # There may be a leader behind the rows that have filled the list.
        asked = asked[near.within[:, -1] & (leader[asked] == asked)]
        among = crowded[leader[crowded] == crowded]
    return leader


def looks_of(searched: F32Array, looks: NDArray[np.bool_]) -> F32Array:
    """Return the dimensions of searched vectors that tell looks; all of them where these are empty."""
    return np.ascontiguousarray(searched[:, looks]) if searched[:, looks].any() else searched


def usual_distance(seen: F32Array) -> float:
    """Return the usual distance of two of many looks, (n, d): the root of the mean square over all pairs."""
    return float(np.sqrt(2 * seen.var(axis=0, dtype=np.float64).sum()))


class _Near(NamedTuple):
    """Nearest rows of some rows, (m, k) each: which are within reach, and which of these are nearly the same.

    Two objects of one picture are not, nor are an object and a whole image.
    """

    others: I32Array
    within: NDArray[np.bool_]
    alike: NDArray[np.bool_]


class _Objects(NamedTuple):
    """Objects that are compared; ``reach`` is a distance between rows of ``seen``, their looks."""

    tree: KDTree
    searched: F32Array
    seen: F32Array
    reach: float
    picture: NDArray[np.integer]
    whole: NDArray[np.bool_]

    def near(self, rows: I32Array, k: int, among: I32Array | None = None) -> _Near:
        """Return the nearest rows of some rows.

        Args:
            rows: (m,), ascending.
            k: how many.
            among: rows that are looked at; None for all.
        """
        k, tree = min(k, len(self.searched)), self.tree
        if among is not None:
            allowed = np.zeros(len(self.searched), np.bool_)
            allowed[among] = True
            tree = tree.only(allowed)
        others = np.zeros((len(rows), k), np.int32)
        within, alike = np.zeros((2, len(rows), k), np.bool_)
        for at in range(0, len(rows), _BATCH_ROWS):
            some, here = rows[at : at + _BATCH_ROWS], slice(at, at + _BATCH_ROWS)
            _, near = tree.query(self.searched[some], k)
            away = np.linalg.norm(self.seen[near] - self.seen[some][:, None], axis=2)
            others[here], within[here] = near, (away <= self.reach) & (near >= 0)
            alike[here] = within[here] & (self.picture[near] != self.picture[some][:, None])
            alike[here] &= self.whole[near] == self.whole[some][:, None]
        return _Near(others, within, alike)


def _join(rows: I32Array, near: _Near, leader: I32Array) -> int:
    """Let rows join the nearest leader before them that is nearly the same; return how many have.

    Args:
        rows: (m,) ascending; each leads itself.
        near: of these rows.
        leader: of all rows; changed in place.
    """
    others = near.others
    before = near.alike & (others < rows[:, None])
    joined = 0
    for at in np.flatnonzero(before.any(1)).tolist():
        for other in others[at, before[at]].tolist():
            if leader[other] == other:
                leader[rows[at]] = other
                joined += 1
                break
    return joined
