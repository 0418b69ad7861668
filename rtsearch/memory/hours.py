"""Hours on the disk: each is a library, read whole into columns, or written entry by entry."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from rtsearch.errors import DamagedError, FeatureSpaceError, FormatError, NotALibraryError
from rtsearch.library import Library, LibraryWriter, Manifest, cut_files
from rtsearch.library.files import LOCK_NAME, MANIFEST_NAME, disk_errors
from rtsearch.library.manifest import PARTS
from rtsearch.library.sweep import own_folder, remove_fragments, remove_temporaries
from rtsearch.memory.entry import name_of
from rtsearch.memory.folder import MemoryFolder
from rtsearch.types import WHOLE_IMAGE_LABEL, I32Array

__all__ = [
    "COLUMNS",
    "Hour",
    "LeftOut",
    "Pack",
    "Rows",
    "bytes_of_hour",
    "empty_columns",
    "names_in",
    "open_hour",
    "read_hour",
    "read_table",
    "remove_hour",
    "sweep_hours",
    "write_hour",
]

COLUMNS: dict[str, tuple[type[np.generic], tuple[int, ...]]] = {
    "pack": (np.int32, ()),
    "source": (np.int32, ()),
    "visit": (np.int32, ()),
    "label": (np.int32, ()),
    "xyxy": (np.float32, (4,)),
    "times_s": (np.float64, (3,)),
    "seen_ns": (np.int64, (2,)),
    "offset": (np.int64, ()),
    "length": (np.int32, ()),
    "crc32": (np.int64, ()),
}
"""Columns per entry: type, and shape of one value; see ``Rows``."""

T = TypeVar("T")

LeftOut = (DamagedError, FeatureSpaceError, FormatError)
"""Errors of an hour that is left out, while the others are searched."""

_ALL = slice(None)
_GONE = ".gone-"  # what an hour is called while it is removed

_STORED = {
    "pack": "pack",
    "visit": "track",
    "label": "label",
    "xyxy": "xyxy",
    "times_s": "times_s",
    "offset": "thumb_offset",
    "length": "thumb_bytes",
    "crc32": "thumb_crc32",
}
"""Columns of a library's objects that are taken as they are."""
_READ = ("photo", *_STORED.values())


class Pack(NamedTuple):
    """File of crops: the fragment of an hour, as the hour was when its stamp was ``stamp``."""

    hour: str
    fragment: str
    stamp: str


@dataclass(frozen=True, slots=True)
class Rows:
    """Entries as columns.

    Attributes:
        packs: files of their crops, by the number in column ``pack``; ``offset``, ``length`` and ``crc32``
            say where a crop lies in its file.
        sources: names, by the number in column ``source``.
        columns: those of ``COLUMNS``, n rows each. ``visit`` is the number of a track, ``times_s`` are times
            in the source of the crop, first and last seen, ``seen_ns`` first and last seen by the wall clock.
    """

    packs: tuple[Pack, ...]
    sources: tuple[str, ...]
    columns: dict[str, NDArray[Any]]

    def __len__(self) -> int:
        return len(self.columns["label"])


class Hour(NamedTuple):
    """Entries of an hour with their (n, D) float16 descriptions."""

    rows: Rows
    vectors: NDArray[np.float16]


def empty_columns(n: int) -> dict[str, NDArray[Any]]:
    """Return the columns of n entries that are still to be filled."""
    return {name: np.empty((n, *shape), dtype) for name, (dtype, shape) in COLUMNS.items()}


def open_hour(memory: MemoryFolder, name: str) -> Library:
    """Open an hour for reading. Unlike other readers of libraries it keeps nobody from removing files.

    Raises:
        DamagedError: its manifest is damaged, or a file is missing or truncated; it is named.
        FeatureSpaceError, FormatError: it is of another memory, or of a newer version.
    """
    path = memory.hour(name)
    try:
        manifest = Manifest.read(path)
    except NotALibraryError:
        if any(path.glob("objects/*")):
            raise DamagedError(f"{path} is damaged (it has no manifest)") from None
        manifest = memory.manifest.model_copy(update={"fragments": ()})  # a kill, before there was anything
    manifest.space.require(memory.space.recipe, path)
    library = Library(path, manifest)
    if cut := cut_files(library):
        raise DamagedError(f"{path} is damaged ({cut[0]})")
    return library


def write_hour(memory: MemoryFolder, name: str) -> LibraryWriter:
    """Open an hour for writing; it is made when missing.

    Raises:
        LibraryError: the disk refuses, or the hour is damaged.
    """
    return LibraryWriter.open(memory.hour(name), memory.space, photo_root=memory.hour(name))


def read_hour(memory: MemoryFolder, name: str) -> Hour:
    """Read all entries of an hour but their crops.

    Raises:
        DamagedError: a file is missing, altered or truncated; it is named.
        FeatureSpaceError, FormatError: as ``open_hour``.
    """

    def read(library: Library) -> Hour:
        found = _read(library, ("vector", *_READ))
        return Hour(_rows(library, name, found), found["vector"])

    return _undisturbed(memory, name, read)


def read_table(memory: MemoryFolder, name: str) -> Rows:
    """Read the entries of an hour without their descriptions.

    Raises:
        DamagedError, FeatureSpaceError, FormatError: as ``read_hour``.
    """
    return _undisturbed(memory, name, lambda library: _rows(library, name, _read(library, _READ)))


def _undisturbed(memory: MemoryFolder, name: str, read: Callable[[Library], T]) -> T:
    """Read an hour, again where whoever writes it has replaced its files meanwhile."""
    while True:
        before = _bytes_of(memory.hour(name) / MANIFEST_NAME)
        try:
            return read(open_hour(memory, name))
        except DamagedError:
            if _bytes_of(memory.hour(name) / MANIFEST_NAME) == before:
                raise


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _read(library: Library, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    parts = {name: [_nothing(library.dim)[name]] for name in names}
    for batch in library.objects(names):
        for name, values in parts.items():
            values.append(batch[name])
    return {name: np.concatenate(values) for name, values in parts.items()}


def _rows(library: Library, name: str, found: dict[str, NDArray[Any]]) -> Rows:
    _require_sound(library, found)
    photos = library.photos()
    sources, number = np.unique([path.partition("/")[0] for path in photos.path], return_inverse=True)
    last = np.array(photos.mtime_ns, np.int64)
    length = (np.array(photos.length_s, np.float64) * 1e9).astype(np.int64)
    columns = empty_columns(len(found["label"]))
    columns["source"][:] = number.astype(np.int32)[found["photo"]]
    columns["seen_ns"][:] = np.stack([last - length, last], axis=1)[found["photo"]]
    for own, stored in _STORED.items():
        columns[own][:] = found[stored]
    packs = tuple(Pack(name, fragment.name, library.stamp) for fragment in library.fragments)
    return Rows(packs, tuple(map(str, sources)), columns)


def names_in(rows: Rows, some: I32Array | slice = _ALL) -> list[str]:
    """Return the names of entries, or of some of them."""
    columns = {name: rows.columns[name][some] for name in ("source", "seen_ns", "visit")}
    places = zip(
        columns["source"].tolist(), columns["seen_ns"][:, 1].tolist(), columns["visit"].tolist(), strict=True
    )
    return [name_of(rows.sources[source], last_ns, visit) for source, last_ns, visit in places]


def bytes_of_hour(memory: MemoryFolder, name: str) -> int:
    """Return the bytes of all files of an hour."""
    return sum(path.stat().st_size for path in memory.hour(name).rglob("*") if path.is_file())


def remove_hour(memory: MemoryFolder, name: str) -> None:
    """Remove an hour, at once for whoever reads the memory; foreign files in it stay.

    Raises:
        LibraryError: the disk refuses.
    """
    path = memory.hour(name)
    gone = path.with_name(_GONE + name)
    with disk_errors(memory.path):
        if path.is_dir():
            path.rename(gone)
            _remove(gone)


def sweep_hours(memory: MemoryFolder) -> None:
    """Remove what kills have left of hours that were being removed.

    Raises:
        LibraryError: the disk refuses.
    """
    if memory.hours.is_dir():
        with disk_errors(memory.path):
            for path in memory.hours.glob(_GONE + "*"):
                if path.is_dir() and not path.is_symlink():
                    _remove(path)


def _remove(hour: Path) -> None:
    for part in PARTS:
        own_folder(hour / part).mkdir(exist_ok=True)  # a kill may have left the others
    remove_fragments(hour, ())
    remove_temporaries(hour, MANIFEST_NAME)
    for name in (MANIFEST_NAME, LOCK_NAME):
        (hour / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # foreign files
        for part in PARTS:
            (hour / part).rmdir()
        hour.rmdir()


def _nothing(dim: int) -> dict[str, NDArray[Any]]:
    return {
        "vector": np.zeros((0, dim), np.float16),
        "xyxy": np.zeros((0, 4), np.float32),
        "times_s": np.zeros((0, 3)),
        **{key: np.zeros(0, np.int32) for key in ("photo", "pack", "label", "track", "thumb_bytes")},
        **{key: np.zeros(0, np.int64) for key in ("thumb_offset", "thumb_crc32")},
    }


def _require_sound(library: Library, found: dict[str, NDArray[Any]]) -> None:
    label, classes = found["label"], len(library.space.class_names)
    finite = all(np.isfinite(found[name]).all() for name in ("vector", "xyxy", "times_s") if name in found)
    if not finite or (label < WHOLE_IMAGE_LABEL).any() or (label >= classes).any():
        raise DamagedError(f"{library.folder} is damaged (its table of objects holds what cannot be)")
