"""The side of a run that remembers: frames with tracks go in, a memory that is searched meanwhile grows.

search thread: see -> entries -> the keeper's queue, and at once into what is searched
any thread: beside(index) -> one index over a library and the memory
"""

from __future__ import annotations

import itertools
import secrets
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rtsearch._util.closing import Closing
from rtsearch.config import SearchSettings, Settings
from rtsearch.errors import ConfigError, LibraryBusyError
from rtsearch.library import FeatureSpace, library_lock
from rtsearch.library.files import MANIFEST_NAME
from rtsearch.library.index_files import PhotoPaths, empty_table
from rtsearch.library.search_index import SearchIndex
from rtsearch.library.sweep import remove_temporaries
from rtsearch.memory.block import remove_block
from rtsearch.memory.entry import Entry, source_of
from rtsearch.memory.folder import MemoryFolder
from rtsearch.memory.gatherer import Gatherer
from rtsearch.memory.hour_names import HourNames
from rtsearch.memory.hours import sweep_hours, write_hour
from rtsearch.memory.keeper import Keeper
from rtsearch.memory.learning import Learner, load_projection, save_projection
from rtsearch.memory.mixed_index import MixedIndex
from rtsearch.memory.opening import current_hours, open_recollection, read_rest
from rtsearch.memory.recall import Narrowing, Recollection
from rtsearch.search import GrowingTree, KDTree
from rtsearch.search.projection import FILE_NAME as PROJECTION_NAME
from rtsearch.search.projection import Projection
from rtsearch.types import Detections, Frame

__all__ = ["LiveMemory", "MemoryReport", "remembered_classes"]

_PERSON = "person"
_VISITS = 1 << 30  # numbers of tracks


@dataclass(frozen=True, slots=True)
class MemoryReport:
    """Figures of a run that remembers.

    Attributes:
        entries: kept in this run.
        dropped: lost, as too many waited for the disk.
        problem: why nothing was kept any more, or "".
    """

    entries: int
    dropped: int
    problem: str


class LiveMemory(Closing):
    """A memory that a run writes and searches; made by ``open``.

    Args:
        recall: what it holds.
        keeper: writes it.
        names: of its hours.
        settings: sections ``memory`` and ``analyze``.
        lock: what ``close`` releases.

    Attributes:
        recall: as given.
    """

    def __init__(
        self, recall: Recollection, keeper: Keeper, names: HourNames, settings: Settings, lock: ExitStack
    ) -> None:
        self.recall = recall
        self._keeper = keeper
        self._names = names
        self._settings = settings
        self._lock = lock
        self._wanted = remembered_classes(settings.memory.classes, recall.memory.space.class_names)
        first = secrets.randbelow(_VISITS)
        self._numbers = (number % _VISITS for number in itertools.count(first))
        self._gatherers: dict[int, tuple[int, Gatherer]] = {}  # by place: epoch of the source
        self._entries = 0

    @classmethod
    def open(
        cls, folder: Path, space: FeatureSpace, projection: Projection | None, settings: Settings
    ) -> LiveMemory:
        """Open a memory for remembering; make it when the folder is missing or empty.

        Args:
            folder: of the memory.
            space: of what will be remembered.
            projection: of the library that is searched beside it; None where there is none.
            settings: of the run.

        Raises:
            LibraryBusyError: another run remembers into it.
            ConfigError: ``memory.classes`` names a class that there is not.
            LibraryError: as ``MemoryFolder.make``.
        """
        remembered_classes(settings.memory.classes, space.class_names)
        memory = MemoryFolder.make(folder, space, settings.model_dump(mode="json"))
        with ExitStack() as stack:
            _lock(memory, stack)
            for name in (MANIFEST_NAME, PROJECTION_NAME):
                remove_temporaries(memory.path, name)
            sweep_hours(memory)
            learner: Learner | None = None
            if projection is None:
                learner = Learner(memory, settings)
                projection = learner.projection
            else:
                _adopt(memory, projection)
            found = open_recollection(memory, projection)
            for name in found.useless:
                remove_block(memory.index / name)
            now = current_hours(found.uncovered)
            for name in now:
                write_hour(memory, name).close()  # which removes what a kill has left
            read_rest(found, now, settings.memory.blind_s)
            _warm_up(projection.dim, settings.show.results)
            names = HourNames(set(memory.hour_names()) - set(now))
            keeper = Keeper(memory, found.recall, settings.memory, names, found.uncovered, learner)
            return cls(found.recall, keeper, names, settings, stack.pop_all())
        raise AssertionError("unreachable")  # ExitStack never swallows here

    @property
    def remembers(self) -> bool:
        """Tell whether what is seen is kept; no more once the disk has refused."""
        return not self._keeper.problem

    @property
    def apart(self) -> bool:
        """Tell whether what is remembered has strips of its own."""
        return self._settings.memory.strip == "own"

    def see(self, place: int, epoch: int, source: str, frame: Frame, found: Detections, now_ns: int) -> None:
        """Take in a frame; called by one thread, which never waits for the disk.

        Args:
            place, epoch: of the source, and how often the user has gone elsewhere in it.
            source: its name.
            frame: whoever must not be recognised is made unrecognisable in it already.
            found: its objects with their tracks; vectors are whole descriptions.
            now_ns: wall clock, nanoseconds since 1970.
        """
        if not self.remembers:
            return
        known = self._gatherers.get(place)
        if known is None or known[0] != epoch:
            self._end(place)
            thumb_px = self._settings.analyze.thumb_px
            known = epoch, Gatherer(source_of(source), self._wanted, thumb_px, self._numbers)
            self._gatherers[place] = known
        self._keep(known[1].see(frame, found, now_ns))

    def beside(self, index: SearchIndex, search: SearchSettings, *, apart: bool = False) -> MixedIndex:
        """Return an index that finds what is remembered, too.

        Args:
            index: of the library, narrowed; an empty one gets the memory's projection.
            search: which entries may be found: none where it names folders, which are the library's.
            apart: they are not mixed with objects of the library, if there are any.
        """
        if not len(index):
            index = self.empty_index()
        elif index.projection.fingerprint != self.recall.fingerprint:
            self._keeper.adopt(index.projection)  # until it is done nothing remembered is found
        narrowing = None if search.folders else self._narrowing(search)
        return MixedIndex(index, self.recall, narrowing, apart=apart and len(index) > 0)

    def empty_index(self) -> SearchIndex:
        """Return an index of no objects, in the projection of the memory."""
        projection = self.recall.projection
        tree = KDTree.build(np.zeros((0, projection.dim), np.float32))
        table = empty_table(0) | {"leader": np.zeros(0, np.int32)}
        paths = PhotoPaths(np.zeros(0, np.uint8), np.zeros(0, np.int64))
        return SearchIndex(self.recall.memory.library, projection, tree, table, paths)

    def report(self) -> MemoryReport:
        """Return the figures so far."""
        return MemoryReport(self._entries, self._keeper.dropped, self._keeper.problem)

    def end_tracks(self) -> None:
        """Keep the tracks that have not ended; called when nobody calls ``see`` any more."""
        for place in list(self._gatherers):
            self._end(place)

    def close(self) -> None:
        """Keep the tracks that have not ended, write everything out, and let other runs in."""
        self.end_tracks()
        self._keeper.close()
        self._lock.close()

    def _end(self, place: int) -> None:
        if place in self._gatherers:
            self._keep(self._gatherers.pop(place)[1].finish())

    def _keep(self, entries: list[Entry]) -> None:
        for entry in entries:
            hour = self._names.name(entry.seen_ns[1])
            if self._keeper.put(hour, entry):
                self.recall.add(hour, entry, self._settings.memory.blind_s)
                self._entries += 1

    def _narrowing(self, search: SearchSettings) -> Narrowing:
        names = self.recall.memory.space.class_names
        labels = tuple(names.index(name) for name in search.classes if name in names)
        since = datetime.fromisoformat(search.since).timestamp() * 1e9 if search.since else -(2**62)
        return Narrowing(labels if search.classes else None, int(since))


def remembered_classes(wanted: tuple[str, ...], names: tuple[str, ...]) -> NDArray[np.bool_]:
    """Return which classes are remembered, (classes,): without names all but persons.

    Raises:
        ConfigError: the network has no class of a name.
    """
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise ConfigError(
            f"memory.classes: the network has no class {', '.join(unknown)}; `rtsearch model info` lists them"
        )
    kept = wanted or tuple(name for name in names if name != _PERSON)
    return np.isin(np.array(names), np.array(kept))


def _warm_up(dim: int, k: int) -> None:
    """Load what the first entries need, so that nothing compiles on the frame path."""
    some = np.random.default_rng(0).standard_normal((64, dim)).astype(np.float32)
    tree = GrowingTree(KDTree.build(some, threads=1))
    tree.add(some[:1])
    tree.query(some[:1], k)
    tree.query(some[:1], k, allowed=np.ones(65, np.bool_))


def _lock(memory: MemoryFolder, stack: ExitStack) -> None:
    try:
        stack.enter_context(library_lock(memory.path))
    except LibraryBusyError:
        raise LibraryBusyError(
            f"another run remembers into {memory.path}, or forgets in it; end it, or name another folder"
        ) from None


def _adopt(memory: MemoryFolder, projection: Projection) -> None:
    """Remember the projection of a library, where it is not the memory's already."""
    kept = load_projection(memory)
    if kept is None or kept.fingerprint != projection.fingerprint:
        save_projection(memory, projection)
