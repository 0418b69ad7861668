"""Send scenes as OSC: one bundle per frame, and more of them where they would not fit a datagram."""

from __future__ import annotations

import math
from collections.abc import Iterator

from rtsearch.recording import text_bytes
from rtsearch.send.by_row import ByRow
from rtsearch.send.datagrams import DatagramPeer, bundles, message
from rtsearch.send.scene import SentScene

__all__ = ["OscPeer"]

_MOST_PATH = 400  # bytes of a photo's path, whose end says most
_NOTHING = (-1, "", -1.0)


class OscPeer(DatagramPeer):
    """Receiver of OSC.

    ``/rtsearch/frame n t_s w h count``, per object ``/rtsearch/object track label score x y w h row photo
    distance``, and ``/rtsearch/lost track`` for each object that has disappeared since the frame before.
    ``x y w h`` are 0..1 of the frame, from the top left. An object without neighbours has row -1, and a
    distance that is not known is -1.
    """

    def __init__(self, host: str, port: int) -> None:
        super().__init__(host, port)
        self._tracks: list[int] = []
        self._photos = ByRow(lambda near: _path(near["photo"]))

    def send(self, scene: SentScene, /) -> None:
        """Send the bundles of a scene."""
        lost = [track for track in self._tracks if track not in scene.tracks]
        self._send(bundles(self._messages(scene, lost)))
        self._tracks = scene.tracks

    def finish(self) -> None:
        """Tell that all objects are lost."""
        if self._tracks:
            self._send(bundles(map(_lost, self._tracks)))
        self._tracks = []

    def _messages(self, scene: SentScene, lost: list[int]) -> Iterator[bytes]:
        of_frame = (scene.number, scene.t_s, *scene.wh, len(scene.tracks))
        yield message("/rtsearch/frame", "ifiii", of_frame)
        yield from map(_lost, lost)
        found, nearest = scene.detections, self._nearest(scene)
        items = zip(
            scene.tracks, scene.names, found.score.tolist(), scene.shares.tolist(), nearest, strict=True
        )
        for track, name, score, share, near in items:
            yield message("/rtsearch/object", "isfffffisf", (track, name, score, *share, *near))

    def _nearest(self, scene: SentScene) -> list[tuple[int, str, float]]:
        """Return row, photo and distance of the first neighbour of each object."""
        near = scene.neighbours
        if not near.row.shape[1]:
            return [_NOTHING] * len(near.row)
        rows, distances = near.row[:, 0].tolist(), near.distance[:, 0].tolist()
        photos = iter(self._photos.of([row for row in rows if row >= 0], scene.library))
        return [
            (row, next(photos), distance if math.isfinite(distance) else -1.0) if row >= 0 else _NOTHING
            for row, distance in zip(rows, distances, strict=True)
        ]


def _lost(track: int) -> bytes:
    return message("/rtsearch/lost", "i", (track,))


def _path(photo: str) -> str:
    return text_bytes(photo)[-_MOST_PATH:].decode(errors="ignore")
