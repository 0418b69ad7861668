"""Reading a library: opening looks at the manifest only; the tables stream, fragment by fragment.

Row numbers: the objects of the fragments in the manifest's order, one after the other, give the global row
order that an index, its neighbours and the thumbnails speak of. Photos are numbered in the same way.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import numpy as np

from rtsearch.errors import PhotoError
from rtsearch.library.fragment import Columns, read_objects, read_photos
from rtsearch.library.manifest import PARTS, FeatureSpace, Fragment, Manifest
from rtsearch.library.photo_files import bring
from rtsearch.library.reader_lock import ReaderLock
from rtsearch.library.remote import RemotePack, remote_of
from rtsearch.library.schema import OBJECT_COLUMNS, PhotoTable, is_safe_path
from rtsearch.storage import folder_name, library_folder, naming_addresses, photo_folder

if TYPE_CHECKING:
    from rtsearch.config import Settings

__all__ = ["BATCH_ROWS", "Library"]

# 8 MB of vectors at 528 dimensions; a build over any number of objects holds one such batch at a time.
BATCH_ROWS = 8192


class Elsewhere(Protocol):
    """Searches a library whose files are not on this machine; see ``service``."""

    @property
    def shape(self) -> bytes:
        """Settings that shape the index, as JSON."""
        ...

    def index(self, settings: Settings) -> Any:
        """Return the ``SearchIndex`` for these settings."""

    def refuse(self) -> NoReturn:
        """Refuse what needs the library's tables."""

    def close(self) -> None:
        """End the connections."""


class Library:
    """A library opened for reading.

    Args:
        folder: the library.
        manifest: its manifest, read and checked.
        photo_root: where the photos are, if they have moved since.
        lock: keeps the files that the manifest names from being removed.

    Attributes:
        elsewhere: searches it, where its files are not on this machine; else None.
    """

    elsewhere: Elsewhere | None = None

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        photo_root: Path | None = None,
        lock: ReaderLock | None = None,
    ) -> None:
        self._lock = lock
        self.folder = folder
        self.manifest = manifest
        self.photo_root = photo_folder(photo_root or manifest.photo_root)

    @classmethod
    @naming_addresses()
    def open(cls, folder: Path, photo_root: Path | None = None) -> Library:
        """Open a library; takes milliseconds, whatever its size.

        While it is referred to, a writer leaves all files in place that it names, replaced or not.

        Args:
            folder: the library, or its address on object storage.
            photo_root: where the photos are, if they have moved since they were analysed.

        Raises:
            StorageError: the object storage cannot be reached, or refuses.
            NotALibraryError: missing, empty or foreign folder.
            FormatError: written by a newer version.
            DamagedError: altered or truncated manifest.
        """
        folder = library_folder(folder)
        if (remote := remote_of(folder)) is not None:
            remote.pull()
        lock = ReaderLock(folder)
        return cls(folder, Manifest.read(folder), photo_root, lock)

    @property
    def fragments(self) -> tuple[Fragment, ...]:
        """The committed fragments, in row order."""
        return self.manifest.fragments

    @property
    def space(self) -> FeatureSpace:
        """Feature space of the vectors."""
        return self.manifest.space

    @property
    def dim(self) -> int:
        """Dimensions of the stored vectors."""
        return self.manifest.space.dim

    @cached_property
    def stamp(self) -> str:
        """Changes whenever something derived from the library (its index) has to be rebuilt."""
        return self.manifest.stamp

    @property
    def state(self) -> str:
        """Names the state of the library in short, as in addresses of its crops."""
        return self.stamp[:16]

    @property
    def object_count(self) -> int:
        """Rows of all object tables."""
        return sum(fragment.objects for fragment in self.fragments)

    @property
    def photo_count(self) -> int:
        """Photos looked at, those without objects and those that failed included."""
        return sum(fragment.photos for fragment in self.fragments)

    @property
    def failed_count(self) -> int:
        """Photos that could not be read."""
        return sum(fragment.failed for fragment in self.fragments)

    @property
    def pack_paths(self) -> list[Path]:
        """The thumbnail packs, by fragment; what the column ``pack`` of ``objects`` counts."""
        return [fragment.path(self.folder, "thumbs") for fragment in self.fragments]

    @property
    def packs(self) -> list[Path | RemotePack]:
        """The thumbnail packs as crops are read from them: files, or objects of the storage."""
        remote = remote_of(self.folder)
        return [*self.pack_paths] if remote is None else [remote.pack(each) for each in self.fragments]

    def only(self, names: Collection[str]) -> Library:
        """Return the same library with fewer fragments: those of these names."""
        fragments = tuple(fragment for fragment in self.fragments if fragment.name in names)
        manifest = self.manifest.model_copy(update={"fragments": fragments})
        return Library(self.folder, manifest, self.photo_root, self._lock)

    def require(self, recipe: Mapping[str, Any]) -> None:
        """Check that vectors of ``recipe`` can be compared with those of this library.

        Raises:
            FeatureSpaceError: they cannot; the message says what differs.
        """
        self.space.require(recipe, self.folder)

    def objects(
        self, columns: Sequence[str] = (*OBJECT_COLUMNS, "pack"), batch_rows: int = BATCH_ROWS
    ) -> Iterator[Columns]:
        """Stream columns of all objects in row order.

        Args:
            columns: any of ``photo`` (n,) int32, number in ``photos()``; ``xyxy`` (n, 4) float32, photo
                pixels; ``label`` (n,) int32; ``score`` (n,) float32; ``whole`` (n,) bool; ``vector`` (n, dim)
                float16; ``thumb_offset`` (n,) int64 and ``thumb_bytes`` (n,) int32 in the pack;
                ``thumb_crc32`` (n,) int64 of those bytes, -1 where none was stored; ``times_s`` (n, 3)
                float64 and ``track`` (n,) int32 in a film, see ``ObjectRows``; ``pack`` (n,) int32, number in
                ``pack_paths``.
            batch_rows: most rows at a time.

        Yields:
            One dict of arrays per batch; they may be read-only views.

        Raises:
            DamagedError: a file is missing, altered or truncated; it is named.
        """
        if self.elsewhere is not None:
            self.elsewhere.refuse()
        stored = [name for name in columns if name != "pack"] or ["label"]
        first_photo = 0
        for number, fragment in enumerate(self.fragments):
            for batch in read_objects(self.folder, fragment, self.dim, stored, batch_rows):
                if "photo" in batch:
                    batch["photo"] = batch["photo"] + np.int32(first_photo)
                batch["pack"] = np.full(len(batch[stored[0]]), number, np.int32)
                yield {name: batch[name] for name in columns}
            first_photo += fragment.photos

    def photos(self) -> PhotoTable:
        """Return all analysed photos, in the order that the column ``photo`` of ``objects`` counts.

        Raises:
            DamagedError: a file is missing, altered or truncated; it is named.
        """
        if self.elsewhere is not None:
            self.elsewhere.refuse()
        table = PhotoTable.empty()
        for fragment in self.fragments:
            table.extend(read_photos(self.folder, fragment))
        return table

    def photo_path(self, path: str) -> Path:
        """Return the present path of a photo of the library; one on object storage is fetched.

        Args:
            path: as in ``photos().path``.

        Raises:
            PhotoError: it would lead out of the photo root.
        """
        root = self.photo_root.resolve()
        if is_safe_path(path):
            full = (root / path).resolve()
            if full.is_relative_to(root):
                bring(root, path)
                return full
        raise PhotoError(f"{path} leads out of the photo folder {root}")

    def is_photo(self, file: Path) -> bool:
        """Tell whether a file, under whatever name, is one of the analysed photos.

        Raises:
            DamagedError: a photo table is damaged; it is named.
        """
        root, whole = self.photo_root.resolve(), file.resolve()
        if not whole.is_relative_to(root):
            return False
        return whole.relative_to(root).as_posix() in self.photos().path

    def info(self) -> dict[str, Any]:
        """Counts and provenance, from the manifest alone."""
        fragments = self.fragments
        return {
            "photos": self.photo_count,
            "objects": self.object_count,
            "no_objects": sum(f.empty for f in fragments),
            "failed": self.failed_count,
            "fragments": len(fragments),
            "bytes": sum(f.stored(part).bytes for f in fragments for part in PARTS),
            "vector_dim": self.dim,
            "fingerprint": self.space.fingerprint,
            "recipe": self.space.recipe,
            "photo_root": folder_name(self.photo_root),
        }
