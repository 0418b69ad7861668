"""Answer for a library that a cluster searches, and turn to its new versions without a gap.

    LibraryWatch -> new index -> new shards, while the old ones answer -> questions go to the new ones

The process that serves keeps the library open for what is known of rows and for crops; only the search, which
takes the time and the memory, is shared out.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from rtsearch._util.closing import Closing
from rtsearch.config import SearchSettings, Settings
from rtsearch.jobs.cluster.shards import ClusterShards
from rtsearch.library.index import SearchIndex, shape_json
from rtsearch.library.likeness import largest_distance
from rtsearch.live import watch_library
from rtsearch.service import Answers, StateGoneError
from rtsearch.service.shards import DEADLINE_S, ask_all
from rtsearch.types import F32Array, Neighbours

__all__ = ["ClusterSearch"]

_KEPT = 2  # versions of the library whose shards answer; clients turn to the newer one within seconds


class ClusterSearch(Closing):
    """Search of a library by a cluster; Ray must be connected.

    Args:
        index: of the library.
        settings: it was opened with.
        start: makes the shards of an index.
        tell: gets a line about each new version.

    Attributes:
        answers: for the library, safe to use from several threads.
    """

    def __init__(
        self,
        index: SearchIndex,
        settings: Settings,
        start: Callable[[SearchIndex], ClusterShards],
        tell: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._start = start
        self._lock = threading.Lock()
        largest_distance(index)  # with the tree of this process
        self._index = index.whole
        self._shards = {self._index: start(self._index)}
        self.answers = Answers(lambda: (self._index, shape_json(settings)), self._search)
        self._watch = watch_library(index, lambda: settings, self._turn_to, tell)

    @property
    def shards(self) -> ClusterShards:
        """Shards of the version in force."""
        return self._shards[self._index]

    def close(self) -> None:
        """End the watch and all shards."""
        self._watch.close()
        self.answers.close()
        for shards in self._shards.values():
            shards.close()

    def _turn_to(self, index: SearchIndex) -> None:
        """Put a newer version in force once its shards are there."""
        whole = index.whole
        shards = self._start(whole)
        with self._lock:
            self._shards[whole] = shards
            self._index = whole
            old = list(self._shards)[:-_KEPT]
            gone = [self._shards.pop(each) for each in old]
        for each in gone:
            each.close()

    def _search(
        self, index: SearchIndex, points: F32Array, k: int, how: SearchSettings
    ) -> tuple[Neighbours, tuple[int, ...]]:
        with self._lock:
            shards = self._shards.get(index.whole)
        if shards is None:
            raise StateGoneError("the library has changed; ask /api/index for its state")
        return ask_all(shards, index, points, k, how, DEADLINE_S)
