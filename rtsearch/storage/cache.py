"""Files that were fetched from object storage: named by their hash, checked whenever they are used, bounded.

    CACHE/files/SHA256                    fragments' files
    CACHE/libraries/ADDRESS/index/KEY/    indexes, each a folder
    CACHE/photos/ADDRESS/PATH             photos that were asked for

What was used longest ago goes first. A file that is open or mapped stays readable when its name is gone.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from rtsearch._util.regular_files import open_regular
from rtsearch.errors import StorageError
from rtsearch.storage.address import cache_home
from rtsearch.storage.store import OtherBytesError, Store

__all__ = ["CACHE", "Cache"]

_FILES = "files"


class _Kept(NamedTuple):
    """Something that can be removed: a file, or the folder of an index."""

    used_s: float
    size_bytes: int
    path: Path


class Cache:
    """Files of object storage on this machine; any number of threads and processes may use it.

    Attributes:
        limit_bytes: most that the files take; the setting ``storage.cache_mb``.
    """

    def __init__(self) -> None:
        self.limit_bytes = 10 << 30
        self._lock = threading.Lock()
        self._used_bytes: int | None = None  # not counted yet

    def file(self, store: Store, key: str, size_bytes: int, sha256: str) -> Path:
        """Return an object of this hash as a file, fetched if it is not there or damaged.

        Raises:
            FileNotFoundError: the storage has no such object.
            OtherBytesError: it is another one.
            StorageError: it cannot be fetched.
        """
        path = self._path(sha256)
        if _is_sound(path, size_bytes, sha256):
            os.utime(path)
            return path
        with self.new_file(path, size_bytes) as file:
            fetch(store, key, file, size_bytes, sha256)
        return path

    def drop(self, sha256: str) -> None:
        """Forget the file of this hash."""
        self._path(sha256).unlink(missing_ok=True)

    def take(self, path: Path, sha256: str) -> None:
        """Move a file of this hash, which the storage has now, into the cache."""
        size_bytes = path.stat().st_size
        kept = self._path(sha256)
        kept.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with contextlib.suppress(StorageError):  # it does not fit, and can be fetched
            self.make_room(size_bytes)
            path.replace(kept)
        path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def new_file(self, path: Path, size_bytes: int) -> Iterator[BinaryIO]:
        """Open a file for writing that gets its name when the block ends without an error.

        Raises:
            StorageError: it is larger than the cache may be.
        """
        self.make_room(size_bytes)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = path.with_name(f".{path.name[:200]}.{secrets.token_hex(4)}")
        try:
            with temporary.open("xb") as file:
                yield file
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    def make_room(self, size_bytes: int) -> None:
        """Remove what was used longest ago until so many bytes fit.

        Raises:
            StorageError: they are more than the cache may be.
        """
        if size_bytes > self.limit_bytes:
            raise StorageError(
                f"{size_bytes / 1e6:,.0f} MB have to be fetched, more than storage.cache_mb = "
                f"{self.limit_bytes >> 20}: raise it"
            )
        with self._lock:
            if self._used_bytes is None or self._used_bytes + size_bytes > self.limit_bytes:
                self._used_bytes = _shrunk(self.limit_bytes - size_bytes)
            self._used_bytes += size_bytes

    def _path(self, sha256: str) -> Path:
        return cache_home() / _FILES / sha256


CACHE = Cache()
"""The cache of this process; its files are shared by all processes of the user."""


def fetch(store: Store, key: str, file: BinaryIO, size_bytes: int, sha256: str) -> None:
    """Write an object of this hash into a file that can be read, too.

    Raises:
        FileNotFoundError: there is no such object.
        OtherBytesError: it is another one.
        StorageError: it cannot be read.
    """
    hashed = _Hashed(file)
    store.download(key, hashed, size_bytes)  # type: ignore[arg-type]
    if hashed.sha256.hexdigest() != sha256:
        raise OtherBytesError("its bytes have changed since it was written")


class _Hashed:
    """File for writing whose bytes are hashed on their way."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        return self._file.write(data)


def _is_sound(path: Path, size_bytes: int, sha256: str) -> bool:
    try:
        with open_regular(path) as file:
            if os.fstat(file.fileno()).st_size != size_bytes:
                return False
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except OSError:
        return False


def _shrunk(limit_bytes: int) -> int:
    """Remove what was used longest ago until the rest has no more bytes than that; return their number."""
    kept = sorted(_kept())
    used_bytes = sum(each.size_bytes for each in kept)
    for each in kept:
        if used_bytes <= limit_bytes:
            break
        if each.path.is_dir():
            shutil.rmtree(each.path, ignore_errors=True)
        else:
            each.path.unlink(missing_ok=True)
        used_bytes -= each.size_bytes
    return used_bytes


def _kept() -> Iterator[_Kept]:
    home = cache_home()
    for folder in (home / _FILES, home / "photos"):
        for path in folder.rglob("*"):
            with contextlib.suppress(OSError):  # another process has removed it
                if not path.is_dir():
                    stat = path.lstat()
                    yield _Kept(stat.st_mtime, stat.st_size, path)
    for folder in home.glob("libraries/*/index/[0-9a-f]*/"):
        with contextlib.suppress(OSError):
            stats = [path.lstat() for path in folder.iterdir()]
            yield _Kept(folder.stat().st_mtime, sum(stat.st_size for stat in stats), folder)
