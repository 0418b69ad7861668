"""Part the rows of an index into shards, search all of them at once, and merge what they find.

    rows -> shard of each near-duplicate group -> a tree per shard
    points -> all shards, each for its k nearest -> the k nearest of these, and who was missing

A group of near duplicates stays in one shard, so it is found once, as in one tree. Groups are dealt out as if
at random: of the k nearest a shard holds some k / N, and is asked for k of its own. These rank first in it,
where a search with a recall misses least, so the whole reaches the recall that is asked. Exact stays exact.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray

from rtsearch.config import SearchSettings
from rtsearch.errors import ServiceError
from rtsearch.library.search_index import Narrowed, SearchIndex
from rtsearch.search import KDTree, SomeRows
from rtsearch.search.answers import nearest_of
from rtsearch.search.projection import stored_points
from rtsearch.types import F32Array, I32Array, Neighbours

__all__ = [
    "DEADLINE_S",
    "Mask",
    "NoShardError",
    "Question",
    "Shard",
    "Shards",
    "ask_all",
    "mask_of",
    "shard_numbers",
]

DEADLINE_S = 1.0
"""Time for all shards to answer; frames wait for it."""

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # Fibonacci hashing: neighbouring numbers land far apart
_NARROWED = 8  # trees of a shard that are kept, each with marks of its own

Mask = NDArray[np.uint8]
"""Bits of the rows that a shard's searches find, in the order of its rows; see ``mask_of``."""


class NoShardError(ServiceError):
    """No shard of a library has answered."""


class Question(NamedTuple):
    """Question to a shard.

    Attributes:
        points: (n, dim) float32.
        k: nearest rows of each that are wanted.
        exact, recall: as in ``search``.
        key: names the narrowing; "" for all rows.
    """

    points: F32Array
    k: int
    exact: bool
    recall: float
    key: str = ""


def shard_numbers(leaders: I32Array, count: int) -> I32Array:
    """Return the number of the shard of each row, (n,) int32 from 0.

    Args:
        leaders: (n,), the row that stands for each row's near duplicates.
        count: number of shards.
    """
    mixed = (leaders.astype(np.uint64) * _GOLDEN) >> np.uint64(32)
    return (mixed % np.uint64(count)).astype(np.int32)


class Shard:
    """Tree over some rows of an index; any number of threads may ask.

    Args:
        tree: over the shard's vectors, in their order.
        rows: (n,) int32, number in the index of each.
    """

    def __init__(self, tree: KDTree, rows: I32Array) -> None:
        self._tree = tree
        self._rows = rows
        self._lock = threading.Lock()
        self._narrowed: LRUCache[str, SomeRows] = LRUCache(_NARROWED)

    @classmethod
    def of(cls, index: SearchIndex, rows: I32Array) -> Shard:
        """Build the shard of some rows of an index."""
        return cls(KDTree.build(stored_points(index.points(rows))), rows)

    def __reduce__(self) -> tuple[type[Shard], tuple[KDTree, I32Array]]:
        """Copies and pickles hold the arrays; what is narrowed is one process's."""
        return type(self), (self._tree, self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def warm_up(self) -> None:
        """Load what the first question needs."""
        if len(self._tree):
            self._tree.query(np.zeros((1, self._tree.dim), np.float32), 1)

    def near(self, question: Question, mask: Callable[[], Mask]) -> Neighbours:
        """Return the nearest rows of each point; -1 and inf where the shard has fewer.

        Args:
            question: what is wanted.
            mask: gives the rows that may be found, where the shard does not know this narrowing yet.
        """
        tree: KDTree | SomeRows = self._tree if not question.key else self._narrowed_tree(question.key, mask)
        n, k = len(question.points), question.k
        if not len(tree):
            return nearest_of([], n, k)
        distance, place = tree.query(question.points, k, exact=question.exact, recall=question.recall)
        row = np.where(place >= 0, self._rows[np.maximum(place, 0)], np.int32(-1))
        return Neighbours(row.astype(np.int32), distance)

    def _narrowed_tree(self, key: str, mask: Callable[[], Mask]) -> SomeRows:
        with self._lock:
            tree = self._narrowed.get(key)
        if tree is None:
            tree = SomeRows(self._tree, np.unpackbits(mask(), count=len(self)).astype(np.bool_))
            with self._lock:
                self._narrowed[key] = tree
        return tree


def mask_of(index: SearchIndex, rows: I32Array) -> Mask:
    """Return which rows of a shard the searches of a narrowed index find, as bits."""
    given = index.given
    return np.packbits(np.ones(len(rows), np.bool_) if given is None else given[rows])


class Shards(Protocol):
    """Shards of one index, wherever they are."""

    def __len__(self) -> int: ...

    def ask(self, number: int, question: Question, index: SearchIndex) -> Callable[[float], Neighbours]:
        """Ask a shard; return what waits for its answer.

        Args:
            number: of the shard, from 0.
            question: what is wanted.
            index: narrowed as the search is.

        Returns:
            a function of the longest time to wait, s; it raises a TimeoutError, or a ServiceError where the
            shard is lost.
        """
        ...


def ask_all(
    shards: Shards, index: SearchIndex, points: F32Array, k: int, how: SearchSettings, deadline_s: float
) -> tuple[Neighbours, tuple[int, ...]]:
    """Return the k nearest rows of each point in all shards, and the numbers of those that are missing.

    Args:
        shards: of the index.
        index: narrowed as the search is.
        points: (n, dim) float32.
        k: nearest rows of each.
        how: exactly, or with which recall.
        deadline_s: longest time for all of them.

    Raises:
        NoShardError: none of them has answered.
    """
    until_s = time.monotonic() + deadline_s
    question = Question(points, k, how.exact, how.recall, _key(index.narrowed_by))
    waiting = [shards.ask(number, question, index) for number in range(len(shards))]
    found: list[Neighbours] = []
    missing = []
    for number, wait in enumerate(waiting):
        try:
            found.append(wait(max(0.0, until_s - time.monotonic())))
        except (TimeoutError, ServiceError):
            missing.append(number)
    if not found:
        raise NoShardError(f"none of {len(shards)} shards answers within {deadline_s:g} s")
    return nearest_of(found, len(points), k), tuple(missing)


def _key(by: Narrowed | None) -> str:
    """Return the name of a narrowing; "" where it leaves all rows."""
    return "" if by is None or by == Narrowed() else repr(tuple(by))
