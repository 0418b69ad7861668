"""The index that a run searches at the moment: narrowed as the settings in force say."""

from __future__ import annotations

import logging
import threading

from rtsearch.errors import RtsearchError
from rtsearch.library.index import SearchIndex
from rtsearch.library.narrowing import narrow
from rtsearch.live.controls import ControlState

__all__ = ["LiveIndex"]

_log = logging.getLogger(__name__)


class LiveIndex:
    """Gives the index that is to be searched; several threads may ask.

    Args:
        index: of all rows.
    """

    def __init__(self, index: SearchIndex) -> None:
        self._index = self._now = index
        self._wanted: tuple[object, ...] = ()
        self._lock = threading.Lock()

    @property
    def begun(self) -> SearchIndex:
        """Index that the run began with."""
        return self._index

    def of(self, state: ControlState) -> SearchIndex:
        """Return the index for some settings; the same one until they change.

        Settings that no search can follow are told in the log, and the search stays as it was.
        """
        search, distinct = state.search, state.show.distinct
        index = state.index or self._index
        wanted = (index, search.classes, search.folders, search.since, distinct)
        with self._lock:
            if wanted != self._wanted:
                self._wanted = wanted
                try:
                    self._now = narrow(index, search, distinct=distinct)
                except RtsearchError as error:
                    _log.warning("%s; the search stays as it was", error)
            return self._now
