"""Errors of recordings, worded from the system's, and files that end in order."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType

from rtsearch._util.closing import Closing
from rtsearch.errors import RecordError

__all__ = ["FinishesOnExit", "record_error", "require_place", "require_room"]

_log = logging.getLogger(__name__)

_MIN_FREE_BYTES = 16_000_000  # what it takes to end a video or a table in order


def record_error(path: Path, error: OSError, *, kept: bool) -> RecordError:
    """Return the error to raise for a failed write; ``kept`` tells that a part of the file remains."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        left = "what was recorded so far is kept" if kept else "nothing was written; free some space"
        return RecordError(f"{path}: the disk is full; {left}")
    why = error.strerror or error
    if error.errno == errno.ENOENT and not path.parent.exists():
        why = f"there is no folder {path.parent}; make it first"
    return RecordError(f"{path} cannot be written: {why}")


def require_room(path: Path, *, kept: bool) -> None:
    """Raise if the disk has no room to finish a file; ``kept`` as for ``record_error``.

    Raises:
        RecordError: the disk is nearly full.
    """
    if shutil.disk_usage(path.parent).free < _MIN_FREE_BYTES:
        raise record_error(path, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), kept=kept)


def require_place(path: Path) -> None:
    """Raise now, not when the run is over, if no file can be written there; nothing stays behind.

    Raises:
        RecordError: it cannot be.
    """
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        with tempfile.TemporaryFile(dir=path.parent):  # without a name on Linux: no Ctrl-C leaves it there
            pass
    except OSError as error:
        raise record_error(path, error, kept=False) from None


class FinishesOnExit(Closing):
    """A file that gets its name when it is closed; what ended the run matters more than that this fails."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except RecordError as failure:
            if error is None:
                raise
            _log.error("%s", failure)
