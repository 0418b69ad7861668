"""Open the outlets of a run, hand scenes and pictures to them, and close them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rtsearch._util.closing import Closing
from rtsearch.send.address import Address
from rtsearch.send.outlet import Outlet, OutletReport, Peer
from rtsearch.send.scene import SentScene
from rtsearch.types import U8Array

__all__ = ["Outlets", "picture_peer", "require_outlet", "scene_peer"]


def require_outlet(address: Address) -> None:
    """Check before a run what would keep an outlet from ever working, and make its named pipe.

    Raises:
        MissingDependencyError: its package is not installed.
        SendError: its file is no pipe or device.
    """
    # Most runs send nothing, so the modules of peers are loaded where they are used.
    match address.scheme:
        case "mqtt" | "mqtts":
            from rtsearch.send.mqtt import require_mqtt

            require_mqtt()
        case "pipe":
            from rtsearch.send.pipe import require_pipe

            require_pipe(Path(address.path))
        case "ndi":
            from rtsearch.send.ndi import require_ndi

            require_ndi()
        case "v4l2":
            from rtsearch.send.v4l2 import require_device

            require_device(Path(address.path))


class Outlets(Closing):
    """Outlets of a run; each has a thread of its own.

    Args:
        addresses: where to.
        ended: called when the reader of standard output has gone.
    """

    def __init__(self, addresses: Sequence[Address], ended: Callable[[], None]) -> None:
        self._scenes = [
            Outlet(address.name, scene_peer(address), ended)
            for address in addresses
            if not address.is_picture
        ]
        self._pictures = [
            Outlet(address.name, picture_peer(address), ended) for address in addresses if address.is_picture
        ]

        self._all: list[Outlet[Any]] = [*self._scenes, *self._pictures]

    @property
    def takes_scenes(self) -> bool:
        """Tell whether any outlet sends objects."""
        return bool(self._scenes)

    def put_scene(self, scene: SentScene) -> None:
        """Send a scene; returns at once."""
        for outlet in self._scenes:
            outlet.put(scene)

    def put_picture(self, picture: U8Array) -> None:
        """Send a picture, (H, W, 3) uint8 BGR, that stays as it is while it is referred to."""
        for outlet in self._pictures:
            outlet.put(picture)

    def reports(self) -> tuple[OutletReport, ...]:
        """Return the figures of each outlet."""
        return tuple(outlet.report() for outlet in self._all)

    def close(self) -> None:
        """Close all outlets at once; each sends what waits."""
        closers = [threading.Thread(target=outlet.close, name=f"close {outlet.name}") for outlet in self._all]
        for closer in closers:
            closer.start()
        for closer in closers:
            closer.join()


def scene_peer(address: Address) -> Callable[[threading.Event], Peer[SentScene]]:
    """Return the maker of the peer that gets the objects of an address; see ``Outlet``."""

    def peer(closing: threading.Event) -> Peer[SentScene]:
        match address.scheme:
            case "osc":
                from rtsearch.send.osc import OscPeer

                return OscPeer(address.host, address.port)
            case "tuio":
                from rtsearch.send.tuio import TuioPeer

                return TuioPeer(address.host, address.port)
            case "mqtt" | "mqtts":
                from rtsearch.send.mqtt import MqttPeer

                return MqttPeer(address)
            case "http" | "https":
                from rtsearch.send.webhook import WebhookPeer

                return WebhookPeer(address, closing)
        from rtsearch.send.lines import LinesPeer

        return LinesPeer()

    return peer


def picture_peer(address: Address) -> Callable[[threading.Event], Peer[U8Array]]:
    """Return the maker of the peer that gets the pictures of an address; see ``Outlet``."""

    def peer(closing: threading.Event) -> Peer[U8Array]:
        if address.scheme == "pipe":
            from rtsearch.send.pipe import PipePeer

            return PipePeer(Path(address.path), closing)
        if address.scheme == "ndi":
            from rtsearch.send.ndi import NdiPeer

            return NdiPeer(address.path)
        from rtsearch.send.v4l2 import CameraPeer

        return CameraPeer(Path(address.path))

    return peer
