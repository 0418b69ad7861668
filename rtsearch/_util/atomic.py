"""Write files atomically: under a temporary name in the same folder, synced, then renamed.

The folder is synced as well, so that a renamed file survives a power cut. Every temporary name is new, so
that no link is followed and two writers never share a file.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from rtsearch._util.signals import undo_on_signal

__all__ = ["publish", "replacing", "write_atomic"]

_MOST_NAME_BYTES = 200  # part of the name that a temporary name contains; file systems allow 255
_NO_SYNC = (errno.EINVAL, errno.ENOTSUP)  # errors of file systems that cannot sync folders


def write_atomic(path: Path, content: bytes) -> None:
    """Replace a file by ``content``; readers see the old bytes or the new ones, never a part.

    Raises:
        OSError: the file cannot be written; the old file is kept, and no temporary file is left.
    """
    with replacing(path) as file:
        file.write(content)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that replaces ``path`` when the block ends without an error.

    Raises:
        OSError: as for ``write_atomic``.
    """
    stem = os.fsdecode(os.fsencode(path.name)[:_MOST_NAME_BYTES])
    temporary = path.with_name(f".{stem}.{secrets.token_hex(4)}")
    with undo_on_signal(), temporary.open("xb") as file:
        try:
            yield file
            file.close()
            publish(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise


def publish(temporary: Path, path: Path) -> None:
    """Sync a finished file and rename it within its folder; afterwards it survives a power cut.

    Raises:
        OSError: the file cannot be synced or renamed.
    """
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    if not hasattr(os, "O_DIRECTORY"):  # Windows, where folders cannot be opened
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(descriptor)
