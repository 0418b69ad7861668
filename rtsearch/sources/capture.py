"""The border between a live source and what it takes pictures from: a camera, a stream, a web address."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from rtsearch.types import U8Array

__all__ = ["NOTHING_CAME", "Capture", "Limits", "LostError", "Taken"]

NOTHING_CAME = "nothing came in time"
"""The reason of a LostError where a limit of time has ended the wait."""


class LostError(OSError):
    """A camera or stream cannot be opened, or gives nothing any more; the message is the reason alone."""


class Limits(NamedTuple):
    """Time limits of a live source, s.

    Attributes:
        open_s: until it answers.
        picture_s: from then until its first picture, and until the next one where pictures are rare.
    """

    open_s: float
    picture_s: float


class Taken(NamedTuple):
    """Result of a read.

    Attributes:
        bgr: (H, W, 3) uint8, or None where something came that is no picture, or not yet.
        torn: parts of the picture are missing or wrong.
    """

    bgr: U8Array | None
    torn: bool = False


class Capture(Protocol):
    """An open camera or stream, used by one thread.

    Attributes:
        fps: nominal frames per second, where it has any.
        freezes: a picture that has not changed for minutes may be the last one of a camera that is gone.
    """

    fps: float | None
    freezes: bool

    def read(self, limit_s: float) -> Taken:
        """Wait for the next picture, or for a part of it.

        Raises:
            LostError: nothing came within the limit, or nothing will come any more.
        """

    def interrupt(self) -> None:
        """End a read in another thread, where that can be done; the capture is of no use any more."""

    def release(self) -> None:
        """Close the device or connection."""
