"""Send pictures over the network as NDI, which video mixers and media servers take.

The library of NDI may not be passed on with rtsearch; cyndilib, which the user installs, brings it.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import cv2
import numpy as np

from rtsearch.errors import MissingDependencyError, SendError
from rtsearch.types import U8Array

if TYPE_CHECKING:
    from cyndilib.sender import Sender

__all__ = ["NdiPeer", "require_ndi"]

_RATE = Fraction(30, 1)  # said to receivers, which show each picture when it comes


def require_ndi() -> None:
    """Raise an error where cyndilib is not installed, or does not load."""
    try:
        import cyndilib.sender  # noqa: F401
    except ImportError as error:
        why = "" if isinstance(error, ModuleNotFoundError) else f", which does not load ({error})"
        raise MissingDependencyError(f"ndi: needs cyndilib{why}: pip install 'rtsearch[ndi]'") from None


class NdiPeer:
    """Source of NDI that gets pictures; receivers find it in the network by its name.

    Args:
        name: shown beside the name of this machine.
    """

    longest_wait_s = 10.0
    known_after = 1

    def __init__(self, name: str) -> None:
        self._name = name
        self._sender: Sender | None = None
        self._pixels: U8Array = np.empty((0, 0, 4), np.uint8)  # of the last picture, BGRX

    def open(self) -> None:
        """Do nothing: the source is made for the first picture, whose size it has."""

    def send(self, picture: U8Array, /) -> None:
        """Send a picture, (H, W, 3) uint8 BGR; one of another size than the first is fitted into that.

        Raises:
            OSError: the library of NDI makes no source.
        """
        height, width = picture.shape[:2]
        if self._sender is None:
            self._sender = self._new_sender((width, height))
            self._pixels = np.empty((height, width, 4), np.uint8)
        if self._pixels.shape[:2] != (
            height,
            width,
        ):  # receivers do not come back to a source that is made anew
            picture = _fitted(picture, (self._pixels.shape[1], self._pixels.shape[0]))
        # NDI makes planes of these itself: their colours depend on the size of the picture.
        cv2.cvtColor(picture, cv2.COLOR_BGR2BGRA, self._pixels)
        self._sender.write_video_async(self._pixels.reshape(-1))

    def finish(self) -> None:
        """Do nothing: receivers see that the source goes."""

    def close(self) -> None:
        """Take the source off the network."""
        sender, self._sender = self._sender, None
        if sender is not None:
            sender.close()

    def _new_sender(self, wh: tuple[int, int]) -> Sender:
        from cyndilib.sender import Sender
        from cyndilib.video_frame import VideoSendFrame
        from cyndilib.wrapper.ndi_structs import FourCC

        frame = VideoSendFrame()
        frame.set_resolution(*wh)
        frame.set_fourcc(FourCC.BGRX)
        frame.set_frame_rate(_RATE)
        sender = Sender(self._name, clock_video=False, clock_audio=False)
        sender.set_video_frame(frame)
        try:
            sender.open()
        except (MemoryError, RuntimeError) as error:
            raise SendError(f"NDI makes no source: {error}") from None
        return sender


def _fitted(picture: U8Array, wh: tuple[int, int]) -> U8Array:
    """Return a picture as large as fits into a black one of a width and a height, px."""
    height, width = picture.shape[:2]
    scale = min(wh[0] / width, wh[1] / height)
    size = max(1, round(scale * width)), max(1, round(scale * height))
    fitted = np.zeros((wh[1], wh[0], 3), np.uint8)
    x, y = (wh[0] - size[0]) // 2, (wh[1] - size[1]) // 2
    fitted[y : y + size[1], x : x + size[0]] = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return fitted
