"""Forget entries: their hours are written anew without them, and what was derived from these hours goes.

Afterwards no file of the memory holds a byte of their crops or vectors.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rtsearch.errors import LibraryBusyError, UnknownRowError
from rtsearch.library import library_lock
from rtsearch.library.files import disk_errors
from rtsearch.library.reader_lock import without_readers
from rtsearch.memory.block import pack_hours, remove_block
from rtsearch.memory.folder import MemoryFolder, end_of
from rtsearch.memory.hours import Hour, LeftOut, names_in, read_hour, remove_hour, sweep_hours, write_hour

__all__ = ["Wanted", "forget"]


_log = logging.getLogger(__name__)


class Wanted(NamedTuple):
    """Entries that are to be forgotten: those that all conditions which are given hold for.

    Attributes:
        before_ns: last seen before this moment, nanoseconds since 1970; None for any.
        labels: of these classes; None for any.
        names: of these names; None for any.
    """

    before_ns: int | None = None
    labels: tuple[int, ...] | None = None
    names: frozenset[str] | None = None

    def of(self, hour: Hour) -> NDArray[np.bool_]:
        """Return which entries of an hour are meant, (n,)."""
        columns = hour.rows.columns
        meant = np.ones(len(hour.rows), np.bool_)
        if self.before_ns is not None:
            meant &= columns["seen_ns"][:, 1] < self.before_ns
        if self.labels is not None:
            meant &= np.isin(columns["label"], self.labels)
        if self.names is not None:
            meant &= np.isin(np.array(names_in(hour.rows), object), list(self.names))
        return meant


def forget(memory: MemoryFolder, wanted: Wanted) -> int:
    """Forget entries for ever; return their number.

    A damaged hour, in which nobody can tell one entry from another, is forgotten whole where all of it is
    older than ``before_ns``, and stays else.

    Raises:
        LibraryBusyError: a run remembers into the memory, or another program reads it.
        UnknownRowError: there is no entry of a name.
        LibraryError: the disk refuses.
    """
    with library_lock(memory.path):
        sweep_hours(memory)
        plans = [plan for name in memory.hour_names() if (plan := _planned(memory, name, wanted)) is not None]
        found = {name for plan in plans for name in plan.names}
        if missing := (wanted.names or frozenset()) - found:
            raise UnknownRowError(f"{memory.path} remembers nothing of the name {min(missing)}")
        for plan in plans:
            _require_alone(memory.hour(plan.hour))
            _drop_blocks(memory, plan.hour)
            _carry_out(memory, plan)
    return len(found)


class _Plan(NamedTuple):
    """Entries of an hour that are forgotten; ``whole`` where that is all of it."""

    hour: str
    names: tuple[str, ...]
    whole: bool


def _planned(memory: MemoryFolder, name: str, wanted: Wanted) -> _Plan | None:
    """Return what is to be done to an hour; None for nothing."""
    try:
        hour = read_hour(memory, name)
    except LeftOut as error:
        if wanted == Wanted(wanted.before_ns) and end_of(name) <= (wanted.before_ns or 0):
            return _Plan(name, (), whole=True)
        _log.warning("%s; nothing of this hour is forgotten; --before a later time forgets all of it", error)
        return None
    meant = wanted.of(hour)
    names = tuple(each for each, one in zip(names_in(hour.rows), meant.tolist(), strict=True) if one)
    left = any(memory.hour(name).glob("thumbs/*.tmp"))  # crops that a kill has left
    return _Plan(name, names, bool(meant.all())) if names or left else None


def _carry_out(memory: MemoryFolder, plan: _Plan) -> None:
    if plan.whole:
        remove_hour(memory, plan.hour)
        return
    with write_hour(memory, plan.hour) as writer:  # which removes what a kill has left
        writer.drop(plan.names)


def _require_alone(hour: Path) -> None:
    """Refuse to forget where another program reads: its files could not be removed."""
    with disk_errors(hour), without_readers(hour) as alone:
        if alone is False:
            raise LibraryBusyError(f"another program reads {hour}; end it, and forget again")


def _drop_blocks(memory: MemoryFolder, hour: str) -> None:
    """Remove what is derived from an hour; the next run makes it again from what is left."""
    for folder in sorted(memory.index.iterdir()) if memory.index.is_dir() else ():
        known = pack_hours(folder)
        if known is None or hour in known:
            remove_block(folder)
