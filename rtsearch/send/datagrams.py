"""Send OSC bundles in datagrams below 1,400 bytes, which no network has to cut.

Source: the specification, opensoundcontrol.stanford.edu/spec-1_0.html. The usual library, python-osc, reads
each message that it has built once more, byte by byte, which takes longer than all the rest.
"""

from __future__ import annotations

import errno
import itertools
import socket
import struct
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

from rtsearch.recording import text_bytes

__all__ = ["DatagramPeer", "bundles", "message"]

_MOST_BYTES = 1400
_HEAD = b"#bundle\0" + (1).to_bytes(8, "big")  # the time 1 is "immediately"
_SIZE_BYTES = 4  # before each message
_WORD_BYTES = 4  # that texts are filled up to


def message(address: str, kinds: str, values: Sequence[str | float]) -> bytes:
    """Return an OSC message; ``kinds`` has one letter per value: i (int32), f (float32) or s (text)."""
    head, runs = _plan(address, kinds)
    parts, at = [head], 0
    for count, numbers in runs:
        parts.append(numbers.pack(*values[at : at + count]) if numbers else _text(str(values[at])))
        at += count
    return b"".join(parts)


@lru_cache(maxsize=256)
def _plan(address: str, kinds: str) -> tuple[bytes, list[tuple[int, struct.Struct | None]]]:
    """Return what a message begins with, and the runs of its values: numbers together, each text alone."""
    runs: list[tuple[int, struct.Struct | None]] = []
    for is_text, run in itertools.groupby(kinds, "s".__eq__):
        letters = "".join(run)
        runs += [(1, None)] * len(letters) if is_text else [(len(letters), struct.Struct(f">{letters}"))]
    return _text(address) + _text(f",{kinds}"), runs


def bundles(
    messages: Iterable[bytes], first: Sequence[bytes] = (), last: Sequence[bytes] = ()
) -> Iterator[bytes]:
    """Yield bundles of at most 1,400 bytes with all messages, at least one bundle.

    Args:
        messages: as many as fit go into a bundle; one that is too large has a bundle of its own.
        first: messages that begin each bundle.
        last: messages that end each bundle.
    """
    around = len(_HEAD) + sum(_SIZE_BYTES + len(one) for one in (*first, *last))
    now: list[bytes] = []
    used = around
    for one in messages:
        if now and used + _SIZE_BYTES + len(one) > _MOST_BYTES:
            yield _bundle((*first, *now, *last))
            now, used = [], around
        now.append(one)
        used += _SIZE_BYTES + len(one)
    yield _bundle((*first, *now, *last))


def _bundle(messages: Sequence[bytes]) -> bytes:
    parts = [_HEAD]
    for one in messages:
        parts += (len(one).to_bytes(_SIZE_BYTES, "big"), one)
    return b"".join(parts)


@lru_cache(maxsize=4096)
def _text(text: str) -> bytes:
    """Return a text with the zero that ends it, filled up with zeros to whole words."""
    encoded = text_bytes(text)
    return encoded + bytes(_WORD_BYTES - len(encoded) % _WORD_BYTES)


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
