"""Read model files as bytes, within bounds, and their metadata without importing onnx.

Importing onnx takes 0.3 s, which opening a model need not cost.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from rtsearch._util.regular_files import open_regular
from rtsearch.errors import ModelError, UnknownModelError

__all__ = ["MOST_BYTES", "NOT_WHOLE", "metadata", "read_model"]

NOT_WHOLE = "{path} is not a whole ONNX file; export or pull it again"
MOST_BYTES = 2**31 - 1
"""Size of the largest protobuf message."""
_METADATA_FIELD = 14  # ModelProto.metadata_props in onnx.proto
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types of protobuf


def read_model(path: Path) -> tuple[bytes, str]:
    """Return the content of a model file and its SHA-256.

    Raises:
        UnknownModelError: the file does not exist or cannot be read.
        ModelError: the file is too large for a model.
    """
    try:
        with open_regular(path) as file:
            size_bytes = os.fstat(file.fileno()).st_size
            if size_bytes > MOST_BYTES:
                raise ModelError(f"{path} has {size_bytes} bytes; an ONNX file holds at most {MOST_BYTES}")
            content = file.read()
    except OSError as error:
        raise UnknownModelError(f"cannot read {path}: {error.strerror or error}") from None
    return content, hashlib.sha256(content).hexdigest()


def metadata(content: bytes) -> dict[str, str]:
    """Return the metadata of an ONNX file, texts by key.

    Raises:
        ValueError: the content is truncated or not a protobuf message.
    """
    found = {}
    for field, value in _fields(memoryview(content)):
        if field == _METADATA_FIELD:
            entry = dict(_fields(value))
            found[str(entry.get(1, b""), "utf-8")] = str(entry.get(2, b""), "utf-8")
    return found


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield number and content of each field; the content of a plain number is empty."""
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
