"""Readers of a library: while one has it open, no writer removes files that its manifest names.

A reader holds a shared lock on the library's folder from before it reads the manifest, a writer asks for an
exclusive one before it removes anything. The lock goes with the process, so a killed reader holds up nobody.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # on Windows, where a file that is open cannot be removed anyway
    fcntl = None  # type: ignore[assignment]

__all__ = ["ReaderLock", "without_readers"]


class ReaderLock:
    """Lock of one reader of a library, from now until it is no longer referred to.

    Args:
        folder: the library; one that is missing or cannot be locked is read all the same.
    """

    def __init__(self, folder: Path) -> None:
        self._descriptor = -1
        if fcntl is None:
            return
        with contextlib.suppress(OSError):
            self._descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(self._descriptor, fcntl.LOCK_SH)  # a writer holds it while it removes files

    def __del__(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)


@contextlib.contextmanager
def without_readers(folder: Path) -> Iterator[bool | None]:
    """Keep readers from opening a library while the block runs, if nobody has it open.

    Yields:
        True where that is so, False where somebody reads, None where the file system has no locks.
    """
    if fcntl is None:
        yield None
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            alone: bool | None = True
        except BlockingIOError:
            alone = False
        except OSError:
            alone = None
        yield alone
    finally:
        os.close(descriptor)
