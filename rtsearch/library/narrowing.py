"""Narrow a search: some classes, folders and dates only, near duplicates once, a photo left out."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rtsearch.config import SearchSettings
from rtsearch.errors import ConfigError, LibraryError
from rtsearch.library.files import sha256_of
from rtsearch.library.film_times import seen_between_ns
from rtsearch.library.reader import Library
from rtsearch.library.search_index import Narrowed, SearchIndex
from rtsearch.models.vocabulary import classes_meant
from rtsearch.types import WHOLE_IMAGE_LABEL, WHOLE_IMAGE_NAME

__all__ = ["narrow", "narrow_by"]

Mask = NDArray[np.bool_]


def narrow(
    index: SearchIndex,
    search: SearchSettings,
    *,
    distinct: bool,
    leave_out: Path | None = None,
    until: str = "",
) -> SearchIndex:
    """Return the index with searches that find what the settings want.

    Args:
        index: of all rows, or narrowed before; returned as it is if by the same settings.
        search: its ``classes``, ``folders`` and ``since``.
        distinct: near duplicates are found once.
        leave_out: file whose objects are not found, by its content; near duplicates of them are not found
            either where these are shown once.
        until: date, or date and time, in ISO format; only what was not seen after it; "" for all.

    Raises:
        ConfigError: a class or folder that there is not, or nothing is left to be found.
        LibraryError: the file to be left out cannot be read, or the library is damaged.
    """
    own = "" if leave_out is None else _sha256(leave_out)
    by = Narrowed(search.classes, search.folders, search.since, until, distinct, own)
    return narrow_by(index, by)


def narrow_by(index: SearchIndex, by: Narrowed) -> SearchIndex:
    """Return the index with searches that find what is wanted; see ``narrow``."""
    if index.narrowed_by == by:
        return index
    if (elsewhere := index.narrowed_elsewhere(by)) is not None:
        return elsewhere
    allowed = _allowed(index, by)
    if by.leave_out:
        others = _others_than(index, by.leave_out, folded=by.distinct)
        allowed = others if allowed is None else allowed & others
    narrowed = index.narrowed(allowed, distinct=by.distinct)
    narrowed.narrowed_by = by
    return narrowed


def _allowed(index: SearchIndex, by: Narrowed) -> Mask | None:
    """Return the rows that the settings want, (n,) bool; None for all."""
    wanted = []
    if by.classes:
        wanted.append(np.isin(index.labels, _labels(index.library, by.classes)))
    if by.folders:
        wanted.append(_below(index, by.folders)[index.photo_numbers])
    if by.since or by.until:
        first_ns, last_ns = seen_between_ns(index)
        wanted += [last_ns >= _ns(by.since)] if by.since else []
        wanted += [first_ns <= _ns(by.until)] if by.until else []
    if not wanted:
        return None
    allowed: Mask = np.logical_and.reduce(wanted)
    if not allowed.any():
        names = [f"search.{name}" for name in ("classes", "folders", "since") if getattr(by, name)]
        names += ["--until"] * bool(by.until)
        raise ConfigError(
            f"{' and '.join(names)}: no object of {index.library.folder} is left to be found; ask for more"
        )
    return allowed


def _labels(library: Library, classes: tuple[str, ...]) -> list[int]:
    known = {name: label for label, name in enumerate(library.space.class_names)}
    known[WHOLE_IMAGE_NAME] = WHOLE_IMAGE_LABEL
    for name in classes:
        if name not in known:
            meant = " or ".join(classes_meant(name, library.space.class_names))
            hint = f"did you mean {meant}?" if meant else "`rtsearch model info` lists them"
            raise ConfigError(f"search.classes: {library.folder} has no class {name}; {hint}")
    return [known[name] for name in classes]


def _below(index: SearchIndex, folders: tuple[str, ...]) -> Mask:
    """Return the photos below some folders, (photos,) bool."""
    found = []
    for folder in folders:
        below = index.paths.below(folder.strip("/").removeprefix("./"))
        if not below.any():
            raise ConfigError(
                f"search.folders: no photo of {index.library.folder} lies in {folder}; folders are relative "
                f"to {index.library.photo_root}"
            )
        found.append(below)
    inside: Mask = np.logical_or.reduce(found)
    return inside


def _ns(moment: str) -> int:
    return int(datetime.fromisoformat(moment).timestamp() * 1e9)


def _others_than(index: SearchIndex, sha256: str, *, folded: bool) -> Mask:
    """Return the rows that are not of a file, (n,) bool.

    Args:
        index: of all rows.
        sha256: of a photo under any name.
        folded: leave out near duplicates, too.
    """
    same = [number for number, known in enumerate(index.library.photos().sha256) if known == sha256]
    own: Mask = np.isin(index.photo_numbers, same)
    if folded:
        leader = index.leaders
        own = np.isin(leader, leader[own])
    return ~own


def _sha256(file: Path) -> str:
    try:
        return sha256_of(file)
    except OSError as error:
        raise LibraryError(f"{file} cannot be read: {error.strerror}") from None
