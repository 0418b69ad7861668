"""Answer for a library: its state, the nearest rows of points, facts about rows, and crops.

The state that is in force and those before it are kept, so that a client can go on with the one that it knows
until it turns to the newer one.
"""

from __future__ import annotations

import hashlib
import json
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from cachetools import LRUCache

from rtsearch import __version__
from rtsearch.config import SearchSettings
from rtsearch.errors import ServiceError
from rtsearch.library.likeness import largest_distance
from rtsearch.library.narrowing import narrow_by
from rtsearch.library.search_index import Narrowed, SearchIndex
from rtsearch.library.thumbnails import ThumbCache
from rtsearch.service.facts import facts_of
from rtsearch.service.protocol import FORMAT, MOST_K, MOST_QUERIES, Answer
from rtsearch.types import F32Array, I32Array, Neighbours

__all__ = ["Answers", "Searches", "StateGoneError", "name_of"]

_STATES = 3
_NARROWED = 16  # of a state, that are kept


class StateGoneError(ServiceError):
    """The state of the library that is asked for is not kept any more."""


class Searches(Protocol):
    """Search of an index of this machine; ``shards.ShardSearch`` asks others."""

    def __call__(
        self, index: SearchIndex, points: F32Array, k: int, how: SearchSettings
    ) -> tuple[Neighbours, tuple[int, ...]]:
        """Return the k nearest of each point, and the numbers of shards that are missing."""
        ...


@dataclass
class _State:
    index: SearchIndex
    thumbs: ThumbCache
    narrowed: LRUCache[Narrowed, SearchIndex] = field(default_factory=lambda: LRUCache(_NARROWED))


class Answers:
    """Answers for a library; safe to use from several threads.

    Args:
        index: gives the index in force, and the settings that shape it as JSON.
        search: searches an index.
    """

    def __init__(self, index: Callable[[], tuple[SearchIndex, str]], search: Searches | None = None) -> None:
        self._index = index
        self._search = search_here if search is None else search
        self._lock = threading.Lock()
        self._states: LRUCache[str, _State] = LRUCache(_STATES)
        # Index and settings, and what was told of them.
        self._told: tuple[SearchIndex, str, dict[str, Any]] | None = None

    def about(self) -> dict[str, Any]:
        """Return what a client has to know before it asks, as JSON values.

        Clients ask every other second, so what was told of an index is kept.
        """
        index, shape = self._index()
        whole, told = index.whole, self._told
        if told is None or told[0] is not whole or told[1] != shape:
            told = self._told = whole, shape, self._about(whole, shape)
        return told[2]

    def _about(self, whole: SearchIndex, shape: str) -> dict[str, Any]:
        most = largest_distance(whole)
        return {
            "format": FORMAT,
            "version": __version__,
            "state": self._keep(whole),
            "objects": len(whole),
            "dim": whole.dim,
            "alike_within": most if math.isfinite(most) else None,
            "labels": whole.label_counts(),
            "settings": json.loads(shape),
            "manifest": whole.library.manifest.model_dump(mode="json"),
            "most": {"points": MOST_QUERIES, "k": MOST_K},
        }

    def projection(self, name: str) -> bytes:
        """Return the projection of a state: its matrix, then its offset, float32."""
        projection = self._state(name).index.projection
        return np.vstack([projection.matrix, projection.offset]).astype("<f4").tobytes()

    def index(self, name: str, by: Narrowed) -> SearchIndex:
        """Return the index of a state, narrowed.

        Raises:
            StateGoneError: the state is not kept any more.
            ConfigError: a class or folder that there is not, or nothing is left to be found.
        """
        state = self._state(name)
        with self._lock:
            narrowed = state.narrowed.get(by)
        if narrowed is None:
            narrowed = narrow_by(state.index, by)
            with self._lock:
                state.narrowed[by] = narrowed
        return narrowed

    def near(self, index: SearchIndex, points: F32Array, k: int, how: SearchSettings) -> Answer:
        """Return the k nearest rows of points, (n, dim), and the facts about them."""
        near, missing = self._search(index, points, min(k, len(index)), how)
        return Answer(near, facts_of(index, np.unique(near.row[near.row >= 0])), missing)

    def rows(self, index: SearchIndex, rows: I32Array) -> Answer:
        """Return the facts about rows, each once."""
        nothing = Neighbours(np.zeros((0, 0), np.int32), np.zeros((0, 0), np.float32))
        return Answer(nothing, facts_of(index, rows))

    def crop(self, name: str, row: int) -> bytes | None:
        """Return the stored JPEG of a row; None where it is damaged or missing."""
        return self._state(name).thumbs.jpeg(row)

    def close(self) -> None:
        """Let go of files."""
        with self._lock:
            for state in self._states.values():
                state.thumbs.close()
            self._states.clear()

    def _keep(self, whole: SearchIndex) -> str:
        """Keep a state, and return its name."""
        name = name_of(whole)
        with self._lock:
            if name not in self._states:
                self._states[name] = _State(whole, ThumbCache(whole.thumb_places, 0))
        return name

    def _state(self, name: str) -> _State:
        with self._lock:
            state = self._states.get(name)
        # A client may know it from before this server began.
        if state is None and self._keep(self._index()[0].whole) == name:
            with self._lock:
                state = self._states.get(name)
        if state is None:
            raise StateGoneError("the library has changed; ask /api/index for its state")
        return state


def search_here(
    index: SearchIndex, points: F32Array, k: int, how: SearchSettings
) -> tuple[Neighbours, tuple[int, ...]]:
    """Search an index of this machine; see ``Searches``."""
    return index.near(points, k, exact=how.exact, recall=how.recall), ()


def name_of(index: SearchIndex) -> str:
    """Return the name of an index: of its library's state and its projection."""
    projection = index.projection
    shape = hashlib.sha256(projection.matrix.tobytes() + projection.offset.tobytes()).hexdigest()
    return f"{index.library.state}-{shape[:8]}"
