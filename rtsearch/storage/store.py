"""Objects below an address: read whole or in part, written whole, replaced only where they are as they were.

Whatever fails for a reason that may pass, such as a storage that is overloaded, is tried again with growing
pauses by obstore; what is left raises a StorageError.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from rtsearch.errors import MissingDependencyError, StorageError
from rtsearch.storage.address import Address
from rtsearch.storage.problems import WITHOUT_TLS, is_bucket_missing, worded

__all__ = ["Content", "Entry", "OtherBytesError", "Store", "Version", "open_store"]

# The pauses, which chance draws, add up to some 20 s: an address that is mistyped is told soon, and a busy
# storage gets its time.
RETRIES = {
    "max_retries": 10,
    "backoff": {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=10), "base": 3},
    "retry_timeout": timedelta(minutes=2),
}
_CLIENT = {"timeout": timedelta(hours=1), "connect_timeout": timedelta(seconds=5)}
_CHUNK_BYTES = 8 << 20
# One request each up to here; a larger file goes in parts, which take less memory.
_WHOLE_BYTES = 64 << 20
_LISTED = 1000
_TRIES_TO_CREATE = 3
_MOST_REPLACED_BYTES = 512 << 20


class OtherBytesError(Exception):
    """An object has another length or hash than it should; the message says so."""


class Version(NamedTuple):
    """State of an object that was read or written.

    Attributes:
        e_tag, version: as the storage names it; None where it has no such name.
    """

    e_tag: str | None
    version: str | None


class Content(NamedTuple):
    """An object that was read.

    Attributes:
        data: all of its bytes.
        version: its state.
    """

    data: bytes
    version: Version


class Entry(NamedTuple):
    """An object as it is listed.

    Attributes:
        key: relative to the address.
        size_bytes: of the object.
        modified: when it was written, by the clock of the storage.
    """

    key: str
    size_bytes: int
    modified: datetime


class Store:
    """Objects below an address; any number of threads may use it.

    Args:
        address: the folder.

    Raises:
        MissingDependencyError: obstore is not installed.
        StorageError: the environment's settings cannot be used.
    """

    def __init__(self, address: Address) -> None:
        try:
            import obstore
            from obstore import exceptions, store
        except ImportError:
            raise MissingDependencyError(
                f"{address.scheme}:// needs obstore: pip install 'rtsearch[cloud]'"
            ) from None
        self.address = address
        self._obstore, self._errors = obstore, exceptions
        made = {"s3": store.S3Store, "gs": store.GCSStore, "az": store.AzureStore}[address.scheme]
        plain = os.environ.get(WITHOUT_TLS[address.scheme], "").lower() in ("1", "true")
        options: dict[str, Any] = {
            "client_options": {**_CLIENT, "allow_http": plain},
            "retry_config": RETRIES,
        }
        with self._worded():
            self._store: Any = made(address.bucket, prefix=address.key or None, **options)

    def read(self, key: str, most_bytes: int) -> Content | None:
        """Return an object; None where there is none.

        Raises:
            StorageError: it cannot be read, or has more bytes than that.
        """
        with self._worded():
            try:
                found = self._obstore.get(self._store, key)
            except FileNotFoundError as error:
                self._expect_bucket(error)
                return None
            meta = found.meta
            if meta["size"] > most_bytes:
                raise StorageError(f"{self.address}/{key} has {meta['size']:,} bytes, more than it may have")
            return Content(bytes(found.bytes()), Version(meta["e_tag"], meta["version"]))

    def read_range(self, key: str, start: int, length: int) -> bytes:
        """Return some bytes of an object.

        Raises:
            FileNotFoundError: there is no such object.
            StorageError: it cannot be read.
        """
        with self._worded():
            return bytes(self._obstore.get_range(self._store, key, start=start, length=length))

    def download(self, key: str, file: BinaryIO, size_bytes: int) -> None:
        """Write an object into a file.

        Raises:
            FileNotFoundError: there is no such object.
            OtherBytesError: it has another length than ``size_bytes``.
            StorageError: it cannot be read.
        """
        written = 0
        with self._worded():
            found = self._obstore.get(self._store, key)
            declared = found.meta["size"]
            if declared == size_bytes:
                for chunk in found.stream(min_chunk_size=_CHUNK_BYTES):
                    written += len(chunk)
                    if written > size_bytes:
                        break
                    file.write(chunk)
            if declared != size_bytes or written != size_bytes:
                raise OtherBytesError(f"it has {max(declared, written)} bytes instead of {size_bytes}")

    def write(self, key: str, source: bytes | Path) -> None:
        """Write an object, whole or not at all.

        Raises:
            StorageError: it cannot be written.
        """
        large = isinstance(source, Path) and source.stat().st_size > _WHOLE_BYTES
        with self._worded():
            self._obstore.put(self._store, key, source, use_multipart=large, chunk_size=_CHUNK_BYTES)

    def replace(self, key: str, data: bytes, was: Version | None) -> Version | None:
        """Write an object only if it is still as it was.

        Args:
            key: of the object.
            data: its bytes.
            was: its state when it was read; None where there was none.

        Returns:
            its state now; None where somebody else has written it meanwhile.

        Raises:
            StorageError: it cannot be written.
        """
        mode: Any = "create" if was is None else {k: v for k, v in was._asdict().items() if v is not None}
        lost = self._errors.AlreadyExistsError, self._errors.PreconditionError, FileNotFoundError
        with self._worded():
            for _ in range(_TRIES_TO_CREATE):
                try:
                    put = self._obstore.put(self._store, key, data, mode=mode)
                    return Version(put["e_tag"], put["version"])
                except lost as error:
                    self._expect_bucket(error)
                now = self.read(key, _MOST_REPLACED_BYTES)
                if now is not None:  # the second try of a write whose answer got lost is refused, too
                    return now.version if now.data == data else None
                if was is not None:
                    break
                # S3 refuses what meets another write of the same key, even one that fails: nothing is there.
            return None

    def entry(self, key: str) -> Entry | None:
        """Return an object as it is listed; None where there is none.

        Raises:
            StorageError: it cannot be looked at.
        """
        with self._worded():
            try:
                meta = self._obstore.head(self._store, key)
            except FileNotFoundError:
                return None
            return Entry(key, meta["size"], meta["last_modified"])

    def entries(self, below: str = "") -> Iterator[Entry]:
        """List the objects of the folder, or of one inside it.

        Raises:
            StorageError: they cannot be listed.
        """
        with self._worded():
            for chunk in self._obstore.list(self._store, prefix=below or None, chunk_size=_LISTED):
                for meta in chunk:
                    yield Entry(meta["path"], meta["size"], meta["last_modified"])

    def remove(self, keys: Collection[str]) -> None:
        """Remove objects.

        Raises:
            StorageError: they cannot be removed.
        """
        with self._worded(), contextlib.suppress(FileNotFoundError):
            if keys:
                self._obstore.delete(self._store, list(keys))

    def _expect_bucket(self, error: BaseException) -> None:
        if is_bucket_missing(error):
            raise worded(error, self.address, self.address.scheme) from None

    @contextlib.contextmanager
    def _worded(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            self._expect_bucket(error)
            raise
        except (self._errors.BaseError, ValueError, PermissionError, ConnectionError, TimeoutError) as error:
            raise worded(error, self.address, self.address.scheme) from None


@lru_cache(maxsize=64)
def open_store(address: Address) -> Store:
    """Return the store of an address, which keeps its connections.

    Raises:
        MissingDependencyError, StorageError: as for ``Store``.
    """
    return Store(address)
