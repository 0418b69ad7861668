"""Removal of files from a library's folder: only of those that a library has written.

A library is a folder that people give to each other. So no link in it is followed, and a file is removed only
where its name and its first bytes are those of a file that this package writes; what else lies there stays.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection
from pathlib import Path

from rtsearch.errors import LibraryError
from rtsearch.library.files import LOCK_NAME, MANIFEST_NAME, TMP_SUFFIX
from rtsearch.library.manifest import PARTS, Manifest

__all__ = [
    "final_name",
    "own_folder",
    "remove_fragments",
    "remove_index",
    "remove_library",
    "remove_temporaries",
]

_log = logging.getLogger(__name__)

_FIRST_BYTES = {".parquet": b"PAR1", ".pack": b"\xff\xd8\xff"}  # a pack begins with a JPEG
_INDEX_FOLDER = re.compile(r"[0-9a-f]{16}|\.building-\d+")
_TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]+")  # what ``atomic`` writes under before it is whole


def own_folder(path: Path) -> Path:
    """Return a folder of a library, which may be missing, once it is found to be no link.

    Raises:
        LibraryError: it is a link, and what is removed in it would be foreign.
    """
    if path.is_symlink():
        raise LibraryError(
            f"{path} is a link, but the parts of a library lie in its own folder: put the folder there that "
            "the link leads to"
        )
    return path


def remove_fragments(library: Path, keep: Collection[Path]) -> None:
    """Remove the files of fragments that are not to be kept: a killed writer's, and those replaced since.

    Raises:
        LibraryError: a folder of the library is a link.
    """
    for part in PARTS:
        for path in own_folder(library / part).iterdir():
            if path not in keep and _is_of_fragment(path, part):
                _log.debug("removing %s, which the manifest does not name", path)
                path.unlink(missing_ok=True)


def remove_index(folder: Path, names: Collection[str]) -> bool:
    """Remove the folder of an index, unless it holds anything but files of these names.

    Returns:
        False where the folder is still there: it is a link, no index by its name, or holds other files.
    """
    if folder.is_symlink() or not _INDEX_FOLDER.fullmatch(folder.name):
        return False
    if not folder.is_dir():
        return not folder.exists()
    files = list(folder.iterdir())
    if not all((path.name in names or final_name(path) in names) and _is_plain(path) for path in files):
        return False
    for path in files:
        path.unlink(missing_ok=True)
    folder.rmdir()
    return True


def remove_library(folder: Path) -> bool:
    """Remove a library without an index, unless its folder holds anything but the files of one.

    Returns:
        False where it is still there.
    """
    if folder.is_symlink() or not folder.is_dir() or not _is_plain(folder / MANIFEST_NAME):
        return False
    try:
        Manifest.read(folder)
    except LibraryError:
        return False
    inside = list(folder.iterdir())
    parts = [path for path in inside if path.name in PARTS and path.is_dir() and not path.is_symlink()]
    files = [path for path in inside if path not in parts]
    own = {MANIFEST_NAME, LOCK_NAME}
    if not all((path.name in own or final_name(path) == MANIFEST_NAME) and _is_plain(path) for path in files):
        return False
    fragments = {path: part.name for part in parts for path in part.iterdir()}
    if not all(_is_of_fragment(path, part) for path, part in fragments.items()):
        return False
    for path in fragments:
        path.unlink(missing_ok=True)
    for path in parts:
        path.rmdir()
    for path in sorted(files, key=lambda path: path.name == MANIFEST_NAME):  # the manifest last
        path.unlink(missing_ok=True)
    folder.rmdir()
    return True


def _is_of_fragment(path: Path, part: str) -> bool:
    suffix = PARTS[part]
    name = re.compile(rf"\d{{6,}}{re.escape(suffix)}({re.escape(TMP_SUFFIX)})?")
    return bool(name.fullmatch(path.name)) and _begins(path, _FIRST_BYTES[suffix])


def final_name(path: Path) -> str:
    """Return the name that a file would have got, had it not been left half written; "" for other files."""
    found = _TEMPORARY.fullmatch(path.name)
    return found[1] if found else ""


def remove_temporaries(folder: Path, name: str) -> None:
    """Remove what kills have left of a file of this name; nobody else may be writing it."""
    for path in folder.iterdir():
        if final_name(path) == name and _is_plain(path):
            path.unlink(missing_ok=True)


def _begins(path: Path, first: bytes) -> bool:
    """Tell whether a regular file begins with these bytes, or with what a power cut leaves of them: zeros."""
    if not _is_plain(path):
        return False
    with path.open("rb") as file:
        head = file.read(len(first))
    return head == first or not head.strip(b"\0")


def _is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()
