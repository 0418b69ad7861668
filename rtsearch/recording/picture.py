"""One picture as a file."""

from __future__ import annotations

from pathlib import Path

import cv2

from rtsearch._util.atomic import write_atomic
from rtsearch.errors import RecordError
from rtsearch.recording.problems import record_error
from rtsearch.types import U8Array

__all__ = ["save_picture"]


def save_picture(picture: U8Array, path: Path) -> None:
    """Write a (H, W, 3) uint8 BGR picture; the name's ending decides the format, PNG where it has none.

    Raises:
        RecordError: unknown format, or the file cannot be written.
    """
    try:
        data = cv2.imencode(path.suffix or ".png", picture)[1]
    except cv2.error:
        raise RecordError(f"{path}: cannot write pictures of that kind; use .png or .jpg") from None
    try:
        _write(path.resolve(), data.tobytes())
    except OSError as error:
        raise record_error(path, error, kept=False) from None


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all, where ``path`` is no pipe or device."""
    if path.exists() and not path.is_file():
        path.write_bytes(data)
        return
    write_atomic(path, data)
