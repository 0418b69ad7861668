"""Files that are whole or not there: written under another name in the same folder, synced, renamed.

The folder is synced as well, so that a file that has its name survives a power cut. The other name is new
each time and never one that exists, so that no link is written through and two writers do not meet.
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

_MOST_NAME_BYTES = 200  # of the name that the other one is made of; a file system takes 255
_NO_SYNC = (errno.EINVAL, errno.ENOTSUP)  # file systems that keep no folders on a disk of their own


def write_atomic(path: Path, content: bytes) -> None:
    """Replace a file by ``content``: a reader sees the old bytes or the new ones, never a part.

    Raises:
        OSError: it cannot be written; what was there before stays, and nothing else is left.
    """
    with replacing(path) as file:
        file.write(content)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a file to write that takes the place of ``path`` when the block ends without an error.

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
    """Give a finished file its name, in the same folder; after this it survives a power cut.

    Raises:
        OSError: it cannot be synced or renamed.
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
