"""Crops of the library that is shown, and of its state before while frames on their way still show that."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
from cachetools import LRUCache

from rtsearch.library import Library
from rtsearch.library.index import SearchIndex
from rtsearch.library.thumbnails import ThumbCache
from rtsearch.render.time_marks import TimeMarks

__all__ = ["LibraryCrops"]

_STATES = 2
_DRIFTING = 160  # crops that drift through bands without an object


class LibraryCrops:
    """Keeps a cache of crops for the state of the library that is shown, and for the one before.

    Args:
        cache_bytes: most memory for the decoded pictures of each.
        font: of the times on crops of films, "" for the built-in one.
        beside: gives the JPEG of a row that is a memory's; None where there is no memory.
    """

    def __init__(
        self, cache_bytes: int, font: str, beside: Callable[[int], bytes | None] | None = None
    ) -> None:
        self._beside = beside
        self._cache_bytes = cache_bytes
        self._font = font
        self._lock = threading.Lock()
        self._caches: LRUCache[Library, ThumbCache] = LRUCache(_STATES)
        self._drifting: LRUCache[Library, tuple[int, ...]] = LRUCache(_STATES)

    def of(self, index: SearchIndex) -> ThumbCache:
        """Return the crops of an index, whatever it is narrowed to."""
        with self._lock:
            cache = self._caches.get(index.library)
            if cache is None:
                marks = TimeMarks(index, self._font)
                cache = ThumbCache(index.thumb_places, self._cache_bytes, marks.draw, self._beside)
                self._caches[index.library] = cache
            return cache

    def drifting(self, index: SearchIndex) -> tuple[int, ...]:
        """Return random rows that searches find, the same ones every time."""
        with self._lock:
            if index.library not in self._drifting:
                rows = index.findable()
                count = min(_DRIFTING, len(rows))
                chosen = np.random.default_rng(0).choice(rows, count, replace=False)
                self._drifting[index.library] = tuple(chosen.tolist())
            return self._drifting[index.library]

    def forget(self, first: int) -> None:
        """Let go of the pictures of rows from ``first`` on: their marks say something else by now."""
        with self._lock:
            for cache in self._caches.values():
                cache.forget(first)

    def close(self) -> None:
        """Let go of pictures and packs."""
        with self._lock:
            for cache in self._caches.values():
                cache.close()
