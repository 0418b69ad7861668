"""Bytes between the server of a library and the processes that hold its shards, over plain connections.

    connection  the shard's secret, once
    question    header, key of the narrowing, mask or nothing, points
    answer      header, rows and distances; or a header alone that asks for the mask

All numbers are little-endian. Whoever knows the secret made the shard, so what follows is trusted.
"""

from __future__ import annotations

import socket
import struct

import numpy as np

from rtsearch.service.shards import Mask, Question
from rtsearch.types import Neighbours

__all__ = [
    "SECRET_BYTES",
    "read_near",
    "read_question",
    "received",
    "write_near",
    "write_no_mask",
    "write_question",
]

SECRET_BYTES = 32

_QUESTION = struct.Struct("<4Id2I")  # n, dim, k, exact, recall, bytes of the key and of the mask
_ANSWER = struct.Struct("<2I")  # n, k
_NO_MASK = _ANSWER.pack(0, 0)  # no question has 0 points


def write_question(question: Question, mask: Mask | None = None) -> bytes:
    """Return the bytes of a question, with the mask of its narrowing where the shard has asked for it."""
    points, key = question.points, question.key.encode()
    bits = b"" if mask is None else mask.tobytes()
    header = _QUESTION.pack(*points.shape, question.k, question.exact, question.recall, len(key), len(bits))
    return b"".join((header, key, bits, points.astype("<f4", copy=False).tobytes()))


def read_question(connection: socket.socket) -> tuple[Question, Mask | None]:
    """Receive a question, and the mask that came with it.

    Raises:
        OSError: the connection has ended.
    """
    n, dim, k, exact, recall, key_bytes, mask_bytes = _QUESTION.unpack(received(connection, _QUESTION.size))
    body = received(connection, key_bytes + mask_bytes + 4 * n * dim)
    at = key_bytes + mask_bytes
    mask = np.frombuffer(body[key_bytes:at], np.uint8) if mask_bytes else None
    points = np.frombuffer(body[at:], "<f4").astype(np.float32, copy=False).reshape(n, dim)
    return Question(points, k, bool(exact), recall, body[:key_bytes].decode()), mask


def write_near(near: Neighbours) -> bytes:
    """Return the bytes of an answer."""
    row = near.row.astype("<i4", copy=False)
    distance = near.distance.astype("<f4", copy=False)
    return _ANSWER.pack(*row.shape) + row.tobytes() + distance.tobytes()


def write_no_mask() -> bytes:
    """Return the bytes that ask for the mask of a narrowing."""
    return _NO_MASK


def read_near(connection: socket.socket) -> Neighbours | None:
    """Receive an answer; None where the shard asks for the mask.

    Raises:
        OSError: the connection has ended.
    """
    header = received(connection, _ANSWER.size)
    if header == _NO_MASK:
        return None
    n, k = _ANSWER.unpack(header)
    body = received(connection, 8 * n * k)
    row = np.frombuffer(body, "<i4", n * k).astype(np.int32, copy=False)
    distance = np.frombuffer(body, "<f4", n * k, 4 * n * k).astype(np.float32, copy=False)
    return Neighbours(row.reshape(n, k), distance.reshape(n, k))


def received(connection: socket.socket, size: int) -> bytes:
    """Receive so many bytes.

    Raises:
        OSError: the connection ends before.
    """
    content = bytearray(size)
    rest = memoryview(content)
    while rest:
        count = connection.recv_into(rest)
        if not count:
            raise ConnectionResetError("the connection has ended")
        rest = rest[count:]
    return bytes(content)
