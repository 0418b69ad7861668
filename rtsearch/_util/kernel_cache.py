"""Cache compiled kernels on disk with numba's cache, in a separate folder and with checksums.

numba's cache compares only the source file of a kernel: when a kernel in another file changes that it calls,
the old code is still used. So the folder is named after the content of all files with kernels. It is beside
them where that folder is writable, else in the user's cache folder, else there is none.

numba does not check the files that it reads: a file emptied by a power cut ends every search, and a flipped
bit is executed. So a file with a wrong checksum is removed and its kernel compiled again. Without a writable
folder kernels are compiled at every start, and one warning is logged.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from numba import config
from numba.core.caching import (
    CompileResultCacheImpl,
    FunctionCache,
    IndexDataCacheFile,
    UserProvidedCacheLocator,
)

from rtsearch._util.paths import user_cache

__all__ = ["keep_on_disk", "search_is_compiled"]

_log = logging.getLogger(__name__)

_PACKAGE = Path(__file__).parents[1]
_WITH_KERNELS = (
    "_util/jit.py",
    "library/dlib_kernels.py",
    "perception/colour_histogram.py",
    "perception/roi_pooling.py",
    "search/*.py",
)
_COMPILED_LAST = "search_*/query_kernels.*.nbc"  # of the search; numba names folders like packages
_DIGEST_BYTES = hashlib.sha256().digest_size
_told: set[str] = set()


def keep_on_disk(dispatcher: Any) -> None:
    """Let a kernel of ``numba.njit`` load its code from disk and save it there."""
    folder = _folder()
    if folder is None:
        return
    before, config.CACHE_DIR = config.CACHE_DIR, str(folder)
    try:
        dispatcher._cache = _KernelCache(dispatcher.py_func)
    except (OSError, RuntimeError):  # the folder has become read-only
        _tell_without(str(folder))
    finally:
        config.CACHE_DIR = before


def search_is_compiled() -> bool:
    """Tell whether the kernels of the search are on disk, or cannot be, of which a warning tells."""
    folder = _folder()
    return folder is None or any(folder.glob(_COMPILED_LAST))


@lru_cache(maxsize=1)
def _folder() -> Path | None:
    """Return the folder for the kernels of this version; warn and return None where none is writable."""
    parents = _parents()
    folder = _writable_folder(parents, _folder_name())
    if folder is None:
        _tell_without(" nor ".join(map(str, parents)))
    return folder


def _parents() -> list[Path]:
    if config.CACHE_DIR:  # setting of numba, NUMBA_CACHE_DIR
        return [Path(config.CACHE_DIR)]
    mine = user_cache()
    beside = _PACKAGE / "search" / "__pycache__"
    return [beside] if mine is None else [beside, mine]


def _folder_name() -> str:
    digest = hashlib.sha256()
    for pattern in _WITH_KERNELS:
        for source in sorted(_PACKAGE.glob(pattern)):
            digest.update(source.read_bytes())
    return f"kernels-{digest.hexdigest()[:16]}"


def _writable_folder(parents: list[Path], name: str) -> Path | None:
    """Make the folder ``name`` in the first writable parent; return None without one."""
    for parent in parents:
        try:
            (parent / name).mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(parent / name, os.W_OK | os.X_OK):
            return parent / name
    return None


def _tell_without(where: str) -> None:
    _warn_once(
        "compiled kernels cannot be kept in %s: every start compiles them for up to half a minute; "
        "set NUMBA_CACHE_DIR to a folder that can be written",
        where,
    )


def _warn_once(message: str, where: str) -> None:
    if message not in _told:
        _told.add(message)
        _log.warning(message, where)


class _OwnFolder(CompileResultCacheImpl):  # type: ignore[misc]
    _locator_classes = (UserProvidedCacheLocator,)  # keeps numba from choosing other folders


class _KernelCache(FunctionCache):  # type: ignore[misc]
    """numba's cache of one kernel, which survives errors of the disk."""

    _impl_class = _OwnFolder

    def __init__(self, function: Any) -> None:
        super().__init__(function)
        stamp = self._impl.locator.get_source_stamp()
        self._cache_file = _CheckedFiles(self._cache_path, self._impl.filename_base, stamp)

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except OSError as error:
            _tell_without(f"{self._cache_path} ({error.strerror})")


class _CheckedFiles(IndexDataCacheFile):  # type: ignore[misc]
    """Files that end with the SHA-256 of the bytes before it, which unpickling ignores."""

    def load(self, key: Any) -> Any:
        try:
            return super().load(key)
        except OSError:  # the file belongs to another user
            return None

    def _load_index(self) -> Any:
        self._remove_damaged(Path(self._index_path))
        return super()._load_index()

    def _load_data(self, name: str) -> Any:
        self._remove_damaged(Path(self._data_path(name)))
        return super()._load_data(name)

    @contextlib.contextmanager
    def _open_for_write(self, filepath: str) -> Iterator[io.BytesIO]:
        content = io.BytesIO()
        yield content
        with super()._open_for_write(filepath) as file:
            file.write(content.getvalue() + hashlib.sha256(content.getvalue()).digest())

    def _remove_damaged(self, path: Path) -> None:
        content = path.read_bytes() if path.exists() else None
        if content is None:
            return
        if hashlib.sha256(content[:-_DIGEST_BYTES]).digest() != content[-_DIGEST_BYTES:]:
            _warn_once("compiled kernels in %s are damaged; they are compiled again", str(path.parent))
            path.unlink()
