"""GrowingTree: a KDTree that rows can be added to and removed from while it is searched.

::

    add ────────> side segment: a plain array that is compared in full
    remove ─────> marks in the tree; rows of the side segment are dropped
    search ─────> tree, then side segment
    folding ────> both become a new tree, in a thread, when the side segment has grown beyond a share of the
                  tree, or half of the tree is marks

Everything a search needs is one immutable state, and a reader takes the current one: it never waits for a
writer or for a tree that is being built. Writers wait for each other, for microseconds.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtsearch._util.jit import bare_kernel
from rtsearch.errors import VectorError
from rtsearch.search.answers import Reach, Result
from rtsearch.search.arrays import LARGEST
from rtsearch.search.input_checks import checked_allowed, checked_names, checked_vectors
from rtsearch.search.kdtree import KDTree
from rtsearch.types import F32Array, I32Array

__all__ = ["GrowingTree"]

_log = logging.getLogger(__name__)

_LEAST_FOLD = 1024  # rows; comparing with as many takes 3 us at 32 dimensions
_FOLD_SHARE = 1 / 64
_MOST_ROWS = 2**31 - 1


@dataclass(frozen=True)
class _State:
    """Snapshot of the tree that one search works on.

    Attributes:
        tree: with the marks of removed rows.
        vector: (room, d) float32; the first ``count`` rows are the side segment.
        row: (room,) int32, their row numbers.
        count: how many there are.
        next_row: number of the next row that is added.
    """

    tree: KDTree
    vector: F32Array
    row: I32Array
    count: int
    next_row: int


class GrowingTree:
    """A tree that grows; any number of threads may search it while others change it.

    Args:
        tree: what to begin with; its rows keep their numbers.
        seed: of the trees that are built later.
    """

    def __init__(self, tree: KDTree, *, seed: int = 0) -> None:
        nothing = np.empty((0, tree.dim), np.float32)
        self._state = _State(tree, nothing, np.empty(0, np.int32), 0, tree.row_end)
        self._seed = seed
        self._lock = threading.Lock()
        self._folding: threading.Thread | None = None
        self._removed_while_folding: list[int] = []

    def __reduce__(self) -> tuple[Any, tuple[_State, int]]:
        """Copies and pickles hold the rows of this moment; threads and locks stay where they are."""
        state = self._state
        vector, row = state.vector[: state.count].copy(), state.row[: state.count].copy()
        return _restored, (replace(state, vector=vector, row=row), self._seed)

    def __len__(self) -> int:
        state = self._state
        return len(state.tree) + state.count

    @property
    def side_rows(self) -> int:
        """Rows that are not in the tree yet."""
        return self._state.count

    def add(self, vectors: NDArray[Any], rows: NDArray[np.integer[Any]] | None = None) -> I32Array:
        """Add rows; return their numbers.

        Args:
            vectors: (n, d), finite numbers.
            rows: (n,) numbers of the caller's own, 0 to 2,147,483,646, none of which is there; None takes
                those that follow the largest so far.

        Raises:
            VectorError: wrong shape or dtype, NaN, infinity, numbers beyond 1e15, no row numbers left, or
                rows that are there already.
        """
        clean = checked_vectors("vectors", vectors, self._state.tree.dim)
        if not (np.abs(clean) <= LARGEST).all():
            raise VectorError("vectors: NaN, infinity or a number beyond 1e15 among them; remove those rows")
        own = None if rows is None else checked_names(rows, len(clean))
        with self._lock:
            old = self._state
            if own is None and old.next_row + len(clean) > _MOST_ROWS:
                raise VectorError(
                    "vectors: row numbers are used up; build a new tree from those that are left"
                )
            numbers = (
                np.arange(old.next_row, old.next_row + len(clean), dtype=np.int32) if own is None else own
            )
            if own is not None and (np.isin(own, old.row[: old.count]) | old.tree.holds(own)).any():
                raise VectorError("rows: some of them are in the tree already; remove those first")
            vector, row = _with_room(old, len(clean))
            # Beyond old.count no reader of the old state looks.
            vector[old.count : old.count + len(clean)] = clean
            row[old.count : old.count + len(clean)] = numbers
            count, next_row = old.count + len(clean), max(old.next_row, int(numbers.max(initial=-1)) + 1)
            self._state = replace(old, vector=vector, row=row, count=count, next_row=next_row)
            self._fold_if_due()
        return numbers

    def remove(self, rows: NDArray[np.integer[Any]]) -> None:
        """Remove rows.

        Raises:
            VectorError: a row is not there (any more); then none is removed.
        """
        gone = np.unique(np.atleast_1d(rows))
        with self._lock:
            old = self._state
            beside = np.isin(old.row[: old.count], gone)
            tree = old.tree.without(gone[~np.isin(gone, old.row[: old.count])])
            kept = np.flatnonzero(~beside)
            vector, row = old.vector[kept], old.row[kept]
            self._state = replace(old, tree=tree, vector=vector, row=row, count=len(kept))
            if self._folding is not None:
                self._removed_while_folding.extend(int(r) for r in gone)
            self._fold_if_due()

    @property
    def row_end(self) -> int:
        """Number of the next row that is added; ``allowed`` has so many places."""
        return self._state.next_row

    def query(
        self,
        queries: NDArray[Any],
        k: int,
        *,
        exact: bool = False,
        recall: float = 0.98,
        allowed: NDArray[np.bool_] | None = None,
        reach: Reach | None = None,
    ) -> tuple[F32Array, I32Array]:
        """Search like :meth:`KDTree.query`, over all rows that exist at the moment of the call."""
        result = self.search(queries, k, exact=exact, recall=recall, allowed=allowed, reach=reach)
        return result.distance, result.row

    def search(
        self,
        queries: NDArray[Any],
        k: int,
        *,
        exact: bool = False,
        recall: float = 0.98,
        allowed: NDArray[np.bool_] | None = None,
        reach: Reach | None = None,
    ) -> Result:
        """Search like :meth:`KDTree.search`, over all rows that exist at the moment of the call.

        ``allowed`` may end before rows that were added since it was made: those may not be found.
        """
        state = self._state
        clean = checked_vectors("queries", queries, state.tree.dim)
        vector, row, inside = state.vector[: state.count], state.row[: state.count], allowed
        if allowed is not None:
            mask = _lengthened(allowed, state.next_row)
            inside = mask[: state.tree.row_end]
            vector, row = vector[mask[row]], row[mask[row]]
        result = state.tree.search(clean, k, exact=exact, recall=recall, allowed=inside, reach=reach)
        if len(row) and k:
            _search_side(vector, row, clean, result.distance, result.row)
        return result

    def settle(self) -> None:
        """Wait for folding that is under way, if any."""
        thread = self._folding
        if thread is not None:
            thread.join()

    def _fold_if_due(self) -> None:
        """Start folding where it is due; the lock is held."""
        state = self._state
        crowded = state.count > max(_LEAST_FOLD, _FOLD_SHARE * len(state.tree))
        marked = state.tree.removed > max(_LEAST_FOLD, len(state.tree))
        if self._folding is None and (crowded or marked):
            self._removed_while_folding = []
            self._folding = threading.Thread(target=self._fold, args=(state,), name="fold", daemon=True)
            self._folding.start()

    def _fold(self, state: _State) -> None:
        try:
            rows, vectors = state.tree.stored()
            rows = np.concatenate([rows, state.row[: state.count]])
            vectors = np.concatenate([vectors, state.vector[: state.count]])
            # One thread: the cores belong to who is searching.
            tree = KDTree.build(vectors, seed=self._seed, threads=1).renumbered(rows)
        except Exception:
            _log.exception("folding %d rows into the tree failed; they go on being searched", state.count)
            with self._lock:
                self._folding = None
            return
        with self._lock:
            now = self._state
            gone = np.intersect1d(np.array(self._removed_while_folding, np.int32), rows)
            beside = now.row[: now.count]
            folded = np.isin(beside, state.row[: state.count]) & ~np.isin(beside, gone)
            newer = np.flatnonzero(~folded)
            tree = tree.without(gone)
            self._state = replace(
                now, tree=tree, vector=now.vector[newer], row=now.row[newer], count=len(newer)
            )
            self._folding = None
        _log.debug("folded %d rows into a tree of %d", state.count, len(tree))


def _restored(state: _State, seed: int) -> GrowingTree:
    tree = GrowingTree(state.tree, seed=seed)
    tree._state = state
    return tree


def _with_room(state: _State, more: int) -> tuple[F32Array, I32Array]:
    """Arrays with room for more rows: those of the state, or copies twice as large."""
    if state.count + more <= len(state.row):
        return state.vector, state.row
    room = 2 * (state.count + more)
    vector = np.empty((room, state.tree.dim), np.float32)
    row = np.empty(room, np.int32)
    vector[: state.count], row[: state.count] = state.vector[: state.count], state.row[: state.count]
    return vector, row


def _lengthened(allowed: NDArray[np.bool_], rows: int) -> NDArray[np.bool_]:
    """Lengthen a mask to all rows; those beyond its end are not allowed."""
    short = rows - np.size(allowed)
    if short > 0 and np.ndim(allowed) == 1:
        allowed = np.concatenate([allowed, np.zeros(short, np.bool_)])
    return checked_allowed(allowed, rows)


@bare_kernel
def _search_side(vector, row, queries, distance, out_row):  # type: ignore[no-untyped-def]
    """Insert the nearest of the side segment into answers that are sorted by distance, in place."""
    k = distance.shape[1]
    for i in range(queries.shape[0]):
        worst = distance[i, k - 1]
        for r in range(row.size):
            square = np.float32(0)
            for j in range(queries.shape[1]):
                apart = vector[r, j] - queries[i, j]
                square += apart * apart
            if square >= worst * worst:
                continue
            here = np.sqrt(square)
            place = k - 1
            while place > 0 and distance[i, place - 1] > here:
                distance[i, place] = distance[i, place - 1]
                out_row[i, place] = out_row[i, place - 1]
                place -= 1
            distance[i, place] = here
            out_row[i, place] = row[r]
            worst = distance[i, k - 1]
