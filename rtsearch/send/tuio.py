"""Send scenes as TUIO 1.1 blobs (profile ``2Dblb``), which many visual programs read as they are.

Source: the specification, tuio.org/?specification.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from rtsearch.send.datagrams import DatagramPeer, bundles, message
from rtsearch.send.scene import SentScene
from rtsearch.types import WHOLE_IMAGE_TRACK

__all__ = ["TuioPeer"]

_PROFILE = "/tuio/2Dblb"
_MOST_BLOBS = 150  # each bundle names all of them, and has to fit a datagram


@dataclass(frozen=True, slots=True)
class _Blob:
    """Centre and movement of a blob at a time: shares of the frame, and of the frame per second."""

    at_s: float
    x: float
    y: float
    vx: float = 0.0
    vy: float = 0.0
    acceleration: float = 0.0

    def after(self, at_s: float, x: float, y: float) -> _Blob:
        """Return the blob at a later time."""
        step_s = at_s - self.at_s
        if step_s <= 0:
            return _Blob(at_s, x, y, self.vx, self.vy)
        vx, vy = (x - self.x) / step_s, (y - self.y) / step_s
        faster = math.hypot(vx, vy) - math.hypot(self.vx, self.vy)
        return _Blob(at_s, x, y, vx, vy, faster / step_s)


class TuioPeer(DatagramPeer):
    """Receiver of TUIO; a track is a session, the whole image is no blob, and 150 are the most."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(host, port)
        self._blobs: dict[int, _Blob] = {}
        self._frame = 0

    def send(self, scene: SentScene, /) -> None:
        """Send the blobs of a scene."""
        blobs: dict[int, _Blob] = {}
        sets: list[bytes] = []
        for track, (left, top, w, h) in zip(scene.tracks, scene.shares.tolist(), strict=True):
            if track == WHOLE_IMAGE_TRACK or len(sets) == _MOST_BLOBS:
                continue
            x, y = left + w / 2, top + h / 2
            before = self._blobs.get(track)
            blob = _Blob(scene.at_s, x, y) if before is None else before.after(scene.at_s, x, y)
            blobs[track] = blob
            # s x y a w h f X Y A m r: nothing here turns, so angle, its speed and its acceleration are 0.
            values = (track, x, y, 0.0, w, h, w * h, blob.vx, blob.vy, 0.0, blob.acceleration, 0.0)
            sets.append(message(_PROFILE, "sifffffffffff", ("set", *values)))
        self._send_blobs(list(blobs), sets)
        self._blobs = blobs

    def finish(self) -> None:
        """Tell that no blobs are left."""
        self._blobs = {}
        self._send_blobs([], [])

    def _send_blobs(self, tracks: list[int], sets: list[bytes]) -> None:
        self._frame = self._frame % np.iinfo(np.int32).max + 1
        source = message(_PROFILE, "ss", ("source", "rtsearch"))
        alive = message(_PROFILE, "s" + "i" * len(tracks), ("alive", *tracks))
        number = message(_PROFILE, "si", ("fseq", self._frame))
        self._send(bundles(sets, (source, alive), (number,)))
