"""Write pictures as raw bytes into a named pipe, for ffmpeg and others: BGR, 8 bits, line by line."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import select
import stat
import threading
from pathlib import Path

from rtsearch.errors import SendError
from rtsearch.types import U8Array

__all__ = ["PipePeer", "require_pipe"]

_log = logging.getLogger(__name__)

_LOOK_S = 0.1  # how often a full pipe is looked at, and whether the run ends
_HOLDS_BYTES = 1 << 20  # what systems allow: a picture then takes three writes instead of 43
_LAST_S = 1.0  # that a reader has for more of the last picture


def require_pipe(path: Path) -> None:
    """Make a named pipe where nothing is.

    Raises:
        SendError: something else is there, or no pipe can be made.
    """
    try:
        if not path.exists():
            os.mkfifo(path, 0o600)
        if not stat.S_ISFIFO(path.stat().st_mode):
            raise SendError(f"--send pipe:{path}: it is no named pipe; give a name that is free")
    except OSError as error:
        if isinstance(error, SendError):
            raise
        raise SendError(f"--send pipe:{path}: no pipe can be made there: {error.strerror}") from None


class PipePeer:
    """Named pipe that gets pictures.

    A picture that was begun is written to its end, however slowly it is read: else the reader would take
    the next one for its rest.

    Args:
        path: of the pipe.
        closing: set when the run ends.
    """

    longest_wait_s = 1.0
    known_after = 1

    def __init__(self, path: Path, closing: threading.Event) -> None:
        self._path = path
        self._closing = closing
        self._descriptor: int | None = None
        self._wh: tuple[int, int] | None = None

    def open(self) -> None:
        """Open the pipe.

        Raises:
            OSError: nobody reads it, or it has gone.
        """
        try:
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno == errno.ENXIO:
                raise SendError("nobody reads it yet") from None
            raise
        if not stat.S_ISFIFO(os.fstat(self._descriptor).st_mode):
            raise SendError("it is no named pipe any more")
        with contextlib.suppress(OSError):  # where the system allows less it stays as it is
            fcntl.fcntl(self._descriptor, fcntl.F_SETPIPE_SZ, _HOLDS_BYTES)

    def send(self, picture: U8Array, /) -> None:
        """Write a picture, (H, W, 3) uint8.

        Raises:
            OSError: the reader has gone.
        """
        assert self._descriptor is not None
        height, width = picture.shape[:2]
        if self._wh != (width, height):
            self._wh = width, height
            _log.warning("pipe:%s: pictures of %dx%d px, bgr24", self._path, width, height)
        left = picture.reshape(-1).data
        while left:
            try:
                left = left[os.write(self._descriptor, left) :]
            except BlockingIOError:
                self._wait(self._descriptor)
            except BrokenPipeError:
                raise SendError("the reader has gone") from None

    def _wait(self, descriptor: int) -> None:
        """Wait until there is room in the pipe; when the run ends, for a moment only."""
        while not select.select([], [descriptor], [], _LOOK_S)[1]:
            if self._closing.wait(_LOOK_S) and not select.select([], [descriptor], [], _LAST_S)[1]:
                raise SendError("the reader is too slow")

    def finish(self) -> None:
        """Do nothing: the reader sees the end when the pipe is closed."""

    def close(self) -> None:
        """Close the pipe."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)
