"""The one error of recordings, worded from what the system said."""

from __future__ import annotations

import errno
from pathlib import Path

from rtsearch.errors import RecordError

__all__ = ["record_error"]


def record_error(path: Path, error: OSError) -> RecordError:
    """The error to raise for a failed write to ``path``."""
    if error.errno == errno.ENOSPC:
        return RecordError(f"{path}: the disk is full; what was recorded so far is kept")
    return RecordError(f"{path} cannot be written: {error.strerror or error}")
