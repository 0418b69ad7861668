"""The cache of compiled kernels on disk: numba's own, in a folder of ours, every file with a checksum.

numba's cache looks only at the file that a kernel stands in: change a kernel that it calls, in another file,
and the old code goes on running. So the folder is named after the content of all files with kernels. It lies
beside them where that can be written to, else in the user's cache folder, else nowhere.

numba trusts what it reads: a file that a power cut has emptied ends every search, a flipped bit runs. So a
file whose checksum is wrong is removed and its kernel compiled again. Where nothing can be written, kernels
are compiled at every start, and that is said once.
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

__all__ = ["keep_on_disk"]

_log = logging.getLogger(__name__)

_PACKAGE = Path(__file__).parents[1]
_WITH_KERNELS = ("_util/jit.py", "perception/colour_histogram.py", "perception/roi_pooling.py", "search/*.py")
_DIGEST_BYTES = hashlib.sha256().digest_size
_told: set[str] = set()


def keep_on_disk(dispatcher: Any) -> None:
    """Let a kernel, as ``numba.njit`` returns it, load its code from the disk and save it there."""
    folder = _folder()
    if folder is None:
        return
    before, config.CACHE_DIR = config.CACHE_DIR, str(folder)
    try:
        dispatcher._cache = _KernelCache(dispatcher.py_func)
    except (OSError, RuntimeError):  # the folder has become read-only since
        _tell_without(str(folder))
    finally:
        config.CACHE_DIR = before


@lru_cache(maxsize=1)
def _folder() -> Path | None:
    """Return the folder of this version's kernels; None, and a warning, where none can be written."""
    parents = _parents()
    folder = _writable_folder(parents, _folder_name())
    if folder is None:
        _tell_without(" nor ".join(map(str, parents)))
    return folder


def _parents() -> list[Path]:
    if config.CACHE_DIR:  # numba's own setting, NUMBA_CACHE_DIR
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
    """Make ``name`` in the first of the parents that can be written to; None where none can."""
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
    _locator_classes = (UserProvidedCacheLocator,)  # numba would look for other places


class _KernelCache(FunctionCache):  # type: ignore[misc]
    """numba's cache of one kernel, which the disk cannot break."""

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
    """Files that end with the SHA-256 of what stands before it; unpickling stops there."""

    def load(self, key: Any) -> Any:
        try:
            return super().load(key)
        except OSError:  # the file of another user
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
