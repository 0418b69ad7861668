"""The one error of recordings, worded from what the system said."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from rtsearch.errors import RecordError

__all__ = ["record_error", "require_room"]

_MIN_FREE_BYTES = 16_000_000  # what it takes to end a video or a table in order


def record_error(path: Path, error: OSError) -> RecordError:
    """The error to raise for a failed write to ``path``."""
    if error.errno == errno.ENOSPC:
        return RecordError(f"{path}: the disk is full; what was recorded so far is kept")
    return RecordError(f"{path} cannot be written: {error.strerror or error}")


def require_room(path: Path) -> None:
    """See that a file can still be finished.

    Raises:
        RecordError: the disk is nearly full.
    """
    if shutil.disk_usage(path.parent).free < _MIN_FREE_BYTES:
        raise record_error(path, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
