"""One picture as a file."""

from __future__ import annotations

from pathlib import Path

import cv2

from rtsearch.errors import RecordError
from rtsearch.record.problems import record_error
from rtsearch.records import U8Array

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
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.tobytes())
    except OSError as error:
        raise record_error(path, error) from None
