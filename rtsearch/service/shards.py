"""Part the rows of an index into shards, search all of them at once, and merge what they find.

    rows -> shard of each near-duplicate group -> a tree per shard
    points -> all shards, each for its share of the k nearest -> the nearest of these, and who was missing

A group of near duplicates stays in one shard, so it is found once, as in one tree. Groups are dealt out as if
at random, so of the k nearest a shard holds some k / N. It is asked for a few more: k would make it look
among strangers, which takes far longer. Where all that it gives are among the k nearest, it may have more of
them, and is asked for k of its own. So exact stays exact, and the whole reaches the recall that is asked.
"""

from __future__ import annotations

import contextlib
import math
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
    "UnknownMaskError",
    "ask_all",
    "mask_of",
    "shard_numbers",
]

DEADLINE_S = 1.0
"""Time for all shards to answer; frames wait for it."""

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # Fibonacci hashing: neighbouring numbers land far apart
_DEVIATIONS = 4.0  # above the mean; a shard that holds more of the nearest is asked twice
_NARROWED = 8  # trees of a shard that are kept, each with marks of its own

Mask = NDArray[np.uint8]
"""Bits of the rows that a shard's searches find, in the order of its rows; see ``mask_of``."""


class NoShardError(ServiceError):
    """No shard of a library has answered."""


class UnknownMaskError(ServiceError):
    """A shard does not know yet which rows a narrowing leaves."""


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

    def near(self, question: Question, mask: Mask | None = None) -> Neighbours:
        """Return the nearest rows of each point; -1 and inf where the shard has fewer.

        Args:
            question: what is wanted.
            mask: of the rows that may be found; kept for later questions with the same narrowing.

        Raises:
            UnknownMaskError: there is none, and the shard has kept none for this narrowing.
        """
        tree: KDTree | SomeRows = self._narrowed_tree(question.key, mask) if question.key else self._tree
        n, k = len(question.points), question.k
        if not len(tree):
            return nearest_of([], n, k)
        distance, place = tree.query(question.points, k, exact=question.exact, recall=question.recall)
        row = np.where(place >= 0, self._rows[np.maximum(place, 0)], np.int32(-1))
        return Neighbours(row.astype(np.int32), distance)

    def _narrowed_tree(self, key: str, mask: Mask | None) -> SomeRows:
        with self._lock:
            tree = self._narrowed.get(key)
        if tree is None:
            if mask is None:
                raise UnknownMaskError("the shard does not know this narrowing")
            tree = SomeRows(self._tree, np.unpackbits(mask, count=len(self)).astype(np.bool_))
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
    few = _share(k, len(shards))
    question = Question(points, few, how.exact, how.recall, _key(index.narrowed_by))
    found = _answered(shards, index, dict.fromkeys(range(len(shards)), question), until_s)
    if not found:
        raise NoShardError(f"none of {len(shards)} shards answers within {deadline_s:g} s")
    near = nearest_of(list(found.values()), len(points), k)
    missing = set(range(len(shards))) - found.keys()
    if few < k and (further := _not_exhausted(found, near)):
        asked = {number: question._replace(points=points[some], k=k) for number, some in further.items()}
        more = _answered(shards, index, asked, until_s)
        for number, answer in more.items():
            found[number] = _with_more(found[number], further[number], answer)
        near = nearest_of(list(found.values()), len(points), k)
        missing |= asked.keys() - more.keys()
    return _filled(near, k), tuple(sorted(missing))


def _share(k: int, shards: int) -> int:
    """Return how many of the k nearest a shard holds at most, but for one time in thousands."""
    mean = k / shards
    return min(k, math.ceil(mean + _DEVIATIONS * math.sqrt(mean * (1 - 1 / shards))))


def _answered(
    shards: Shards, index: SearchIndex, questions: dict[int, Question], until_s: float
) -> dict[int, Neighbours]:
    """Ask some shards at once; return the answers of those that give one in time."""
    waiting = {number: shards.ask(number, question, index) for number, question in questions.items()}
    found = {}
    for number, wait in waiting.items():
        with contextlib.suppress(TimeoutError, ServiceError):
            found[number] = wait(max(0.0, until_s - time.monotonic()))
    return found


def _not_exhausted(found: dict[int, Neighbours], near: Neighbours) -> dict[int, I32Array]:
    """Return the points for which a shard may have more of the nearest: all that it gave are among them."""
    further = {}
    for number, answer in found.items():
        full = (answer.row[:, -1] >= 0) & (answer.distance[:, -1] <= near.distance[:, -1])
        if full.any():
            further[number] = np.flatnonzero(full).astype(np.int32)
    return further


def _with_more(first: Neighbours, some: I32Array, more: Neighbours) -> Neighbours:
    """Return an answer with those for some of its points replaced by longer ones."""
    longer = _filled(first, more.row.shape[1])
    longer.row[some], longer.distance[some] = more.row, more.distance
    return longer


def _filled(near: Neighbours, k: int) -> Neighbours:
    """Return a copy of an answer, filled up to k columns."""
    n, there = near.row.shape
    row, distance = np.full((n, k), -1, np.int32), np.full((n, k), np.inf, np.float32)
    row[:, :there], distance[:, :there] = near.row, near.distance
    return Neighbours(row, distance)


def _key(by: Narrowed | None) -> str:
    """Return the name of a narrowing; "" where it leaves all rows."""
    return "" if by is None or by == Narrowed() else repr(tuple(by))
