"""All that is remembered, searched as one: blocks of closed hours, and the entries of the open one.

A row has one number for as long as it is remembered, whatever it is kept in. Numbers begin at ``FIRST_ROW``,
so that those of a library stay below.
"""

from __future__ import annotations

import os
import threading
import zlib
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rtsearch._util.regular_files import open_descriptor
from rtsearch.errors import DamagedError, LibraryError
from rtsearch.library.manifest import PARTS
from rtsearch.memory.block import Block
from rtsearch.memory.entry import Entry, name_of
from rtsearch.memory.folder import MemoryFolder
from rtsearch.memory.hours import COLUMNS, names_in
from rtsearch.memory.open_rows import OpenRows
from rtsearch.search import GrowingTree, KDTree, Reach, SomeRows
from rtsearch.search.answers import nearest_of
from rtsearch.search.projection import Projection
from rtsearch.types import F32Array, I32Array, I64Array, Neighbours, class_name

__all__ = ["FIRST_ROW", "Narrowing", "Part", "Recollection", "read_crop"]

FIRST_ROW = 1 << 29
"""Number of the first row of a memory; rows of libraries have smaller ones."""

_MOST_ROW = 10**9  # pages and programs read nine digits

Part: TypeAlias = Block | OpenRows
Tree: TypeAlias = KDTree | GrowingTree | SomeRows


class Narrowing(NamedTuple):
    """Entries that may be found: of these classes (None for all), last seen within these moments, ns."""

    labels: tuple[int, ...] | None = None
    since_ns: int = -(2**62)
    until_ns: int = 2**62

    def of(self, columns: dict[str, NDArray[Any]], n: int) -> NDArray[np.bool_] | None:
        """Return which of the first n entries may be found, (n,); None for all."""
        if self == Narrowing():
            return None
        last = columns["seen_ns"][:n, 1]
        allowed: NDArray[np.bool_] = (last >= self.since_ns) & (last <= self.until_ns)
        if self.labels is not None:
            allowed &= np.isin(columns["label"][:n], self.labels)
        return allowed


class _Placed:
    """Part with the numbers of its rows: from each of ``offsets`` on they count up from ``firsts``."""

    def __init__(self, part: Part, firsts: Sequence[int], offsets: Sequence[int]) -> None:
        self.part = part
        self.firsts: I64Array = np.array(firsts, np.int64)
        self.offsets: I64Array = np.array(offsets, np.int64)
        self._some: tuple[Narrowing | None, Tree] = None, part.tree  # that was searched last

    def numbers(self, rows: I32Array) -> I32Array:
        """Return the numbers of rows of the part; -1 stays."""
        if len(self.firsts) == 1:  # most parts; a search asks this of each
            shift = np.int32(self.firsts[0] - self.offsets[0])
            return rows + shift if len(rows) and rows.min() >= 0 else np.where(rows < 0, rows, rows + shift)
        span = np.searchsorted(self.offsets, np.maximum(rows, 0), side="right") - 1
        number = rows + (self.firsts - self.offsets)[span]
        numbers: I32Array = np.where(rows < 0, -1, number).astype(np.int32)
        return numbers

    def ends(self) -> I64Array:
        """Return how many rows of the part have the numbers up to the end of each span."""
        return np.append(self.offsets[1:], len(self.part))

    def some(self, narrowing: Narrowing) -> Tree:
        """Return what to search for the rows that may be found; kept for a block, whose rows stay."""
        part = self.part
        if isinstance(part, OpenRows):
            allowed = narrowing.of(part.rows.columns, len(part))
            return part.tree if allowed is None else SomeRows(part.tree, allowed)
        if self._some[0] != narrowing:
            allowed = narrowing.of(part.rows.columns, len(part))
            self._some = narrowing, part.tree if allowed is None else SomeRows(part.tree, allowed)
        return self._some[1]


class Recollection:
    """Entries of a memory; any number of threads may search while one adds and another closes hours.

    Args:
        memory: has their crops.
        projection: made the searched vectors.

    Attributes:
        memory, projection: as given; ``replace`` gives another projection.
        fingerprint: of the projection.
        fits: how often that has happened.
    """

    def __init__(self, memory: MemoryFolder, projection: Projection) -> None:
        self.memory = memory
        self.projection = projection
        self.fingerprint = projection.fingerprint
        self.fits = 0
        self._placed: tuple[_Placed, ...] = ()
        self._next = FIRST_ROW
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return sum(len(placed.part) for placed in self._placed)

    def __contains__(self, row: int) -> bool:
        if not FIRST_ROW <= row < self._next:
            return False
        found: list[bool] = []
        numbers: I32Array = np.array([row], np.int32)
        self._each(numbers, lambda *_: found.append(True))
        return bool(found)

    @property
    def parts(self) -> tuple[Part, ...]:
        """Parts that are searched, in the order in which they came."""
        return tuple(placed.part for placed in self._placed)

    def put(self, part: Part, room: int = 0) -> None:
        """Search another part from now on.

        Args:
            part: its rows get the next numbers.
            room: rows that it may grow to.
        """
        with self._lock:
            self._placed = (*self._placed, self._numbered(part, room))

    def take_over(self, part: Part, old: Collection[Part]) -> None:
        """Search one part in the place of others; it holds their rows in their order, with their numbers."""
        with self._lock:
            gone = [placed for placed in self._placed if any(placed.part is each for each in old)]
            firsts: list[int] = []
            offsets: list[int] = []
            rows = 0
            for placed in gone:
                firsts += placed.firsts.tolist()
                offsets += (placed.offsets + rows).tolist()
                rows += len(placed.part)
            fits = rows == len(part) and firsts
            new = _Placed(part, firsts, offsets) if fits else self._numbered(part, 0)
            self._placed = (*(placed for placed in self._placed if placed not in gone), new)

    def forget(self, hours: Collection[str]) -> list[Block]:
        """Search the entries of some hours no more; return the blocks that hold nothing else."""
        empty: list[Block] = []
        with self._lock:
            kept = []
            for placed in self._placed:
                part = placed.part
                if not set(part.hours) & set(hours):
                    kept.append(placed)
                elif isinstance(part, Block):
                    left = part.without(hours)
                    if len(left.tree):
                        kept.append(_Placed(left, placed.firsts.tolist(), placed.offsets.tolist()))
                    else:
                        empty.append(part)
            self._placed = tuple(kept)
        return empty

    def add(self, hour: str, entry: Entry, blind_s: float) -> None:
        """Remember an entry of an hour; no search finds it for ``blind_s`` seconds."""
        with self._lock:
            opened = next((part for part in reversed(self.parts) if isinstance(part, OpenRows)), None)
            if opened is None or opened.hour != hour or opened.full:
                opened = OpenRows(hour, self.projection, blind_s)
                self._placed = (*self._placed, self._numbered(opened, opened.room))
            opened.add(entry)

    def replace(self, projection: Projection, blocks: Sequence[Block]) -> None:
        """Search with another projection: other blocks, and the same open entries. Rows get other numbers."""
        with self._lock:
            opened = [part.reprojected(projection) for part in self.parts if isinstance(part, OpenRows)]
            numbered = [self._numbered(block, 0) for block in blocks]
            numbered += [self._numbered(part, part.room) for part in opened]
            self._placed = tuple(numbered)
            self.projection, self.fingerprint = projection, projection.fingerprint
            self.fits += 1

    @property
    def findable(self) -> int:
        """Number of entries that searches find now."""
        return sum(len(part.tree) for part in self.parts)

    def _numbered(self, part: Part, room: int) -> _Placed:
        first = self._next
        self._next += max(room, len(part))
        if self._next > _MOST_ROW:
            raise LibraryError("the numbers of this run's memory are used up; start it again")
        return _Placed(part, [first], [0])

    def numbered(self) -> list[tuple[Part, Callable[[I32Array], I32Array]]]:
        """Return the parts, each with what gives the numbers of its rows."""
        return [(placed.part, placed.numbers) for placed in self._placed]

    def row_of(self, name: str) -> int | None:
        """Return the row of an entry of a name; None where there is none."""
        visit = name.rpartition("-")[2]
        if not visit.isdecimal():
            return None
        for part, numbers in self.numbered():
            same = part.rows.columns["visit"][: len(part)] == int(visit)
            rows = np.flatnonzero(same).astype(np.int32)
            names = names_in(part.rows, rows)
            if name in names:
                return int(numbers(rows)[names.index(name)])
        return None

    # Searching --------------------------------------------------------------------------------------------

    def near(
        self,
        points: F32Array,
        k: int,
        *,
        exact: bool = False,
        recall: float = 0.98,
        narrowing: Narrowing | None = None,
        reach: Reach | None = None,
    ) -> Neighbours:
        """Return the k nearest entries of each of (n, dim) points; -1 and inf where there are fewer.

        ``reach`` is of what else is searched for the same points.
        """
        found, reach = [], reach or Reach(len(points))
        for placed in self._placed:
            tree = placed.some(narrowing or Narrowing())
            if len(tree):
                distance, row = tree.query(points, k, exact=exact, recall=recall, reach=reach)
                found.append(Neighbours(placed.numbers(row), distance))
        return nearest_of(found, len(points), k)

    # What is known of rows --------------------------------------------------------------------------------

    def points(self, rows: I32Array) -> F32Array:
        """Return where rows lie, (n, dim); zeros for rows that are gone."""
        points = np.zeros((len(rows), self.projection.dim), np.float32)
        self._each(rows, lambda part, own, at: points.__setitem__(at, part.points(own)))
        return points

    def column(self, name: str, rows: I32Array) -> NDArray[Any]:
        """Return a column of ``hours.COLUMNS`` for rows; zeros for rows that are gone."""
        dtype, shape = COLUMNS[name]
        values = np.zeros((len(rows), *shape), dtype)
        self._each(rows, lambda part, own, at: values.__setitem__(at, part.rows.columns[name][own]))
        return values

    def jpeg(self, row: int) -> bytes | None:
        """Return the crop of a row; None where it is gone or damaged."""
        found: list[bytes | None] = []
        numbers: I32Array = np.array([row], np.int32)
        self._each(numbers, lambda part, own, _: found.append(self._crop(part, int(own[0]))))
        return found[0] if found else None

    def hits(self, rows: I32Array) -> list[dict[str, Any]]:
        """Return what is known of each row, as ``SearchIndex.hits``; ``seen_ns`` is by the wall clock."""
        names = self.memory.space.class_names
        hits: list[dict[str, Any]] = [
            {"photo": "", "xyxy": [0.0] * 4, "label": class_name(names, -1), "folded": 0} for _ in rows
        ]

        def tell(part: Part, own: I32Array, at: I64Array) -> None:
            columns = {name: column[own].tolist() for name, column in part.rows.columns.items()}
            for i, place in enumerate(at.tolist()):
                source = part.rows.sources[columns["source"][i]]
                seen_ns = columns["seen_ns"][i]
                t_s, *seen_s = (round(t, 3) for t in columns["times_s"][i])
                hits[place] |= {
                    "photo": name_of(source, seen_ns[1], columns["visit"][i]),
                    "xyxy": columns["xyxy"][i],
                    "label": class_name(names, columns["label"][i]),
                    "t_s": t_s,
                    "seen_s": seen_s,
                    "seen_ns": seen_ns,
                }

        self._each(rows, tell)
        return hits

    def _each(self, rows: I32Array, take: Callable[[Part, I32Array, I64Array], object]) -> None:
        """Call ``take`` with a part, rows of it, and their places in ``rows``, for all that are there."""
        for placed in self._placed:
            for first, offset, end in zip(placed.firsts, placed.offsets, placed.ends(), strict=True):
                at = np.flatnonzero((rows >= first) & (rows < first + end - offset))
                if len(at):
                    take(placed.part, (rows[at] - first + offset).astype(np.int32), at)

    def _crop(self, part: Part, row: int) -> bytes | None:
        if isinstance(part, OpenRows) and (jpeg := part.jpeg(row)) is not None:
            return jpeg
        columns = part.rows.columns
        pack = part.rows.packs[int(columns["pack"][row])]
        path = self.memory.hours / pack.hour / "thumbs" / (pack.fragment + PARTS["thumbs"])
        try:
            return read_crop(path, *(int(columns[name][row]) for name in ("offset", "length", "crc32")))
        except (OSError, DamagedError):
            return None


def read_crop(path: Path, offset: int, length: int, crc32: int) -> bytes:
    """Return a crop out of a file of crops.

    Raises:
        OSError: the file cannot be read.
        DamagedError: other bytes are there.
    """
    descriptor = open_descriptor(path)
    try:
        if offset < 0 or not 0 < length <= os.fstat(descriptor).st_size - offset:
            raise DamagedError(f"{path} is damaged")
        jpeg = os.pread(descriptor, length, offset)
    finally:
        os.close(descriptor)
    if zlib.crc32(jpeg) != crc32:
        raise DamagedError(f"{path} is damaged")
    return jpeg
