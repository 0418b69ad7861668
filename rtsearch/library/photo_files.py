"""Folders of photos, on a disk or on object storage: listed, and handed out as files one after the other.

Photos on object storage are fetched a little ahead of whoever looks at them, into a folder that goes when the
work is done; no more of them lie there than the window holds.
"""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import NamedTuple, Protocol

from rtsearch.errors import SourceError, StorageError
from rtsearch.library.photos import PhotoFile, Scan, find_photos
from rtsearch.library.remote_photos import find_remote_photos
from rtsearch.storage import CACHE, OtherBytesError, Store, address_of, open_store

__all__ = ["Fetched", "PhotoFiles", "bring", "photo_files"]

_log = logging.getLogger(__name__)

_AT_A_TIME = 8
_MOST_AHEAD = 32
_AHEAD_BYTES = 128 << 20
_GONE = "what was looked at is kept: bring it back and run the same command again"


class Fetched(NamedTuple):
    """A photo that can be looked at.

    Attributes:
        file: as it was listed.
        path: of its bytes on this machine.
        problem: why they are not there; "" where they are.
    """

    file: PhotoFile
    path: Path
    problem: str = ""


class PhotoFiles(Protocol):
    """Folder of photos.

    Attributes:
        root: its absolute path; for an address, the folder that stands for it.
    """

    @property
    def root(self) -> Path: ...

    def find(self, leave_out: Path, exclude: Sequence[str], *, films: bool) -> Scan:
        """List the photos; see ``find_photos``."""

    def opened(self, todo: Sequence[PhotoFile]) -> Iterator[Fetched]:
        """Hand photos out in order."""

    def release(self, path: Path) -> None:
        """Take a photo back that was handed out."""

    def expect(self) -> None:
        """Check that the folder is still there.

        Raises:
            SourceError: it is gone, or another one is in its place.
        """

    def close(self) -> None:
        """Remove what was fetched."""


def photo_files(root: Path) -> PhotoFiles:
    """Return the folder of photos at a path, or at the address that it stands for."""
    address = address_of(root)
    return _OnDisk(root) if address is None else _OnStorage(root, open_store(address))


def bring(root: Path, path: str) -> None:
    """Fetch a photo into the folder that stands for its address; in other folders, do nothing.

    One that cannot be fetched is missing there, as a file can be that a disk does not give.

    Args:
        root: folder of photos.
        path: of one, relative to it.
    """
    address = address_of(root)
    if address is None:
        return
    try:
        _bring(open_store(address), root, path)
    except (StorageError, OtherBytesError) as error:
        _log.warning("%s/%s cannot be fetched: %s", address, path, error)


def _bring(store: Store, root: Path, path: str) -> None:
    entry, target = store.entry(path), root / path
    with contextlib.suppress(FileNotFoundError):
        if entry is None:
            target.unlink()
            return
        stat = target.stat()
        if stat.st_size == entry.size_bytes and stat.st_mtime >= entry.modified.timestamp():
            return
    if entry is not None:
        with contextlib.suppress(FileNotFoundError), CACHE.new_file(target, entry.size_bytes) as file:
            store.download(path, file, entry.size_bytes)


class _OnDisk:
    """A folder of the disk; its photos stay where they are."""

    def __init__(self, root: Path) -> None:
        self._given, self.root = root, root.resolve()
        self._device = self._now()

    def find(self, leave_out: Path, exclude: Sequence[str], *, films: bool) -> Scan:
        return find_photos(self._given, leave_out, exclude, films=films)

    def opened(self, todo: Sequence[PhotoFile]) -> Iterator[Fetched]:
        for file in todo:
            yield Fetched(file, self.root / file.path)

    def release(self, path: Path) -> None:
        pass

    def close(self) -> None:
        pass

    def expect(self) -> None:
        if self._device != self._now():
            raise SourceError(f"{self.root} has gone away; {_GONE}")

    def _now(self) -> int | None:
        """Return the device of the folder; None where it is gone or empty, as the place of a mount is."""
        try:
            with os.scandir(self.root) as entries:
                return self.root.stat().st_dev if next(entries, None) else None
        except OSError:
            return None


class _OnStorage:
    """A folder on object storage, whose photos are fetched ahead."""

    def __init__(self, root: Path, store: Store) -> None:
        self.root = root
        self._store = store
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def find(self, leave_out: Path, exclude: Sequence[str], *, films: bool) -> Scan:
        return find_remote_photos(self._store, leave_out, exclude, films=films)

    def opened(self, todo: Sequence[PhotoFile]) -> Iterator[Fetched]:
        self._folder = tempfile.TemporaryDirectory(prefix="rtsearch-photos-", ignore_cleanup_errors=True)
        folder = Path(self._folder.name)
        waiting: deque[Future[Fetched]] = deque()
        sizes: deque[int] = deque()
        pool = ThreadPoolExecutor(_AT_A_TIME, "fetch")
        try:
            for number, file in enumerate(todo):
                while len(waiting) >= _MOST_AHEAD or (
                    waiting and sum(sizes) + file.size_bytes > _AHEAD_BYTES
                ):
                    sizes.popleft()
                    yield waiting.popleft().result()
                path = folder / f"{number}{PurePosixPath(file.path).suffix}"
                waiting.append(pool.submit(self._fetch, file, path))
                sizes.append(file.size_bytes)
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def release(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def close(self) -> None:
        if self._folder is not None:
            self._folder.cleanup()

    def expect(self) -> None:
        try:
            found = next(self._store.entries(), None)
        except StorageError as error:
            raise SourceError(f"{error}; what was looked at is kept") from None
        if found is None:
            raise SourceError(f"{self._store.address} has gone away; {_GONE}")

    def _fetch(self, file: PhotoFile, path: Path) -> Fetched:
        try:
            with path.open("wb") as opened:
                self._store.download(file.path, opened, file.size_bytes)
        except FileNotFoundError:
            return Fetched(file, path, "cannot be read: it has gone since it was listed")
        except OtherBytesError:
            return Fetched(file, path, "cannot be read: it has changed since it was listed")
        except (OSError, StorageError) as error:
            return Fetched(file, path, f"cannot be read: {getattr(error, 'strerror', None) or error}")
        return Fetched(file, path)
