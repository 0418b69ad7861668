"""Save a picture to a file."""

from __future__ import annotations

from pathlib import Path

import cv2

from rtsearch._util.atomic import write_atomic
from rtsearch.errors import RecordError
from rtsearch.recording.problems import record_error
from rtsearch.types import U8Array

__all__ = ["save_picture"]


def save_picture(picture: U8Array, path: Path) -> None:
    """Write a (H, W, 3) uint8 BGR picture in the format of the path's suffix, PNG without a suffix.

    Raises:
        RecordError: the format is unknown, or the file cannot be written.
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
    """Write a file atomically, or write to a pipe or device."""
    if path.exists() and not path.is_file():
        path.write_bytes(data)
        return
    write_atomic(path, data)
