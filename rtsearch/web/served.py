"""Libraries as the server shows them: the state in force, and the one before, which pages may still show."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from rtsearch.library.index import SearchIndex
from rtsearch.library.thumbnails import ThumbCache
from rtsearch.types import class_name

__all__ = ["ServedLibraries", "ServedLibrary"]

_KEPT = 2


@dataclass(frozen=True)
class ServedLibrary:
    """State of the library: an index of it, and its crops as they are stored."""

    index: SearchIndex
    thumbs: ThumbCache

    @cached_property
    def class_counts(self) -> dict[str, int]:
        """Number of objects of each class that there are any of, the most frequent first."""
        pairs = sorted(((count, label) for label, count in self.index.label_counts().items()), reverse=True)
        return {class_name(self.index.library.space.class_names, label): count for count, label in pairs}


class ServedLibraries:
    """Keeps the newest states of a library; safe to use from several threads.

    Args:
        cache_bytes: most memory for the decoded crops of each.
        beside: gives the JPEG of a row that is a memory's; None where there is no memory.
    """

    def __init__(self, cache_bytes: int, beside: Callable[[int], bytes | None] | None = None) -> None:
        self._beside = beside
        self._cache_bytes = cache_bytes
        self._lock = threading.Lock()
        self._kept: tuple[ServedLibrary, ...] = ()  # the newest first

    def now(self, index: SearchIndex) -> ServedLibrary:
        """Return the state of the library that an index in force is of."""
        with self._lock:
            if not self._kept or self._kept[0].index.library is not index.library:
                thumbs = ThumbCache(index.thumb_places, self._cache_bytes, beside=self._beside)
                self._kept = (ServedLibrary(index, thumbs), *self._kept)[:_KEPT]
            return self._kept[0]

    def named(self, fingerprint: str) -> ServedLibrary | None:
        """Return the state of a name, None where it is not kept any more."""
        kept = self._kept
        return next((each for each in kept if each.index.library.state == fingerprint), None)

    def close(self) -> None:
        """Let go of crops and files."""
        for each in self._kept:
            each.thumbs.close()
