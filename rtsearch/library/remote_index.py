"""Indexes of libraries on object storage: fetched whole into the working copy, put after they are built."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rtsearch.errors import DamagedError, StorageError
from rtsearch.library.index_files import LIST_NAME, MOST_LIST_BYTES, IndexFile, listed_files
from rtsearch.library.remote import SETTINGS_KEY, Remote
from rtsearch.library.sweep import remove_index
from rtsearch.storage import CACHE, OtherBytesError, Store

__all__ = ["fetch_index", "put_index"]

_AT_A_TIME = 8  # files that are fetched


def fetch_index(remote: Remote, folder: Path) -> bool:
    """Fetch an index into the working copy, in place of one that may be there.

    Args:
        remote: the library.
        folder: of the index, in the working copy.

    Returns:
        False where the storage has none that is whole.

    Raises:
        StorageError: the storage cannot be reached, or the index is larger than the cache may be.
    """
    below = f"index/{folder.name}"
    found = remote.store.read(f"{below}/{LIST_NAME}", MOST_LIST_BYTES)
    if found is None:
        return False
    fetching = folder.with_name(f".building-{os.getpid()}")
    shutil.rmtree(fetching, ignore_errors=True)
    fetching.mkdir(parents=True)
    try:
        (fetching / LIST_NAME).write_bytes(found.data)
        files = listed_files(fetching)
        CACHE.make_room(_bytes(files))
        _fetch(remote.store, below, fetching, files)
        if not remove_index(folder, {LIST_NAME, *files}):
            return False
        fetching.rename(folder)
    except (DamagedError, FileNotFoundError, OtherBytesError):  # half of it was replaced, or removed
        return False
    finally:
        shutil.rmtree(fetching, ignore_errors=True)
    return True


def put_index(remote: Remote, folder: Path) -> None:
    """Put an index of the working copy, its list last, and remove those that are older than a day.

    Args:
        remote: the library.
        folder: of the index.

    Raises:
        StorageError: the storage refuses.
    """
    below = f"index/{folder.name}"
    files = listed_files(folder)
    with contextlib.suppress(StorageError):  # it is here already, whatever its size
        CACHE.make_room(_bytes(files))
    keys = {name: f"{below}/{file.sha256}" for name, file in files.items()}
    remote.put({key: folder / name for name, key in keys.items()})
    remote.put({f"{below}/{LIST_NAME}": folder / LIST_NAME})
    remote.remove_old("index", {SETTINGS_KEY, f"{below}/{LIST_NAME}", *keys.values()})


def _bytes(files: Mapping[str, IndexFile]) -> int:
    return sum(file.bytes for file in files.values())


def _fetch(store: Store, below: str, folder: Path, files: Mapping[str, IndexFile]) -> None:
    """Fetch the files of an index; their hashes are checked when it is opened."""

    def fetch(name: str) -> None:
        with (folder / name).open("xb") as file:
            store.download(f"{below}/{files[name].sha256}", file, files[name].bytes)

    with ThreadPoolExecutor(_AT_A_TIME, "fetch") as pool:
        for each in [pool.submit(fetch, name) for name in files]:
            each.result()
