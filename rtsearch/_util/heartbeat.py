"""Tell the process that watches over this one, through a pipe, that the main loop goes on."""

from __future__ import annotations

import contextlib
import os
import stat
import time

__all__ = ["VARIABLE", "Heartbeat", "heartbeat"]

VARIABLE = "RTSEARCH_HEARTBEAT"
"""Environment variable with the number of the pipe's descriptor."""

_EVERY_S = 0.5


class Heartbeat:
    """Writer of a byte, twice a second at most.

    Args:
        descriptor: of a pipe.
    """

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._next_s = 0.0

    def beat(self) -> bool:
        """Tell that the loop goes on; return False once nobody listens any more."""
        now_s = time.monotonic()
        if now_s < self._next_s:
            return True
        self._next_s = now_s + _EVERY_S
        try:
            with contextlib.suppress(BlockingIOError):  # a full pipe says enough
                os.write(self._descriptor, b".")
        except OSError:
            return False
        return True


def heartbeat() -> Heartbeat | None:
    """Return the heartbeat that the environment asks for, or None."""
    text = os.environ.get(VARIABLE, "")
    if not text.isdecimal():
        return None
    try:
        is_pipe = stat.S_ISFIFO(os.fstat(int(text)).st_mode)
    except (OSError, OverflowError):
        return None
    return Heartbeat(int(text)) if is_pipe else None
