"""Libraries on object storage: this machine has a working copy, in which all code goes on as on a disk.

    ADDRESS/manifest.json                     what the library is; replaced last, and only as it was read
    ADDRESS/images/SHA256.parquet             files of fragments, by their hash; also objects, thumbs
    ADDRESS/index/settings.json               settings that are remembered
    ADDRESS/index/KEY/index.json, SHA256      the list of an index, put last, and its files

Files that are named by their hash never change, so nothing that is fetched can be out of date, and two
machines that write at once harm nothing: the manifest tells which of them was first. What no manifest names
is removed a day later, as somebody may still read or write it.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from rtsearch._util.atomic import write_atomic
from rtsearch._util.regular_files import read_regular
from rtsearch.errors import DamagedError, LibraryBusyError, NotALibraryError, StorageError
from rtsearch.library.files import MANIFEST_NAME
from rtsearch.library.manifest import MAX_MANIFEST_BYTES, PARTS, Fragment, Manifest, StoredFile
from rtsearch.storage import CACHE, OtherBytesError, Store, Version, address_of, open_store

__all__ = ["SETTINGS_KEY", "Remote", "RemotePack", "remote_of"]

_log = logging.getLogger(__name__)

SETTINGS_KEY = "index/settings.json"
_MOST_SETTINGS_BYTES = 1 << 16
_AT_A_TIME = 8  # files that are put
UNNAMED_STAYS = timedelta(days=1)


def remote_of(folder: Path) -> Remote | None:
    """Return the library on object storage that a folder is the working copy of; None for a plain folder."""
    address = address_of(folder)
    return None if address is None else Remote(folder, open_store(address))


class RemotePack(NamedTuple):
    """Pack of crops on object storage; each crop is fetched when it is read.

    Attributes:
        store: of the library.
        key: of the pack.
        size_bytes: of the pack.
    """

    store: Store
    key: str
    size_bytes: int

    def read(self, start: int, length: int) -> bytes:
        """Return some of its bytes.

        Raises:
            ValueError: they lie outside of it.
            OSError, StorageError: they cannot be read.
        """
        if start < 0 or length <= 0 or start + length > self.size_bytes:
            raise ValueError(f"bytes {start} to {start + length} of {self.size_bytes}")
        return self.store.read_range(self.key, start, length)

    def __str__(self) -> str:
        return f"{self.store.address}/{self.key}"


class Remote:
    """A library on object storage, and its working copy here.

    Args:
        folder: the working copy.
        store: objects below the library's address.

    Attributes:
        store: as given.
    """

    def __init__(self, folder: Path, store: Store) -> None:
        self._folder = folder
        self.store = store
        self._version: Version | None = None
        self._swept = False

    def pull(self) -> None:
        """Bring the manifest and the remembered settings into the working copy.

        Raises:
            StorageError: they cannot be read.
        """
        manifest = self.store.read(MANIFEST_NAME, MAX_MANIFEST_BYTES)
        if manifest is None:
            self._version = None
            shutil.rmtree(self._folder / "index", ignore_errors=True)  # of a library that was removed
            (self._folder / MANIFEST_NAME).unlink(missing_ok=True)
            return
        self._version = manifest.version
        _keep(self._folder / MANIFEST_NAME, manifest.data)
        settings = self.store.read(SETTINGS_KEY, _MOST_SETTINGS_BYTES)
        if settings is not None:
            _keep(self._folder / SETTINGS_KEY, settings.data)

    def expect_no_others(self) -> None:
        """Check that a library may be made here.

        Raises:
            NotALibraryError: there are objects, and no manifest among them.
        """
        if self._version is None and (first := next(self.store.entries(), None)) is not None:
            raise NotALibraryError(
                f"{self._folder} is no library and holds other files ({first.key}); choose another or an "
                "empty folder"
            )

    def path(self, fragment: Fragment, part: str) -> Path:
        """Return a part of a committed fragment as a file of this machine, whose bytes are those of its hash.

        Raises:
            DamagedError: the storage does not have it, or has other bytes.
            StorageError: it cannot be reached.
        """
        stored = fragment.stored(part)
        try:
            return CACHE.file(self.store, _key(stored, part), stored.bytes, stored.sha256)
        except FileNotFoundError:
            why = "it is missing"
        except OtherBytesError as error:
            why = str(error)
        raise DamagedError(
            f"{self._folder / _key(stored, part)} is damaged ({why}): rtsearch library check {self._folder} "
            f"says what is touched, rtsearch analyze --repair PHOTOS {self._folder} looks at those photos "
            "again",
            why,
        )

    def problem(self, fragment: Fragment, part: str) -> str:
        """Fetch a part of a fragment anew, and return what is wrong with it; "" for nothing.

        Raises:
            StorageError: the storage cannot be reached.
        """
        stored = fragment.stored(part)
        CACHE.drop(stored.sha256)
        try:
            self.path(fragment, part)
        except DamagedError as error:
            return error.reason
        return ""

    def pack(self, fragment: Fragment) -> RemotePack:
        """Return the crops of a fragment."""
        stored = fragment.stored("thumbs")
        return RemotePack(self.store, _key(stored, "thumbs"), stored.bytes)

    def commit(self, manifest: Manifest, before: Manifest | None, doubted: Collection[str] = ()) -> None:
        """Put the files that a manifest names and the one before did not, then the manifest itself.

        Args:
            manifest: counts from now on.
            before: as it was pulled or committed last; None for a new library.
            doubted: names of fragments whose files may be damaged there.

        Raises:
            LibraryBusyError: somebody else has committed meanwhile.
            StorageError: the storage refuses; what was committed before stays.
        """
        old = set() if before is None else set(before.fragments)
        new = [fragment for fragment in manifest.fragments if fragment not in old]
        there = {key for fragment in old if fragment.name not in doubted for key in _keys(fragment)}
        here = [(fragment, part) for fragment in new for part in PARTS]
        self.put(
            {
                key: fragment.path(self._folder, part)
                for fragment, part in here
                if (key := _key(fragment.stored(part), part)) not in there
            }
        )
        version = self.store.replace(MANIFEST_NAME, manifest.encoded(), self._version)
        if version is None:
            raise LibraryBusyError(
                f"another process has written to {self._folder} meanwhile; what it has committed counts: run "
                "the same command again, once it has ended"
            )
        self._version = version
        for fragment, part in here:
            if (path := fragment.path(self._folder, part)).exists():
                CACHE.take(path, fragment.stored(part).sha256)
        self._sweep(manifest)

    def put_settings(self, text: bytes) -> None:
        """Put the settings that are remembered.

        Raises:
            StorageError: the storage refuses.
        """
        self.store.write(SETTINGS_KEY, text)

    def put(self, files: Mapping[str, Path]) -> None:
        """Put files under their keys, several at a time.

        Raises:
            StorageError: the storage refuses.
        """
        with ThreadPoolExecutor(_AT_A_TIME, "put") as pool:
            for each in [pool.submit(self.store.write, key, path) for key, path in files.items()]:
                each.result()

    def remove_old(self, below: str, named: Collection[str]) -> None:
        """Remove objects that are not named and were written a day before the newest, by the storage's clock.

        Args:
            below: key of the folder that is looked at.
            named: keys of those that stay.

        Raises:
            StorageError: the storage refuses.
        """
        entries = list(self.store.entries(below))
        if not entries:
            return
        since = max(entry.modified for entry in entries) - UNNAMED_STAYS
        self.store.remove([e.key for e in entries if e.key not in named and e.modified <= since])

    def _sweep(self, manifest: Manifest) -> None:
        """Remove, once, what was replaced or half written more than a day ago."""
        if self._swept:
            return
        self._swept = True
        named = {key for fragment in manifest.fragments for key in _keys(fragment)}
        try:
            for part in PARTS:
                self.remove_old(part, named)
        except StorageError as error:  # it costs room, and no result
            _log.warning("files that are no longer needed stay: %s", error)


def _key(stored: StoredFile, part: str) -> str:
    return f"{part}/{stored.sha256}{PARTS[part]}"


def _keys(fragment: Fragment) -> Iterator[str]:
    for part in PARTS:
        yield _key(fragment.stored(part), part)


def _keep(path: Path, content: bytes) -> None:
    """Write a file of the working copy, unless it is as it should be."""
    with contextlib.suppress(OSError):
        if read_regular(path, len(content)) == content:
            return
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_atomic(path, content)
