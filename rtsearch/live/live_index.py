"""The index that a run searches at the moment: narrowed as the settings in force say."""

from __future__ import annotations

import logging
import threading

from rtsearch.config import SearchSettings
from rtsearch.errors import RtsearchError
from rtsearch.library.index import SearchIndex
from rtsearch.library.narrowing import narrow
from rtsearch.live.controls import ControlState
from rtsearch.memory.live_memory import LiveMemory
from rtsearch.render.layout import canvas_of

__all__ = ["LiveIndex"]

_log = logging.getLogger(__name__)


class LiveIndex:
    """Gives the index that is to be searched; several threads may ask.

    Args:
        index: of all rows.
        memory: is searched beside it, if any.

    Attributes:
        memory: as given.
        begun: index that the run began with.
    """

    def __init__(self, index: SearchIndex, memory: LiveMemory | None = None) -> None:
        self.memory = memory
        self._index = index
        self.begun = self._now = self._beside(index, SearchSettings())
        self._wanted: tuple[object, ...] = ()
        self._lock = threading.Lock()

    def of(self, state: ControlState) -> SearchIndex:
        """Return the index for some settings; the same one until they change.

        Settings that no search can follow are told in the log, and the search stays as it was.
        """
        search, distinct = state.search, state.show.distinct
        index = state.index or self._index
        fits = 0 if self.memory is None else self.memory.recall.fits
        strips = canvas_of(state.show).composition == "strips"  # a wall has no room for more
        apart = strips and self.memory is not None and self.memory.apart
        wanted = (index, search.classes, search.folders, search.since, distinct, fits, apart)
        with self._lock:
            if wanted != self._wanted:
                self._wanted = wanted
                try:
                    narrowed = narrow(index, search, distinct=distinct) if len(index) else index
                    self._now = self._beside(narrowed, search, apart=apart)
                except RtsearchError as error:
                    _log.warning("%s; the search stays as it was", error)
            return self._now

    def _beside(self, index: SearchIndex, search: SearchSettings, *, apart: bool = False) -> SearchIndex:
        if self.memory is None:
            return index
        return self.memory.beside(index, search, apart=apart)
