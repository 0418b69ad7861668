"""Send scenes as OSC: one bundle per frame, and more of them where they would not fit a datagram."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rtsearch.recording import text_bytes
from rtsearch.send.datagrams import DatagramPeer, bundles, message
from rtsearch.send.scene import SentScene

__all__ = ["OscPeer"]

_MOST_PATH = 400  # bytes of a photo's path, whose end says most


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
        none: dict[str, Any] = {"row": -1, "photo": "", "distance": None}
        for item, share in zip(scene.nearest, scene.shares.tolist(), strict=True):
            near = next(iter(item["neighbours"]), none)
            distance = -1.0 if near["distance"] is None else near["distance"]
            values = (item["track"], item["label"], item["score"], *share)
            of_near = (near["row"], _path(near["photo"]), distance)
            yield message("/rtsearch/object", "isfffffisf", (*values, *of_near))


def _lost(track: int) -> bytes:
    return message("/rtsearch/lost", "i", (track,))


def _path(photo: str) -> str:
    return text_bytes(photo)[-_MOST_PATH:].decode(errors="ignore")
