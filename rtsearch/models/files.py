"""Model files as bytes: read within bounds, their metadata found without onnx.

Importing onnx takes 0.3 s, which a running product need not pay to learn what its model says about itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from rtsearch.errors import ModelError, UnknownModelError

__all__ = ["NOT_WHOLE", "metadata", "read_model"]

NOT_WHOLE = "{path} is not a whole ONNX file; export or pull it again"
_MAX_BYTES = 2**31 - 1  # what a protobuf message can hold at all
_METADATA_FIELD = 14  # ModelProto.metadata_props, of onnx.proto
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types of protobuf


def read_model(path: Path) -> tuple[bytes, str]:
    """A model file's content and its SHA-256.

    Raises:
        UnknownModelError: no such file, or unreadable.
        ModelError: too large to be one.
    """
    try:
        size_bytes = path.stat().st_size
        if size_bytes > _MAX_BYTES:
            raise ModelError(f"{path} has {size_bytes} bytes; an ONNX file holds at most {_MAX_BYTES}")
        content = path.read_bytes()
    except OSError as error:
        raise UnknownModelError(f"cannot read {path}: {error.strerror or error}") from None
    return content, hashlib.sha256(content).hexdigest()


def metadata(content: bytes) -> dict[str, str]:
    """The texts that an ONNX file carries, by key.

    Raises:
        ValueError: truncated, or no protobuf message.
    """
    found = {}
    for field, value in _fields(memoryview(content)):
        if field == _METADATA_FIELD:
            entry = dict(_fields(value))
            found[str(entry.get(1, b""), "utf-8")] = str(entry.get(2, b""), "utf-8")
    return found


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Number and content of each field; empty for those that are plain numbers."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind, size = tag & 7, 0
        if kind == _VARINT:
            _, at = _varint(message, at)
        elif kind == _BYTES:
            size, at = _varint(message, at)
        elif kind in (_FIXED32, _FIXED64):
            at += 4 if kind == _FIXED32 else 8
        else:
            raise ValueError("no protobuf message")
        if at + size > len(message):
            raise ValueError("truncated")
        yield tag >> 3, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for i, byte in enumerate(message[at : at + 10]):
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return value, at + i + 1
    raise ValueError("truncated")
