"""Finding the photos below a folder, always in the same order.

Links to folders are never followed: one that stays inside the root leads to photos that are found under their
own names anyway, so no link can make a loop. Links to photos count when they stay inside the root.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from stat import S_ISDIR, S_ISREG

from rtsearch._util.regular_files import kind_of_file, open_regular
from rtsearch.errors import SourceError
from rtsearch.images.formats import PHOTO_SUFFIXES, START_BYTES, kind_of, kind_of_suffix
from rtsearch.library.files import MANIFEST_NAME
from rtsearch.library.left_out import in_words, left_out

__all__ = ["PhotoFile", "Scan", "find_photos", "holds_photos"]

_GLANCE = 100  # names of each folder


@dataclass(frozen=True, slots=True)
class PhotoFile:
    """A photo as the folder lists it.

    Attributes:
        path: relative to the root, with ``/``.
        size_bytes: of the file.
        mtime_ns: time of its last change, nanoseconds since 1970.
        known_sha256: of the bytes that the library knows under this path and size, if only the date differs.
    """

    path: str
    size_bytes: int
    mtime_ns: int
    known_sha256: str = ""


@dataclass(frozen=True, slots=True)
class Scan:
    """What lies below a folder.

    Attributes:
        photos: in the order of their paths.
        refused: path and reason of what was left out: links that lead outside, unreadable folders (their path
            ends with ``/``), names that are not UTF-8.
        unread: of them, what is there but cannot be read now.
        others: number of files that are not read, by the suffix of their names.
    """

    photos: list[PhotoFile] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    unread: set[str] = field(default_factory=set)
    others: Counter[str] = field(default_factory=Counter)

    def refuse(self, path: str, error: OSError) -> None:
        """Leave out what cannot be read now."""
        self.refused.append((path, f"cannot be read: {error.strerror}"))
        self.unread.add(path)


def find_photos(root: Path, leave_out: Path | None = None) -> Scan:
    """List the photos below a folder.

    Args:
        root: the folder.
        leave_out: a folder inside it that is not looked into (the library).

    Raises:
        SourceError: the folder is missing, unreadable or the one to leave out, or there is no photo in it.
    """
    scan = Scan()
    if root.is_file() and root.suffix.lower() in PHOTO_SUFFIXES:
        raise SourceError(f"{root} is a photo, not a folder: give the folder that it lies in, {root.parent}")
    if not root.is_dir():
        raise SourceError(
            f"{root} is {'not a folder' if root.exists() else 'missing'}: give a folder of photos"
        )
    root = root.resolve()
    left_out = None if leave_out is None else leave_out.resolve()
    if root == left_out:
        raise SourceError(f"{root} is the library itself: give another folder for it than that of the photos")
    waiting = [root]
    while waiting:
        folder = waiting.pop()
        if folder == left_out:
            continue
        try:
            with os.scandir(folder) as entries:
                waiting += _look(root, list(entries), scan)
        except OSError as error:
            if folder == root:
                raise SourceError(f"{root} cannot be read: {error.strerror}") from None
            scan.refuse(_relative(root, folder) + "/", error)
    if not scan.photos and (root / MANIFEST_NAME).is_file():
        raise SourceError(
            f"{root} is a library; the folder of photos goes first: rtsearch analyze PHOTOS LIB"
        )
    if not scan.photos:
        raise SourceError(_no_photos(root, scan))
    scan.photos.sort(key=lambda photo: photo.path)
    scan.refused.sort()
    return scan


def _no_photos(root: Path, scan: Scan) -> str:
    others = in_words(left_out(scan.others))
    return f"{root} has no photos" + (f"; left out: {others}" if others else "")


def holds_photos(folder: Path, depth: int = 1) -> bool:
    """Whether photos seem to lie in a folder, or in those inside it: a glance at some of the names."""
    with contextlib.suppress(OSError):
        for path in islice(folder.iterdir(), _GLANCE):
            if path.is_dir():
                if depth and holds_photos(path, depth - 1):
                    return True
            elif path.suffix.lower() in PHOTO_SUFFIXES:
                return True
    return False


def _look(root: Path, entries: list[os.DirEntry[str]], scan: Scan) -> list[Path]:
    """Add a folder's photos to the scan; returns the folders in it."""
    folders = []
    for entry in entries:
        path = Path(entry.path)
        if entry.is_dir(follow_symlinks=False):
            folders.append(path)
            continue
        wanted = _is_photo(path)
        if entry.is_symlink() and (wanted or _leads_to(path, S_ISDIR)) and not _stays_inside(root, path):
            scan.refused.append((_relative(root, path), "a link that leads out of the folder"))
        elif wanted:
            _add(root, path, scan)
        elif _leads_to(path, S_ISREG):
            scan.others[path.suffix.lower()] += 1
    return folders


def _leads_to(path: Path, kind: Callable[[int], bool]) -> bool:
    """Tell what a name stands for; a link in a circle stands for nothing."""
    try:
        return kind(path.stat().st_mode)
    except OSError:
        return False


def _is_photo(path: Path) -> bool:
    """Tell whether a file is read, by its name; by its first bytes where the name promises what is not."""
    kind = kind_of_suffix(path.suffix)
    if kind is None or not kind.way_out:
        return kind is not None
    try:
        with open_regular(path) as file:
            kind = kind_of(file.read(START_BYTES), path.suffix)
    except OSError:
        return True  # whoever looks at it says why
    return kind is not None and not kind.way_out


def _add(root: Path, path: Path, scan: Scan) -> None:
    try:
        relative = path.relative_to(root).as_posix()
        relative.encode()
        stat = path.stat()
    except UnicodeEncodeError:
        scan.refused.append((_relative(root, path), "its name is not UTF-8: rename it"))
    except OSError as error:
        scan.refuse(_relative(root, path), error)
    else:
        if S_ISREG(stat.st_mode):
            scan.photos.append(PhotoFile(relative, stat.st_size, stat.st_mtime_ns))
        elif not S_ISDIR(stat.st_mode):
            scan.refused.append((relative, f"{kind_of_file(stat.st_mode)}, not a file"))


def _stays_inside(root: Path, link: Path) -> bool:
    return Path(os.path.realpath(link)).is_relative_to(root)


def _relative(root: Path, path: Path) -> str:
    """For messages: printable even where the name is not UTF-8."""
    return os.fsencode(path.relative_to(root)).decode("utf-8", "backslashreplace")
