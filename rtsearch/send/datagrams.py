"""Send OSC bundles in datagrams below 1,400 bytes, which no network has to cut."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from rtsearch.errors import MissingDependencyError

__all__ = ["DatagramPeer", "bundles", "message", "require_osc"]

_MOST_BYTES = 1400
_HEAD = b"#bundle\0" + (1).to_bytes(8, "big")  # the time 1 is "immediately"
_SIZE_BYTES = 4  # before each message


def require_osc() -> None:
    """Raise an error where python-osc is not installed."""
    try:
        import pythonosc.osc_message_builder  # noqa: F401
    except ImportError:
        raise MissingDependencyError(
            "osc:// and tuio:// need python-osc: pip install 'rtsearch[send]'"
        ) from None


def message(address: str, kinds: str, values: Sequence[Any]) -> Any:
    """Return an OSC message; ``kinds`` has one letter per value: i (int32), f (float32) or s (text)."""
    from pythonosc.osc_message_builder import OscMessageBuilder

    builder = OscMessageBuilder(address)
    for kind, value in zip(kinds, values, strict=True):
        builder.add_arg(value, kind)
    return builder.build()


def bundles(messages: Iterable[Any], first: Sequence[Any] = (), last: Sequence[Any] = ()) -> Iterator[bytes]:
    """Yield bundles of at most 1,400 bytes with all messages, at least one bundle.

    Args:
        messages: as many as fit go into a bundle; one that is too large has a bundle of its own.
        first: messages that begin each bundle.
        last: messages that end each bundle.
    """
    around = len(_HEAD) + sum(_SIZE_BYTES + one.size for one in (*first, *last))
    now: list[Any] = []
    used = around
    for one in messages:
        if now and used + _SIZE_BYTES + one.size > _MOST_BYTES:
            yield _bundle((*first, *now, *last))
            now, used = [], around
        now.append(one)
        used += _SIZE_BYTES + one.size
    yield _bundle((*first, *now, *last))


def _bundle(messages: Sequence[Any]) -> bytes:
    # python-osc's own builder reads each message again, which takes as long as all the rest.
    parts = [_HEAD]
    for one in messages:
        parts += (one.size.to_bytes(_SIZE_BYTES, "big"), one.dgram)
    return b"".join(parts)


class DatagramPeer:
    """Socket that sends datagrams to one host; subclasses send scenes.

    Where the host itself says that nobody listens, that is an error, and the next try is soon: a receiver
    that is started later gets the next scene.
    """

    longest_wait_s = 1.0
    known_after = 2  # a refusal comes with the next datagram

    def __init__(self, host: str, port: int) -> None:
        self._to = host, port
        self._socket: socket.socket | None = None

    def open(self) -> None:
        """Look up the host and make the socket.

        Raises:
            OSError: the host is not known.
        """
        family, kind, protocol, _, to = socket.getaddrinfo(*self._to, type=socket.SOCK_DGRAM)[0]
        self._socket = socket.socket(family, kind, protocol)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        self._socket.connect(to)

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, datagrams: Iterable[bytes]) -> None:
        assert self._socket is not None
        for datagram in datagrams:
            try:
                self._socket.send(datagram)
                refused = self._socket.getsockopt(
                    socket.SOL_SOCKET, socket.SO_ERROR
                )  # at once on this machine
            except ConnectionRefusedError:
                refused = errno.ECONNREFUSED
            if refused:
                raise ConnectionRefusedError("nobody listens there")
