"""Look for the object of a photo, or for an entry, in a memory."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from rtsearch.config import Settings
from rtsearch.errors import LibraryError, UnknownRowError
from rtsearch.jobs.moments import main_object
from rtsearch.memory.folder import MemoryFolder
from rtsearch.memory.learning import load_projection
from rtsearch.memory.opening import open_recollection, read_rest
from rtsearch.memory.recall import Recollection
from rtsearch.memory.seeing import SeenMoment, find_sightings
from rtsearch.pipeline import Pipeline
from rtsearch.types import class_name

__all__ = ["Answer", "like_entry", "like_photo", "open_seen"]


class Answer(NamedTuple):
    """Moments in which something like an object was seen, the newest first.

    Attributes:
        label: class of the object.
        others: classes of the photo's other objects.
        limit, pairs, moments, beyond: see ``seeing.Sightings``.
    """

    label: str
    others: tuple[str, ...]
    limit: float
    pairs: int
    moments: tuple[SeenMoment, ...]
    beyond: tuple[SeenMoment, ...]


def open_seen(memory: MemoryFolder) -> Recollection:
    """Open all that a memory holds on the disk, also while a run remembers into it.

    Raises:
        LibraryError: it holds nothing yet.
    """
    projection = load_projection(memory)
    if projection is None:
        raise LibraryError(f"{memory.path} remembers nothing yet; a run needs some minutes with --remember")
    found = open_recollection(memory, projection)
    read_rest(found, found.uncovered, blind_s=0)
    return found.recall


def like_photo(
    recall: Recollection, photo: Path, pipeline: Pipeline, settings: Settings, wanted: str = ""
) -> Answer:
    """Find when something like the main object of a photo was seen.

    Args:
        recall: the memory.
        photo: the file.
        pipeline: sees its objects.
        settings: sections ``analyze`` and ``detect``.
        wanted: class of the object; "" for any.

    Raises:
        PhotoError: the photo cannot be read, or shows no such object.
    """
    asked = main_object(photo, pipeline, settings, wanted)
    point = recall.projection.apply(asked.seen.vector)[0]
    found = find_sightings(recall, point, int(asked.seen.label[0]))
    return Answer(asked.label, asked.others, *found)


def like_entry(recall: Recollection, name: str) -> Answer:
    """Find when something like an entry was seen, the entry itself among it.

    Raises:
        UnknownRowError: there is no such entry.
    """
    row = recall.row_of(name)
    if row is None:
        raise UnknownRowError(f"{recall.memory.path} remembers nothing of the name {name}")
    rows = np.array([row], np.int32)
    label = int(recall.column("label", rows)[0])
    found = find_sightings(recall, recall.points(rows)[0], label)
    return Answer(class_name(recall.memory.space.class_names, label), (), *found)
