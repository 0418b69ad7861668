"""Open regular files only, as a pipe would wait for a writer and a device may have no end."""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

__all__ = ["kind_of_file", "open_descriptor", "open_regular", "read_regular"]

_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}
# Windows has no O_NONBLOCK, and needs O_BINARY to keep the ends of lines.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file for reading bytes.

    Raises:
        OSError: as for ``open_descriptor``.
    """
    return os.fdopen(open_descriptor(path), "rb")


def open_descriptor(path: Path) -> int:
    """Open a regular file for reading, and return its descriptor, which the caller closes.

    Raises:
        OSError: the file cannot be opened, or is a folder, pipe, device or socket, which ``strerror`` names.
    """
    _expect_regular(path.stat().st_mode)  # checked before opening, which may have effects on a device
    descriptor = os.open(path, _FLAGS)
    try:
        _expect_regular(os.fstat(descriptor).st_mode)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def read_regular(path: Path, most_bytes: int) -> bytes:
    """Return the content of a file.

    Raises:
        OSError: as for ``open_regular``, or the file is larger than ``most_bytes``.
    """
    with open_regular(path) as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise OSError(errno.EFBIG, f"it has more than {most_bytes:,} bytes", str(path))
    return content


def kind_of_file(mode: int) -> str:
    """Return the kind of a file that is not regular, such as ``a pipe``, by its ``st_mode``."""
    return _KINDS.get(stat.S_IFMT(mode), "no regular file")


def _expect_regular(mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, f"{kind_of_file(mode)}, not a file")
