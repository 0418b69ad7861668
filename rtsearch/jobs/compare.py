"""A folder of photos against the library: what is dropped, what stays, what has to be read."""

from __future__ import annotations

import zlib
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from rtsearch.errors import LibraryError
from rtsearch.library import LibraryWriter, PhotoRow, PhotoState, PhotoTable
from rtsearch.library.missing import missing_photos
from rtsearch.library.photos import PhotoFile, Scan
from rtsearch.storage import folder_name

__all__ = ["WHOLE", "Part", "Plan", "compare"]

_MOST_PARTS = 100_000


class Part(NamedTuple):
    """One of several parts of a folder's photos, which different machines analyse.

    Attributes:
        number: of the part, from 1.
        total: number of parts.
    """

    number: int
    total: int

    @classmethod
    def parse(cls, text: str) -> Part:
        """Read ``3/16``.

        Raises:
            ValueError: it is no part; the message says what is expected.
        """
        number, slash, count = text.partition("/")
        digits = number.isascii() and number.isdigit() and count.isascii() and count.isdigit()
        if not (slash and digits and 1 <= int(number) <= int(count) <= _MOST_PARTS):
            raise ValueError(f"expected a part such as 3/16, up to {_MOST_PARTS} parts, got {text[:40]}")
        return cls(int(number), int(count))

    def holds(self, path: str) -> bool:
        """Tell whether a photo belongs to the part; its path alone decides, on every machine alike."""
        return zlib.crc32(path.encode()) % self.total == self.number - 1


WHOLE = Part(1, 1)


@dataclass(frozen=True, slots=True)
class Plan:
    """Work of one analysis.

    Attributes:
        todo: photos to be read, those of one fragment beside each other: each commit then writes few of the
            old fragments anew.
        known: rows of those that the library holds, by path.
        lost: hashes of photos that are kept although their folder has lost them, by path; "" where not known.
        kept: number of photos that are as the library knows them.
        dropped: number of photos that were taken out of the library.
    """

    todo: list[PhotoFile]
    known: dict[str, PhotoRow]
    lost: dict[str, str]
    kept: int
    dropped: int


def compare(writer: LibraryWriter, scan: Scan, photos: Path, drop: bool, part: Part = WHOLE) -> Plan:
    """Drop from the library what was deleted, and find what has to be read.

    Args:
        writer: of the library, which follows its photos to ``photos``.
        scan: what lies below that folder.
        photos: the folder.
        drop: whether photos of folders that are empty or gone are dropped, too.
        part: new photos of other parts are left to other runs.

    Raises:
        LibraryError: the folder is another one than that of the library, and holds other photos.
    """
    known = writer.photos()
    found = {photo.path: photo for photo in scan.photos}
    holds_objects = any(fragment.objects for fragment in writer.manifest.fragments)
    if holds_objects:
        _expect_same_photos(writer, known, found.keys(), folder_name(photos))
    missing = missing_photos([*known.path, *writer.doubted], scan)
    gone, lost = missing.deleted, missing.lost
    if drop or not holds_objects:  # without objects there is nothing to lose
        gone, lost = gone | lost, set()
    todo: list[PhotoFile] = []
    rows: dict[str, PhotoRow] = {}
    rows_of = {path: i for i, path in enumerate(known.path)}  # a repair that was stopped leaves some twice
    for path, i in rows_of.items():
        photo = found.get(path)
        if photo and not _is_settled(known, i, photo):
            same_size = photo.size_bytes == known.size_bytes[i]
            todo.append(replace(photo, known_sha256=known.sha256[i] if same_size else ""))
            rows[path] = known.row(i)
    writer.move(photos)
    dropped = writer.drop(gone)
    new = found.keys() - set(known.path)
    kept = len(found) - len(todo) - len(new)
    doubted = writer.doubted  # is this library's own, whatever its part
    wanted = {path for path in new if path in doubted or part.holds(path)}
    todo += [photo for photo in scan.photos if photo.path in wanted]
    hashes = dict(zip(known.path, known.sha256, strict=True))
    return Plan(todo, rows, {path: hashes.get(path, "") for path in lost}, kept, dropped)


def _is_settled(known: PhotoTable, i: int, photo: PhotoFile) -> bool:
    """Tell whether the library has the last word on a photo: its file is as it was, and was read."""
    unchanged = (photo.size_bytes, photo.mtime_ns) == (known.size_bytes[i], known.mtime_ns[i])
    return unchanged and (known.state[i] != PhotoState.FAILED or known.sha256[i] != "")


def _expect_same_photos(writer: LibraryWriter, known: PhotoTable, found: Collection[str], root: str) -> None:
    """Refuse a folder of other photos: a library follows its own, but no slip of the keyboard empties it."""
    if root == writer.manifest.photo_root:
        return
    there = sum(path in found for path in known.path)
    if 2 * there < len(known):
        raise LibraryError(
            f"{writer.folder} holds the photos of {writer.manifest.photo_root}, of which {root} has "
            f"{there} in {len(known)}: give that folder, or another folder for the library"
        )
