"""Entries that are in no block yet: those of the open hour, and of hours that were not closed.

add -> known at once -> searched once it is no longer what is seen at this moment
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtsearch.memory.entry import Entry
from rtsearch.memory.hours import Hour, Pack, Rows, empty_columns
from rtsearch.search import GrowingTree, KDTree
from rtsearch.search.projection import Projection
from rtsearch.types import F32Array, I32Array

__all__ = ["ROOM", "OpenRows"]

ROOM = 1 << 16
"""Entries that one of these has room for; pages that nothing was written to take no memory."""

_NS = 1e9
_CLOCKS_S = 60.0  # by which clocks are set all the time


class OpenRows:
    """Entries of one hour in memory; any number of threads may read while one adds.

    Args:
        hour: its name.
        projection: from descriptions to searched vectors.
        blind_s: time after an entry was last seen in which no search finds it.
        room: entries at most.

    Attributes:
        hour, projection, room: as given.
        rows: what is known of the entries; columns have room for more.
    """

    def __init__(self, hour: str, projection: Projection, blind_s: float, room: int = ROOM) -> None:
        self.hour = hour
        self.rows = Rows((), (), empty_columns(room))
        self.projection = projection
        self._blind_s = blind_s
        self.room = room
        self._count = 0
        self._jpegs: dict[int, bytes] = {}
        self._described = np.empty((room, len(projection.matrix)), np.float16)
        self._points = np.empty((room, projection.dim), np.float32)
        self._due_s = np.empty(room)  # when each may be found, by the monotonic clock
        self._tree = GrowingTree(KDTree.build(np.zeros((0, projection.dim), np.float32)))
        self._ripe = 0
        self._lock = threading.Lock()

    @classmethod
    def of(cls, name: str, hour: Hour, projection: Projection, blind_s: float) -> OpenRows:
        """Return the entries of an hour on the disk, as far as they are old enough to be found."""
        n = len(hour.rows)
        opened = cls(name, projection, blind_s, max(ROOM, 2 * n))
        age_s = (time.time_ns() - hour.rows.columns["seen_ns"][:, 1]) / _NS
        # What seems to be seen in the time to come was seen before a clock was set back.
        wait_s = np.where(age_s < -_CLOCKS_S, 0.0, np.clip(blind_s - age_s, 0, blind_s))
        opened._fill(hour.rows, hour.vectors, time.monotonic() + wait_s)
        return opened

    def reprojected(self, projection: Projection) -> OpenRows:
        """Return the same entries with other searched vectors."""
        other = OpenRows(self.hour, projection, self._blind_s, self.room)
        with self._lock:
            n = self._count
            columns = {name: column[:n] for name, column in self.rows.columns.items()}
            other._fill(replace(self.rows, columns=columns), self._described[:n], self._due_s[:n])
            other._jpegs = dict(self._jpegs)
        return other

    def __len__(self) -> int:
        return self._count

    @property
    def full(self) -> bool:
        """Tell whether nothing more can be added."""
        return self._count == self.room

    @property
    def hours(self) -> tuple[str, ...]:
        """Name of its hour."""
        return (self.hour,)

    @property
    def tree(self) -> GrowingTree:
        """Tree of the entries that may be found now."""
        if self._ripe < self._count and self._due_s[self._ripe] <= time.monotonic():
            with self._lock:
                self._ripen()
        return self._tree

    @property
    def descriptions(self) -> NDArray[np.float16]:
        """Descriptions of all entries, (n, D)."""
        return self._described[: self._count]

    def add(self, entry: Entry) -> None:
        """Add an entry that was seen just now."""
        described = entry.vector.astype(np.float16)
        with self._lock:
            self._put(self._count, entry, described)
            self._count += 1

    def points(self, rows: I32Array) -> F32Array:
        """Return where rows lie, (n, dim)."""
        return self._points[rows]

    def jpeg(self, row: int) -> bytes | None:
        """Return the crop of an entry that came in this run."""
        return self._jpegs.get(row)

    def _put(self, row: int, entry: Entry, described: NDArray[np.float16]) -> None:
        if entry.source not in self.rows.sources:
            self.rows = replace(self.rows, sources=(*self.rows.sources, entry.source))
        values: Mapping[str, Any] = {
            "pack": -1,
            "source": self.rows.sources.index(entry.source),
            "visit": entry.visit,
            "label": entry.label,
            "xyxy": entry.xyxy,
            "times_s": entry.times_s,
            "seen_ns": entry.seen_ns,
            "offset": 0,
            "length": len(entry.jpeg),
            "crc32": 0,
        }
        for name, value in values.items():
            self.rows.columns[name][row] = value
        self._jpegs[row] = entry.jpeg
        self._described[row] = described
        self._points[row] = self.projection.apply(described[None])[0]
        self._due_s[row] = time.monotonic() + self._blind_s

    def _fill(self, rows: Rows, described: NDArray[np.float16], due_s: NDArray[np.float64]) -> None:
        n = len(described)
        for name, column in rows.columns.items():
            self.rows.columns[name][:n] = column
        packs: tuple[Pack, ...] = rows.packs
        self.rows = Rows(packs, rows.sources, self.rows.columns)
        self._described[:n] = described
        self._points[:n] = self.projection.apply(described) if n else 0
        self._due_s[:n] = np.maximum.accumulate(due_s) if n else 0
        self._count = n
        self._ripe = int(np.searchsorted(self._due_s[:n], time.monotonic(), side="right"))
        self._tree = GrowingTree(KDTree.build(self._points[: self._ripe].copy(), threads=1))

    def _ripen(self) -> None:
        """Let entries be found that are due, in their order; the lock is held."""
        now_s, end = time.monotonic(), self._ripe
        while end < self._count and self._due_s[end] <= now_s:
            end += 1
        if end > self._ripe:
            self._tree.add(self._points[self._ripe : end])
            self._ripe = end
