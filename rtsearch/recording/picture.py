"""Save a picture to a file."""

from __future__ import annotations

from pathlib import Path

import cv2

from rtsearch._util.atomic import write_atomic
from rtsearch.errors import RecordError
from rtsearch.recording.problems import record_error
from rtsearch.types import U8Array

__all__ = ["require_picture", "save_picture"]


def require_picture(path: Path) -> None:
    """Check that a picture can have a name.

    Raises:
        RecordError: its suffix is missing, or of no kind of picture.
    """
    if not path.suffix and path.exists() and not path.is_file():
        return
    if not path.suffix or not cv2.haveImageWriter(f"picture{path.suffix}"):
        raise RecordError(f"{path}: cannot write pictures of that kind; use .png or .jpg")


def save_picture(picture: U8Array, path: Path) -> None:
    """Write a (H, W, 3) uint8 BGR picture in the format of the path's suffix; PNG to a pipe without one.

    Raises:
        RecordError: the format is unknown, or the file cannot be written.
    """
    require_picture(path)
    data = cv2.imencode(path.suffix or ".png", picture)[1]
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
