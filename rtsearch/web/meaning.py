"""Open the index of another ``describe.meaning`` beside the one that is searched, and swap them."""

from __future__ import annotations

import logging
import threading

from cachetools import LRUCache

from rtsearch.config import Settings
from rtsearch.errors import RtsearchError
from rtsearch.library import Library
from rtsearch.library.index import SearchIndex, open_index
from rtsearch.library.likeness import largest_distance
from rtsearch.library.narrowing import narrow
from rtsearch.live import Controls

__all__ = ["Meaning"]

_log = logging.getLogger(__name__)

_MOST_OPENED = 4  # indexes that are kept open


class Meaning:
    """The meaning that is searched, and the one that is wanted; safe to use from several threads.

    Args:
        settings: of the start.
        index: of the start.
        controls: get the other index when it is there; frames go on meanwhile.
    """

    def __init__(self, settings: Settings, index: SearchIndex, controls: Controls) -> None:
        self._library = index.library
        self._controls = controls
        self._lock = threading.Lock()
        self._wanted = self._in_force = settings
        self._opened: LRUCache[float, SearchIndex] = LRUCache(_MOST_OPENED)
        self._opened[settings.describe.meaning] = index
        self._opening = False

    @property
    def wanted(self) -> float:
        """Value that was asked for last; the one that is searched where that could not be opened."""
        return self._wanted.describe.meaning

    @property
    def in_force(self) -> Settings:
        """Settings whose index is searched."""
        return self._in_force

    @property
    def opening(self) -> bool:
        """Tell whether an index is being opened."""
        return self._opening

    def want(self, settings: Settings) -> None:
        """Search with these settings as soon as their index is open."""
        with self._lock:
            if settings.describe.meaning == self.wanted:
                return
            self._wanted = settings
            if not self._opening:
                threading.Thread(target=self._open, name="index", daemon=True).start()
                self._opening = True

    def turn_to(self, index: SearchIndex) -> None:
        """Search a newer state of the library, whose index has the meaning that is wanted."""
        with self._lock:
            self._library = index.library
            self._opened.clear()
            if not self._opening:
                self._opened[self.wanted] = index
            self._controls.change(index=index)

    def _open(self) -> None:
        while True:
            settings, library = self._wanted, self._library
            index = self._index_or_none(settings, library)
            with self._lock:
                if settings is not self._wanted or library is not self._library:
                    continue
                if index is None:
                    self._wanted = self._in_force
                else:
                    self._in_force = settings
                    self._controls.change(index=index)
                self._opening = False
                return

    def _index_or_none(self, settings: Settings, library: Library) -> SearchIndex | None:
        try:
            return self._index(settings, library)
        except Exception as error:
            unexpected = not isinstance(error, RtsearchError)
            what = "describe.meaning=%g: %s; the search stays as it was"
            _log.warning(what, settings.describe.meaning, error, exc_info=unexpected)
            return None

    def _index(self, settings: Settings, library: Library) -> SearchIndex:
        meaning = settings.describe.meaning
        with self._lock:
            kept = self._opened.get(meaning)
        if kept is not None and kept.library is library:
            return kept
        now = self._controls.now
        opened = narrow(open_index(library, settings), now.search, distinct=now.show.distinct)
        opened.warm_up(now.show.results)
        largest_distance(opened, now.show.max_distance)  # no frame shall wait for it
        with self._lock:
            if library is self._library:
                self._opened[meaning] = opened
        return opened
