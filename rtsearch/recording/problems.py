"""Word the errors of recordings, and finish files also after errors."""

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

_MIN_FREE_BYTES = 16_000_000  # space that finishing a video or a table takes


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
    """Raise an error if the disk has too little space to finish a file; ``kept`` as in ``record_error``.

    Raises:
        RecordError: the disk is nearly full.
    """
    if shutil.disk_usage(path.parent).free < _MIN_FREE_BYTES:
        raise record_error(path, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), kept=kept)


def require_place(path: Path) -> None:
    """Raise an error before the run if no file can be written to a path; no file is left behind.

    Raises:
        RecordError: the folder is missing or cannot be written to.
    """
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        # Has no name on Linux, so Ctrl-C cannot leave it behind.
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise record_error(path, error, kept=False) from None


class FinishesOnExit(Closing):
    """File that is finished when its context is left; an error of the run goes before one of finishing."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except RecordError as failure:
            if error is None:
                raise
            _log.error("%s", failure)
