"""Finding the photos below a folder, always in the same order.

Links to folders are never followed, but counted: one that stays inside the root leads to photos that are
found under their own names anyway, so no link can make a loop. Links to photos count when they stay inside
the root.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath
from stat import S_ISDIR, S_ISREG

from rtsearch._util.regular_files import kind_of_file, open_regular
from rtsearch.errors import SourceError
from rtsearch.images.excluded import IGNORE_NAME, Patterns, read_patterns
from rtsearch.images.formats import FILM_SUFFIXES, PHOTO_SUFFIXES, START_BYTES, kind_of, kind_of_suffix
from rtsearch.library.files import MANIFEST_NAME
from rtsearch.library.left_out import in_words, left_out

__all__ = [
    "PhotoFile",
    "Scan",
    "excluded_in_words",
    "expect_photos",
    "find_photos",
    "holds_photos",
    "links_in_words",
]

_GLANCE = 100  # names of each folder
_TRANSPORT_SYNC = b"\x47"
_REASONS = 3  # that are said where there is no photo


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

    @property
    def is_film(self) -> bool:
        """It is a film by its name."""
        return PurePosixPath(self.path).suffix.lower() in FILM_SUFFIXES


@dataclass(slots=True)
class Scan:
    """Photos below a folder, and the files that were left out.

    Attributes:
        photos: in the order of their paths.
        refused: path and reason of what was left out: links that lead outside, unreadable folders (their path
            ends with ``/``), names that are not UTF-8.
        unread: of them, what is there but cannot be read now.
        unasked: films that are there, where only photos are listed.
        others: number of files that are not read, by the suffix of their names.
        excluded: patterns that names have met, by their paths, which end with ``/`` for folders.
        links: number of links to folders inside the root, which are not followed.
    """

    photos: list[PhotoFile] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    unread: set[str] = field(default_factory=set)
    unasked: set[str] = field(default_factory=set)
    others: Counter[str] = field(default_factory=Counter)
    excluded: dict[str, str] = field(default_factory=dict)
    links: int = 0

    @property
    def excluded_counts(self) -> dict[str, int]:
        """Number of names that have met each pattern, the most frequent one first."""
        counts = Counter(self.excluded.values())
        return dict(sorted(counts.items(), key=lambda each: (-each[1], each[0])))

    def refuse(self, path: str, error: OSError) -> None:
        """Leave out what cannot be read now."""
        self.refused.append((path, f"cannot be read: {error.strerror}"))
        self.unread.add(path)


def find_photos(
    root: Path, leave_out: Path | None = None, exclude: Sequence[str] = (), *, films: bool = False
) -> Scan:
    """List the photos below a folder.

    Args:
        root: the folder.
        leave_out: a folder inside it that is not looked into (the library).
        exclude: patterns of names that are not looked at, see ``excluded``.
        films: list films, too.

    Raises:
        SourceError: the folder is missing, unreadable or the one to leave out, or there is no photo in it.
    """
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
    scan = _Walk(root, left_out, films=films).through(exclude)
    if not scan.photos and (root / MANIFEST_NAME).is_file():
        raise SourceError(
            f"{root} is a library; the folder of photos goes first: rtsearch analyze PHOTOS LIB"
        )
    expect_photos(root, scan)
    return scan


def expect_photos(root: object, scan: Scan) -> None:
    """Put what was found in order.

    Raises:
        SourceError: there is no photo.
    """
    if not scan.photos:
        raise SourceError(_no_photos(root, scan))
    scan.photos.sort(key=lambda photo: photo.path)
    scan.refused.sort()


def _no_photos(root: object, scan: Scan) -> str:
    """Say that there are none, and what is there instead."""
    reasons = [f"{path}: {reason}" for path, reason in sorted(scan.refused)[:_REASONS]]
    if len(scan.refused) > _REASONS:
        reasons.append(f"and {len(scan.refused) - _REASONS:,} more")
    if scan.excluded:
        reasons.append(f"analyze.exclude: {excluded_in_words(scan.excluded_counts)}")
    if scan.links:
        reasons.append(links_in_words(scan.links))
    if scan.others:
        reasons.append(f"left out: {in_words(left_out(scan.others))}")
    if not reasons:
        reasons = ["there is no file below it; give the folder that holds them"]
    return "; ".join([f"{root} has no photos that can be looked at", *reasons])


def excluded_in_words(excluded: Mapping[str, int]) -> str:
    """Word what patterns have left out: ``12 x ._*, 2 x .git``."""
    return ", ".join(f"{count:,} x {pattern}" for pattern, count in excluded.items())


def links_in_words(links: int) -> str:
    """Say that links to folders were not followed."""
    return (
        f"{links:,} linked folder{'' if links == 1 else 's'} not followed: photos count under their own names"
    )


def holds_photos(folder: Path, depth: int = 1) -> bool:
    """Tell from some of the names whether a folder, or one inside it, holds photos."""
    with contextlib.suppress(OSError):
        for path in islice(folder.iterdir(), _GLANCE):
            if path.is_dir():
                if depth and holds_photos(path, depth - 1):
                    return True
            elif path.suffix.lower() in PHOTO_SUFFIXES:
                return True
    return False


class _Walk:
    """One walk through the folders below a root."""

    def __init__(self, root: Path, leave_out: Path | None, *, films: bool) -> None:
        self._root = root
        self._films = films
        self._prefix = len(os.path.join(root, ""))  # noqa: PTH118 - a Path drops the separator at the end
        self._leave_out = leave_out
        self._scan = Scan()

    def through(self, exclude: Sequence[str]) -> Scan:
        """Look into every folder; patterns of a folder hold in those below it."""
        waiting: list[tuple[Path, tuple[Patterns, ...]]] = [(self._root, (Patterns.of("", exclude),))]
        while waiting:
            folder, patterns = waiting.pop()
            try:
                with os.scandir(folder) as entries:
                    inside = list(entries)
                patterns = self._with_own(folder, inside, patterns)
                waiting += [(path, patterns) for path in self._look(inside, patterns)]
            except OSError as error:
                if folder == self._root:
                    raise SourceError(f"{self._root} cannot be read: {error.strerror}") from None
                self._scan.refuse(self._relative(folder) + "/", error)
        return self._scan

    def _with_own(
        self, folder: Path, entries: list[os.DirEntry[str]], patterns: tuple[Patterns, ...]
    ) -> tuple[Patterns, ...]:
        """Add the patterns that a folder has for itself."""
        if all(entry.name != IGNORE_NAME for entry in entries):
            return patterns
        relative = "" if folder == self._root else folder.relative_to(self._root).as_posix() + "/"
        return (*patterns, read_patterns(folder / IGNORE_NAME, relative))

    def _look(self, entries: list[os.DirEntry[str]], patterns: tuple[Patterns, ...]) -> list[Path]:
        """Add a folder's photos to the scan; returns the folders in it."""
        folders = []
        for entry in entries:
            path = Path(entry.path)
            relative = entry.path[self._prefix :].replace(os.sep, "/")
            is_folder = entry.is_dir(follow_symlinks=False)
            if met := next(filter(None, (each.match(relative) for each in patterns)), ""):
                self._scan.excluded[relative + "/" * is_folder] = met
            elif is_folder:
                if path != self._leave_out:
                    folders.append(path)
            elif entry.is_symlink():
                self._look_at_link(path)
            else:
                self._look_at_file(path)
        return folders

    def _look_at_link(self, path: Path) -> None:
        leads_to_folder = path.is_dir()
        read = PHOTO_SUFFIXES | FILM_SUFFIXES if self._films else PHOTO_SUFFIXES
        if not leads_to_folder and path.suffix.lower() not in read:
            return
        if not _stays_inside(self._root, path):
            self._scan.refused.append((self._relative(path), "a link that leads out of the folder"))
        elif leads_to_folder:
            self._scan.links += 1
        else:
            self._look_at_file(path)

    def _look_at_file(self, path: Path) -> None:
        if _is_photo(path) or (self._films and _is_film(path)):
            self._add(path)
        elif path.name != IGNORE_NAME:
            self._scan.others[path.suffix.lower()] += 1
            if path.suffix.lower() in FILM_SUFFIXES:
                self._scan.unasked.add(self._relative(path))

    def _add(self, path: Path) -> None:
        try:
            relative = path.relative_to(self._root).as_posix()
            relative.encode()
            stat = path.stat()
        except UnicodeEncodeError:
            self._scan.refused.append((self._relative(path), "its name is not UTF-8: rename it"))
        except OSError as error:
            self._scan.refuse(self._relative(path), error)
        else:
            if S_ISREG(stat.st_mode):
                self._scan.photos.append(PhotoFile(relative, stat.st_size, stat.st_mtime_ns))
            elif not S_ISDIR(stat.st_mode):
                self._scan.refused.append((relative, f"{kind_of_file(stat.st_mode)}, not a file"))

    def _relative(self, path: Path) -> str:
        """Return a path relative to the root, printable even where the name is not UTF-8."""
        return os.fsencode(path.relative_to(self._root)).decode("utf-8", "backslashreplace")


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


def _is_film(path: Path) -> bool:
    """Tell whether a file is a film, by its name; TypeScript's files end like transport streams."""
    suffix = path.suffix.lower()
    if suffix != ".ts":
        return suffix in FILM_SUFFIXES
    try:
        with open_regular(path) as file:
            return file.read(1) == _TRANSPORT_SYNC
    except OSError:
        return True  # whoever looks at it says why


def _stays_inside(root: Path, link: Path) -> bool:
    return Path(os.path.realpath(link)).is_relative_to(root)
