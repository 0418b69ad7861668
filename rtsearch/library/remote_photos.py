"""Finding the photos below an address of object storage, as ``photos`` does in a folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from rtsearch.errors import SourceError
from rtsearch.images.excluded import IGNORE_NAME, Patterns, patterns_in
from rtsearch.images.formats import FILM_SUFFIXES, kind_of_suffix
from rtsearch.library.files import MANIFEST_NAME
from rtsearch.library.photos import PhotoFile, Scan, expect_photos
from rtsearch.library.schema import is_safe_path
from rtsearch.storage import Entry, Store, address_of

__all__ = ["find_remote_photos"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MOST_IGNORED_BYTES = 1 << 16


def find_remote_photos(store: Store, leave_out: Path, exclude: Sequence[str], *, films: bool) -> Scan:
    """List the photos below an address.

    Args:
        store: of the address.
        leave_out: folder of the library, which may stand for an address inside it.
        exclude: patterns of names that are not looked at, see ``excluded``.
        films: films are named as left out, for they cannot be played from there.

    Raises:
        SourceError: there is no photo.
        StorageError: the objects cannot be listed.
    """
    library = address_of(leave_out)
    if library == store.address:
        raise SourceError(
            f"{store.address} is the library itself: give another address for it than the photos"
        )
    inside = "" if library is None else library.inside(store.address)
    entries = [entry for entry in store.entries() if not (inside and entry.key.startswith(inside))]
    patterns = [Patterns.of("", exclude), *_own_patterns(store, entries)]
    scan = Scan()
    for entry in entries:
        _look(entry, patterns, scan, films=films)
    if not scan.photos and any(entry.key == MANIFEST_NAME for entry in entries):
        raise SourceError(f"{store.address} is a library; the photos go first: rtsearch analyze PHOTOS LIB")
    expect_photos(store.address, scan)
    return scan


def _own_patterns(store: Store, entries: Sequence[Entry]) -> Iterator[Patterns]:
    """Patterns that folders have for themselves."""
    for entry in entries:
        folder, _, name = entry.key.rpartition("/")
        if name == IGNORE_NAME:
            found = store.read(entry.key, _MOST_IGNORED_BYTES)
            yield patterns_in(b"" if found is None else found.data, f"{folder}/" if folder else "")


def _look(entry: Entry, patterns: Sequence[Patterns], scan: Scan, *, films: bool) -> None:
    """Add an object to the scan, by its name alone."""
    path, suffix = entry.key, PurePosixPath(entry.key).suffix.lower()
    kind = kind_of_suffix(suffix)
    if met := _excluded(path, patterns):
        scan.excluded[met[0]] = met[1]
    elif not is_safe_path(path):
        scan.refused.append((path, "its name leads out of the folder: rename it"))
    elif kind is not None and not kind.way_out:
        since = entry.modified - _EPOCH
        mtime_ns = ((since.days * 86_400 + since.seconds) * 10**6 + since.microseconds) * 1000
        scan.photos.append(PhotoFile(path, entry.size_bytes, mtime_ns))
    elif suffix in FILM_SUFFIXES and films:
        scan.refused.append((path, "a film; films are looked at from a disk only: copy it there"))
    elif not path.endswith(IGNORE_NAME):
        scan.others[suffix] += 1


def _excluded(path: str, patterns: Sequence[Patterns]) -> tuple[str, str] | None:
    """Return the file, or the first folder above it, that meets a pattern, and the pattern."""
    places = [path[:at] for at, letter in enumerate(path) if letter == "/"]
    for place in [*places, path]:
        for each in patterns:
            if place.startswith(each.folder) and (met := each.match(place)):
                return (place if place == path else f"{place}/"), met
    return None
