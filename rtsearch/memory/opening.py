"""Open what a memory holds for search: blocks first, then hours that are in none."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import NamedTuple

from rtsearch.errors import DamagedError
from rtsearch.memory.block import Block, load_block
from rtsearch.memory.folder import MemoryFolder, hour_of
from rtsearch.memory.hours import LeftOut, open_hour, read_hour
from rtsearch.memory.open_rows import OpenRows
from rtsearch.memory.recall import Recollection
from rtsearch.search.projection import Projection

__all__ = ["Found", "current_hours", "open_recollection", "read_rest"]

_log = logging.getLogger(__name__)


class Found(NamedTuple):
    """Parts of a memory that are there.

    Attributes:
        recall: all blocks that fit.
        uncovered: hours that are in none of them, the oldest first.
        useless: folders of other blocks.
        damaged: hours that are left out, each with what is wrong.
    """

    recall: Recollection
    uncovered: tuple[str, ...]
    useless: tuple[str, ...]
    damaged: dict[str, str]


def open_recollection(memory: MemoryFolder, projection: Projection) -> Found:
    """Open the blocks of a memory that fit its hours; a damaged hour is named, and left out.

    Args:
        memory: the folder.
        projection: whose blocks fit.
    """
    stamps, damaged = _stamps(memory)
    blocks, useless = _blocks(memory, projection)
    recall, covered = Recollection(memory, projection), set[str]()
    for block in sorted(blocks, key=lambda block: (-len(block.hours), block.hours)):
        packs = block.rows.packs
        stale = any(pack.hour in stamps and stamps[pack.hour] != pack.stamp for pack in packs)
        gone = {hour for hour in block.hours if hour not in stamps}
        if stale or covered & set(block.hours) or gone == set(block.hours):
            useless.append(block.folder.name)
            continue
        recall.put(block.without(gone) if gone else block)
        covered |= set(block.hours)
    uncovered = tuple(name for name in memory.hour_names() if name in stamps and name not in covered)
    return Found(recall, uncovered, tuple(useless), damaged)


def read_rest(found: Found, names: Sequence[str], blind_s: float) -> None:
    """Read hours that are in no block into memory, and search them, too."""
    recall = found.recall
    for name in names:
        try:
            hour = read_hour(recall.memory, name)
        except LeftOut as error:
            _leave_out(found.damaged, name, error)
            continue
        opened = OpenRows.of(name, hour, recall.projection, blind_s)
        recall.put(opened, opened.room)


def current_hours(names: Sequence[str]) -> list[str]:
    """Return those of some hours that are the present one."""
    now = hour_of(time.time_ns())
    return [name for name in names if name.partition("-")[0] == now]


def _stamps(memory: MemoryFolder) -> tuple[dict[str, str], dict[str, str]]:
    """Return the stamps of all sound hours, and what is wrong with the others, by hour."""
    stamps: dict[str, str] = {}
    damaged: dict[str, str] = {}
    for name in memory.hour_names():
        try:
            stamps[name] = open_hour(memory, name).stamp
        except LeftOut as error:
            _leave_out(damaged, name, error)
    return stamps, damaged


def _leave_out(damaged: dict[str, str], name: str, error: Exception) -> None:
    damaged[name] = str(error)
    _log.warning("%s; the hour is left out", error)


def _blocks(memory: MemoryFolder, projection: Projection) -> tuple[list[Block], list[str]]:
    """Return the blocks that are sound, and the names of other folders among them."""
    blocks, useless = [], []
    for folder in sorted(memory.index.iterdir()) if memory.index.is_dir() else ():
        try:
            blocks.append(load_block(memory, folder.name, projection))
        except (DamagedError, OSError) as error:
            _log.debug("%s is made again: %s", folder, error)
            useless.append(folder.name)
    return blocks, useless
