"""Blocks: closed hours as they are searched, mapped into memory.

    hours -> searched vectors -> tree, columns -> DIR/index/KEY/
    neighbours of like size -> one block: few trees are searched for a week

KEY is made of the projection and of the stamps of the hours, so a block that does not fit is not found. A
block is made again from the hours when it is missing; its files are checked before they are believed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, ValidationError

from rtsearch._util.array_files import load_array
from rtsearch._util.regular_files import read_regular
from rtsearch.errors import DamagedError, RtsearchError, VectorError
from rtsearch.library.sweep import remove_index
from rtsearch.memory.folder import MemoryFolder
from rtsearch.memory.hours import COLUMNS, Pack, Rows
from rtsearch.search import KDTree
from rtsearch.search.projection import Projection, stored_points
from rtsearch.search.store import FILE_NAME as TREE_NAME
from rtsearch.types import WHOLE_IMAGE_LABEL, F32Array, I32Array

__all__ = [
    "Block",
    "joined",
    "load_block",
    "pack_hours",
    "remove_block",
    "runs_to_join",
    "write_block",
]

_FORMAT = 1
_LIST = "block.json"
_FILES = {f"{name}.npy" for name in COLUMNS} | {TREE_NAME, _LIST}
_MOST_LIST_BYTES = 1 << 24
_PIECE = 1 << 14  # points that are copied at once, as float32
_MOST_HOURS = 64  # of a block: a block that is older than wanted in part is kept as a whole

Name = Annotated[str, Field(pattern=r"^[0-9A-Za-z_-]{1,64}$")]


class _Pack(BaseModel):
    hour: Annotated[str, Field(pattern=r"^\d{8}T\d{2}(-\d+)?$")]
    fragment: Name
    stamp: Annotated[str, Field(max_length=64)]


class _List(BaseModel):
    format: int
    projection: str
    rows: Annotated[int, Field(ge=1, lt=2**31)]
    packs: tuple[_Pack, ...]
    sources: tuple[Annotated[str, Field(max_length=255)], ...]


class Block:
    """Closed hours that are searched as one.

    Args:
        folder: its files.
        tree: of the searched vectors, in the order of the rows; removed hours are marked.
        rows: what is known of each.
    """

    def __init__(self, folder: Path, tree: KDTree, rows: Rows) -> None:
        self.folder = folder
        self.tree = tree
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def hours(self) -> tuple[str, ...]:
        """Names of its hours."""
        return tuple(dict.fromkeys(pack.hour for pack in self.rows.packs))

    def rows_of(self, hours: Collection[str]) -> I32Array:
        """Return the rows of some hours, in order."""
        packs = [number for number, pack in enumerate(self.rows.packs) if pack.hour in hours]
        return np.flatnonzero(np.isin(self.rows.columns["pack"], packs)).astype(np.int32)

    def without(self, hours: Collection[str]) -> Block:
        """Return the block with some hours marked as removed."""
        gone = self.rows_of(hours)
        alive = gone[self.alive()[gone]]
        return Block(self.folder, self.tree.without(alive), self.rows)

    def alive(self) -> NDArray[np.bool_]:
        """Return which rows have not been removed, (n,)."""
        there, _ = self.tree.stored()
        alive = np.zeros(len(self), np.bool_)
        alive[there] = True
        return alive

    def points(self, rows: I32Array) -> F32Array:
        """Return where rows lie, (n, dim); zeros where one has been removed meanwhile."""
        try:
            return self.tree.vectors(rows)
        except VectorError:
            return np.zeros((len(rows), self.tree.dim), np.float32)


def write_block(
    memory: MemoryFolder, projection: Projection, points: NDArray[np.floating[Any]], rows: Rows
) -> Block:
    """Write a block, which is then mapped.

    Args:
        memory: gets it.
        projection: made the points.
        points: (n, dim) float32, or float16 as trees store them; n at least 1.
        rows: n entries of closed hours.

    Raises:
        OSError: the disk refuses.
    """
    listed = _List(
        format=_FORMAT,
        projection=projection.fingerprint,
        rows=len(rows),
        packs=tuple(_Pack(**pack._asdict()) for pack in rows.packs),
        sources=rows.sources,
    )
    final = memory.index / hashlib.sha256(listed.model_dump_json().encode()).hexdigest()[:16]
    building = final.with_name(f".building-{os.getpid()}")
    remove_index(building, _FILES)
    building.mkdir(parents=True)
    try:
        # The cores belong to who is searching.
        KDTree.build(stored_points(points), threads=1).save(building)
        for name, column in rows.columns.items():
            np.save(building / f"{name}.npy", column)
        (building / _LIST).write_text(listed.model_dump_json(), encoding="utf-8")
        remove_index(final, _FILES)
        building.rename(final)
    finally:
        remove_index(building, _FILES)
    return load_block(memory, final.name, projection)


def load_block(memory: MemoryFolder, key: str, projection: Projection) -> Block:
    """Map a block after checking it.

    Args:
        memory: has it.
        key: name of its folder.
        projection: of the memory.

    Raises:
        DamagedError: it is of another projection, or a file of it is missing or altered.
    """
    folder = memory.index / key
    listed = _read_list(folder)
    if listed.format != _FORMAT or listed.projection != projection.fingerprint:
        raise DamagedError(f"{folder} is of another projection or version")
    columns = {
        name: load_array(folder / f"{name}.npy", dtype, (listed.rows, *shape))
        for name, (dtype, shape) in COLUMNS.items()
    }
    rows = Rows(tuple(Pack(**pack.model_dump()) for pack in listed.packs), listed.sources, columns)
    _require_sound(folder, rows, len(memory.space.class_names))
    try:
        tree = KDTree.load(folder)
    except RtsearchError as error:
        raise DamagedError(str(error)) from None
    if len(tree) != listed.rows or tree.row_end != listed.rows or tree.dim != projection.dim:
        raise DamagedError(f"{folder} has a tree of other rows")
    return Block(folder, tree, rows)


def remove_block(folder: Path) -> None:
    """Remove the files of a block; those that others have put there stay."""
    remove_index(folder, _FILES)


def pack_hours(folder: Path) -> set[str] | None:
    """Return the hours of the block in a folder; None where it cannot be read."""
    try:
        return {pack.hour for pack in _read_list(folder).packs}
    except DamagedError:
        return None


def runs_to_join(sizes: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Return the places of neighbours that are joined, two or more in each run.

    A block that is not twice as large as the one after it is joined with it, up to 64 hours. So sizes at
    least halve from one block to the next, and hours of like numbers of entries are written anew six times.

    Args:
        sizes: hours and rows of each block, in the order of time.
    """
    runs: list[tuple[int, int, list[int]]] = []
    for place, (hours, rows) in enumerate(sizes):
        runs.append((hours, rows, [place]))
        while len(runs) > 1 and _is_joined(*runs[-2][:2], *runs[-1][:2]):
            more_hours, more_rows, places = runs.pop()
            runs[-1] = (runs[-1][0] + more_hours, runs[-1][1] + more_rows, runs[-1][2] + places)
    return [places for _, _, places in runs if len(places) > 1]


def _is_joined(hours: int, rows: int, next_hours: int, next_rows: int) -> bool:
    return hours + next_hours <= _MOST_HOURS and rows < 2 * next_rows


def joined(blocks: Sequence[Block]) -> tuple[NDArray[np.floating[Any]], Rows]:
    """Return the points and rows of blocks end to end, those of removed hours included.

    A removed row keeps its place, so that rows are counted as before; it lies where its points were.
    """
    packs = tuple(pack for block in blocks for pack in block.rows.packs)
    sources = tuple(dict.fromkeys(source for block in blocks for source in block.rows.sources))
    columns: dict[str, list[NDArray[Any]]] = {name: [] for name in COLUMNS}
    first_pack = 0
    for block in blocks:
        here = dict(block.rows.columns)
        here["pack"] = here["pack"] + np.int32(first_pack)
        places = np.array([sources.index(source) for source in block.rows.sources], np.int32)
        here["source"] = places[here["source"]]
        first_pack += len(block.rows.packs)
        for name, parts in columns.items():
            parts.append(here[name])
    rows = Rows(packs, sources, {name: np.concatenate(parts) for name, parts in columns.items()})
    return _all_points(blocks), rows


def _all_points(blocks: Sequence[Block]) -> NDArray[np.floating[Any]]:
    """Return the points of all rows of blocks, as their trees store them; those of removed ones are zeros."""
    dtype = np.result_type(*(block.tree.dtype for block in blocks))
    points = np.zeros((sum(map(len, blocks)), blocks[0].tree.dim), dtype)
    first = 0
    for block in blocks:
        there = np.flatnonzero(block.alive())
        for some in np.split(there, range(_PIECE, len(there), _PIECE)):
            points[first + some] = block.tree.vectors(some)
        first += len(block)
    return points


def _read_list(folder: Path) -> _List:
    path = folder / _LIST
    try:
        return _List.model_validate_json(read_regular(path, _MOST_LIST_BYTES))
    except (OSError, ValidationError, json.JSONDecodeError) as error:
        raise DamagedError(f"{path} cannot be read: {type(error).__name__}") from None


def _require_sound(folder: Path, rows: Rows, classes: int) -> None:
    columns = rows.columns
    limits = {
        "pack": (0, len(rows.packs)),
        "source": (0, len(rows.sources)),
        "label": (WHOLE_IMAGE_LABEL, classes),
    }
    for name, (least, end) in limits.items():
        if columns[name].min() < least or columns[name].max() >= end:
            raise DamagedError(f"{folder / name}.npy has numbers that name nothing")
    if not np.isfinite(columns["xyxy"]).all():
        raise DamagedError(f"{folder} has boxes that are not finite")
