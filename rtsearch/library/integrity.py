"""Looking for damage: every byte against its hash, every value against its range."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rtsearch.errors import DamagedError
from rtsearch.library.files import sha256_of
from rtsearch.library.fragment import read_objects, read_photos
from rtsearch.library.manifest import PARTS, Fragment
from rtsearch.library.reader import BATCH_ROWS, Library
from rtsearch.library.remote import remote_of
from rtsearch.library.schema import PhotoState, PhotoTable

__all__ = ["Problem", "check_fragment", "check_library", "cut_files"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One damaged file.

    Attributes:
        file: relative to the library, with ``/``.
        what: is wrong with it.
        photos: that lose their objects by it; empty where the damage hides their names.
        photo_count: how many these are.
    """

    file: str
    what: str
    photos: tuple[str, ...]
    photo_count: int

    def __str__(self) -> str:
        names = ", ".join(self.photos[:3]) or "names unknown"
        more = ", ..." if len(self.photos) > 3 else ""
        return f"{self.file}: {self.what}; {self.photo_count} photos touched ({names}{more})"


def check_library(library: Library) -> list[Problem]:
    """Read everything a library holds and list what is damaged; an empty list means that all is well."""
    problems = []
    seen: Counter[str] = Counter()
    for fragment in library.fragments:
        found, photos = _examine(library.folder, fragment, library.dim)
        seen.update(photos.path)
        twice = tuple(path for path in photos.path if seen[path] > 1)
        if twice:
            file = _relative(library.folder, fragment, "images")
            found.append(Problem(file, "it repeats photos of another fragment", twice, len(twice)))
        problems += found
    return problems


def cut_files(library: Library) -> list[str]:
    """Files that are missing or have another length, each with what is wrong; none of them is read.

    Of a library on object storage it is an empty list: its files are checked when they are fetched.
    """
    folder = library.folder
    if remote_of(folder) is not None:
        return []
    return [
        f"{_relative(folder, fragment, part)}: {what}"
        for fragment in library.fragments
        for part in PARTS
        if (what := _cut(folder, fragment, part))
    ]


def check_fragment(folder: Path, fragment: Fragment, dim: int) -> list[Problem]:
    """List what is damaged in one fragment."""
    return _examine(folder, fragment, dim)[0]


def _examine(folder: Path, fragment: Fragment, dim: int) -> tuple[list[Problem], PhotoTable]:
    problems: list[Problem] = []
    try:
        photos = read_photos(folder, fragment)
        touched = tuple(photos.path[i] for i, state in enumerate(photos.state) if state == PhotoState.OK)
        count = len(touched)
    except DamagedError:  # the hash below gives the reason
        photos, touched, count = PhotoTable.empty(), (), fragment.photos
    for part in PARTS:
        what = _altered(folder, fragment, part)
        if what and part == "images":
            problems.append(
                Problem(_relative(folder, fragment, part), what, tuple(photos.path), fragment.photos)
            )
        elif what:
            problems.append(Problem(_relative(folder, fragment, part), what, touched, count))
    if not problems:  # else the values would only say the same in other words
        what = _out_of_range(folder, fragment, dim)
        if what:
            problems.append(Problem(_relative(folder, fragment, "objects"), what, touched, count))
    return problems, photos


def _relative(folder: Path, fragment: Fragment, part: str) -> str:
    return fragment.path(folder, part).relative_to(folder).as_posix()


def _cut(folder: Path, fragment: Fragment, part: str) -> str:
    expected = fragment.stored(part).bytes
    try:
        size = fragment.path(folder, part).stat().st_size
    except FileNotFoundError:
        return "it is missing"
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
    return "" if size == expected else f"it has {size} bytes instead of {expected}"


def _altered(folder: Path, fragment: Fragment, part: str) -> str:
    if (remote := remote_of(folder)) is not None:
        return remote.problem(fragment, part)
    if what := _cut(folder, fragment, part):
        return what
    try:
        same = sha256_of(fragment.path(folder, part)) == fragment.stored(part).sha256
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
    return "" if same else "its bytes have changed since it was written"


def _out_of_range(folder: Path, fragment: Fragment, dim: int) -> str:
    columns = ("photo", "xyxy", "score", "vector", "thumb_offset", "thumb_bytes", "times_s")
    try:
        for rows in read_objects(folder, fragment, dim, columns, BATCH_ROWS):
            if not all(np.isfinite(rows[name]).all() for name in ("xyxy", "score", "vector")):
                return "a value is NaN or infinite"
    except DamagedError as error:
        return error.reason
    return ""
