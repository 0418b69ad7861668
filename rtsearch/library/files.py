"""Names and hashes of a library's files; the lock; disk errors in one line."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from rtsearch._util.regular_files import kind_of_file, open_regular
from rtsearch.errors import LibraryBusyError, LibraryError

__all__ = [
    "LOCK_NAME",
    "MANIFEST_NAME",
    "TMP_SUFFIX",
    "disk_errors",
    "library_lock",
    "sha256_of",
]

LOCK_NAME = "lock"
MANIFEST_NAME = "manifest.json"
TMP_SUFFIX = ".tmp"


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex.

    Raises:
        OSError: it cannot be read, or is a pipe or device.
    """
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn an OSError of writing into a LibraryError that says what to do; what was committed stays."""
    try:
        yield
    except LibraryError:
        raise
    except OSError as error:
        raise _explained(error, folder) from error


def _explained(error: OSError, folder: Path) -> LibraryError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return LibraryError(
            f"no space left on the disk of {folder}; what was committed is kept: free some space and run "
            "the same command again"
        )
    return LibraryError(f"cannot write to {folder}: {error.strerror or error}")


@contextlib.contextmanager
def library_lock(folder: Path) -> Iterator[None]:
    """Be the only writer of a library while the block runs.

    Raises:
        LibraryBusyError: another process writes; the message has its pid where that is known.
        LibraryError: the lock cannot be written, or is no file.
    """
    path = folder / LOCK_NAME
    if os.path.lexists(path) and not stat.S_ISREG(path.lstat().st_mode):
        raise LibraryError(f"{path} is {kind_of_file(path.lstat().st_mode)}, not a file: remove it")
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise LibraryBusyError(
            f"another process{_owner(path)} is writing to {folder}; wait until it ends, or end it, "
            "and try again"
        ) from None
    except OSError as error:
        raise _explained(error, folder) from error
    try:
        with contextlib.suppress(OSError):  # the pid only helps the message above
            path.write_text(f"{os.getpid()}\n", encoding="ascii")
        yield
    finally:
        lock.release()


def _owner(path: Path) -> str:
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
    return f" (pid {text})" if text.isdigit() else ""
