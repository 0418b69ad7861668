"""Photos of a library that are no longer found: deleted, or only out of reach for now.

A photo that is missing from a folder where others of the library still are was deleted. Where a folder has
lost all of them it may as well be a drive that is not mounted: its photos stay until they are dropped on
request, or found to have moved.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from rtsearch.library.photos import Scan

__all__ = ["Missing", "by_folder", "missing_photos"]


@dataclass(frozen=True, slots=True)
class Missing:
    """Known photos that a scan has not found, as paths.

    Attributes:
        deleted: from folders where other known photos are, or excluded.
        lost: from folders that are gone, or hold none of the known photos any more.
    """

    deleted: set[str]
    lost: set[str]


def missing_photos(known: Collection[str], scan: Scan) -> Missing:
    """Sort the known photos that a scan has not found.

    What is there, but cannot be read now or is not asked for, is not missing.

    Args:
        known: paths of the library's photos.
        scan: what lies below the folder now.
    """
    found = {photo.path for photo in scan.photos}
    there = scan.unread | scan.unasked
    closed = tuple(path for path in scan.unread if path.endswith("/"))
    alive = {_folder(path) for path in known if path in found}
    missing = Missing(set(), set())
    for path in known:
        if path not in found and path not in there and not path.startswith(closed):
            gone = _folder(path) in alive or _is_excluded(path, scan.excluded)
            (missing.deleted if gone else missing.lost).add(path)
    return missing


def _is_excluded(path: str, excluded: Collection[str]) -> bool:
    folders = (path[: at + 1] for at, letter in enumerate(path) if letter == "/")
    return path in excluded or any(folder in excluded for folder in folders)


def by_folder(paths: Iterable[str]) -> list[tuple[str, int]]:
    """Count paths by the folder they lie in; ``./`` is the root."""
    return sorted(Counter(_folder(path) or "./" for path in paths).items())


def _folder(path: str) -> str:
    return path[: path.rfind("/") + 1]
