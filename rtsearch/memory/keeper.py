"""The thread that keeps a memory on the disk: writes entries, closes hours, joins and drops them.

    entries, a queue that drops when full -> open hour, written out every few seconds
    an hour is over -> its fragments become one, then a block that is searched in the place of its entries
    a block is not much larger than the one after it -> both become one
    too old, or too large -> the oldest hours go, files and rows at once

Whatever the disk refuses ends the remembering, not the run, and is said once.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Sequence

import numpy as np

from rtsearch.config import MemorySettings
from rtsearch.errors import DamagedError, RtsearchError
from rtsearch.library import LibraryWriter
from rtsearch.library.files import disk_errors
from rtsearch.memory.block import (
    Block,
    joined,
    remove_block,
    runs_to_join,
    write_block,
)
from rtsearch.memory.entry import Entry
from rtsearch.memory.folder import MemoryFolder, end_of, hour_of
from rtsearch.memory.hour_names import HourNames
from rtsearch.memory.hours import LeftOut, read_hour, remove_hour, write_hour
from rtsearch.memory.learning import Learner, save_projection
from rtsearch.memory.open_rows import OpenRows
from rtsearch.memory.recall import Recollection
from rtsearch.memory.retention import Retention
from rtsearch.search.projection import Projection

__all__ = ["FLUSH_S", "Keeper"]

_log = logging.getLogger(__name__)

FLUSH_S = 5.0
"""Time after which entries are written out; a kill costs no more."""
_WAITING = 1024  # entries that wait for the disk; more are dropped
_TICK_S = 0.2
_SETTLES_S = 5.0  # after the end of an hour in which its last entries come
_HOUSEKEEPING_S = 60.0
_JOIN_S = 20.0


class Keeper:
    """Keeps the entries of a run; its thread begins at once.

    Args:
        memory: open, and locked by this process.
        recall: gets blocks in the place of entries.
        settings: how long entries are kept.
        names: of the hours.
        unfinished: hours that are not closed; the present one goes on.
        learner: fits the projection; None where it is the library's.

    Attributes:
        dropped: entries that came while too many waited.
        problem: why nothing is kept any more, or "".
    """

    def __init__(
        self,
        memory: MemoryFolder,
        recall: Recollection,
        settings: MemorySettings,
        names: HourNames,
        unfinished: Sequence[str],
        learner: Learner | None,
    ) -> None:
        self.dropped = 0
        self.problem = ""
        self._memory = memory
        self._recall = recall
        self._settings = settings
        self._names = names
        self._learner = learner
        self._queue: queue.Queue[tuple[str, Entry]] = queue.Queue(_WAITING)
        self._ending = threading.Event()
        self._adopted: Projection | None = None  # that is asked for
        self._hour = ""  # that is written
        self._writer: LibraryWriter | None = None
        self._waits_since_s: float | None = None  # since when something is not written out
        self._closing = {name: self._due_s(name) for name in unfinished}
        self._retention = Retention(memory, settings)
        self._thread = threading.Thread(target=self._work, name="memory", daemon=True)
        self._thread.start()

    def put(self, hour: str, entry: Entry) -> bool:
        """Keep an entry; never waits. Return False where it is not kept."""
        if self.problem:
            return False
        try:
            self._queue.put_nowait((hour, entry))
        except queue.Full:
            self.dropped += 1
            return False
        return True

    def adopt(self, projection: Projection) -> None:
        """Search with another projection soon, that of a library which has changed."""
        self._adopted = projection

    def close(self) -> None:
        """Write out what waits, and end the thread; a disk that stalls is left to itself."""
        self._ending.set()
        self._thread.join(_JOIN_S)
        if self._thread.is_alive():
            _log.warning("the disk of %s does not answer; the last entries are lost", self._memory.path)

    # The thread -------------------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            self._keep()
        except Exception as error:
            known = isinstance(error, RtsearchError)
            self.problem = str(error) if known else f"{type(error).__name__}: {error}"
            _log.debug("remembering has ended", exc_info=True)
            _log.warning("nothing is remembered any more, the run goes on: %s", self.problem)
        finally:
            if self._writer is not None:
                self._writer.close()

    def _keep(self) -> None:
        looked_s = -_HOUSEKEEPING_S
        while True:
            ending = self._ending.is_set()  # looked at first, so that nothing that came before it is missed
            self._take_all(wait_s=0 if ending else _TICK_S)
            if ending:
                self._flush()
                return
            self._flush_due()
            now_s = time.monotonic()
            if self._learner is not None and self._learner.is_due(len(self._recall)):
                self._learn(self._learner)
            if self._adopted is not None:
                self._adopt(self._adopted)
            if self._hour and hour_of(time.time_ns()) != self._hour.partition("-")[0]:
                self._leave_hour()
            self._close_due(now_s)
            if now_s - looked_s >= _HOUSEKEEPING_S:
                looked_s = now_s
                self._drop_old()

    def _take_all(self, wait_s: float) -> None:
        """Hand the entries that wait to the open hour."""
        try:
            hour, entry = self._queue.get(timeout=wait_s) if wait_s else self._queue.get_nowait()
            while True:
                self._write(hour, entry)
                hour, entry = self._queue.get_nowait()
        except queue.Empty:
            pass

    def _write(self, hour: str, entry: Entry) -> None:
        if hour != self._hour:
            self._leave_hour()
            self._writer, self._hour = write_hour(self._memory, hour), hour
        assert self._writer is not None
        self._writer.add(entry.photo(), entry.objects(), [entry.jpeg])
        if self._waits_since_s is None:
            self._waits_since_s = time.monotonic()

    def _flush_due(self) -> None:
        if self._waits_since_s is not None and time.monotonic() - self._waits_since_s >= FLUSH_S:
            self._flush()

    def _flush(self) -> None:
        self._waits_since_s = None
        if self._writer is not None:
            self._writer.commit()

    def _leave_hour(self) -> None:
        """End the writing of an hour; it is closed once all its entries may be found."""
        self._flush()
        if self._writer is not None:
            self._writer.close()
            self._closing[self._hour] = time.monotonic() + self._settings.blind_s + _SETTLES_S
        self._writer, self._hour = None, ""

    def _due_s(self, name: str) -> float:
        """Return when to close an hour that is not closed, by the monotonic clock."""
        if hour_of(time.time_ns()) != name.partition("-")[0]:
            return 0.0
        left_s = (end_of(name) - time.time_ns()) / 1e9
        return time.monotonic() + left_s + self._settings.blind_s + _SETTLES_S

    def _close_due(self, now_s: float) -> None:
        """Close one hour that is due, if any."""
        due = next((name for name, at_s in self._closing.items() if at_s <= now_s and name != self._hour), "")
        if not due:
            return
        del self._closing[due]
        self._names.close(due)
        try:
            self._close_hour(due)
        except DamagedError as error:
            _log.warning("%s; the hour is left out", error)
        self._join_blocks()

    def _close_hour(self, name: str) -> None:
        with write_hour(self._memory, name) as writer:
            writer.unite()
        hour = read_hour(self._memory, name)
        old = [part for part in self._recall.parts if name in part.hours]
        if not len(hour.rows):
            remove_hour(self._memory, name)
            return
        projection = self._recall.projection
        with disk_errors(self._memory.path):
            block = write_block(self._memory, projection, projection.apply(hour.vectors), hour.rows)
        self._recall.take_over(block, old)

    def _join_blocks(self) -> None:
        """Make one block of neighbours of like size, so that few trees are searched for a week."""
        blocks = [part for part in self._recall.parts if isinstance(part, Block)]
        blocks.sort(key=lambda block: block.hours)
        for places in runs_to_join([(len(block.hours), len(block)) for block in blocks]):
            old = [blocks[place] for place in places]
            points, rows = joined(old)
            with disk_errors(self._memory.path):
                block = write_block(self._memory, self._recall.projection, points, rows)
            gone = set(block.hours) - set(self._memory.hour_names())
            self._recall.take_over(block.without(gone) if gone else block, old)
            for each in old:
                remove_block(each.folder)

    def _learn(self, learner: Learner) -> None:
        """Fit the projection on all entries, and search with it."""
        blocks = [part for part in self._recall.parts if isinstance(part, Block)]
        closed = [read_hour(self._memory, name).vectors for block in blocks for name in block.hours]
        opened = [part.descriptions for part in self._recall.parts if isinstance(part, OpenRows)]
        self._reproject(learner.learn(np.concatenate([*closed, *opened])))

    def _adopt(self, projection: Projection) -> None:
        """Search with the projection of a library that has changed."""
        self._adopted = None
        if projection.fingerprint != self._recall.fingerprint:
            save_projection(self._memory, projection)
            self._reproject(projection)

    def _reproject(self, projection: Projection) -> None:
        """Make the searched vectors of all hours again, one after the other, and search with them."""
        old = [part for part in self._recall.parts if isinstance(part, Block)]
        new = []
        for name in [name for block in old for name in block.hours]:
            try:
                hour = read_hour(self._memory, name)
            except LeftOut as error:
                _log.warning("%s; the hour is left out", error)
                continue
            if len(hour.rows):
                with disk_errors(self._memory.path):
                    points = projection.apply(hour.vectors)
                    new.append(write_block(self._memory, projection, points, hour.rows))
            self._take_all(wait_s=0)
            self._flush_due()
        self._recall.replace(projection, new)
        for block in old:
            remove_block(block.folder)
        self._join_blocks()

    def _drop_old(self) -> None:
        """Drop the hours that are not to be kept any longer; the one that is written stays."""
        names = [name for name in self._memory.hour_names() if name != self._hour]
        self._drop(self._retention.hours_to_drop(names, self._closing))

    def _drop(self, names: Sequence[str]) -> None:
        if not names:
            return
        self._closing = {name: at_s for name, at_s in self._closing.items() if name not in names}
        for block in self._recall.forget(names):
            remove_block(block.folder)
        for name in names:
            self._names.close(name)
            remove_hour(self._memory, name)
