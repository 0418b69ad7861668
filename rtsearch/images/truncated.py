"""JPEGs that lack their last bytes, as a broken transfer leaves them: taken where few rows are missing."""

from __future__ import annotations

from typing import cast

import cv2
import numpy as np

from rtsearch.types import U8Array

__all__ = ["by_opencv", "without_end"]

_END = b"\xff\xd9"
# Whatever the tables of the file are, these bytes stand for other pixels than none do.
_FILLER = bytes(np.random.default_rng(0).integers(1, 255, 4096).tolist())
_MOST_MISSING = 0.1  # of the rows


def by_opencv(data: bytes) -> U8Array | None:
    """Decode a picture, its orientation ignored; None for what OpenCV refuses."""
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    return cast(U8Array | None, cv2.imdecode(np.frombuffer(data, np.uint8), flags))


def without_end(data: bytes) -> tuple[U8Array | None, str]:
    """Decode a JPEG that OpenCV refuses because it ends too soon.

    It is decoded twice, with other bytes after its own: the pixels that differ are those that it lacks.

    Returns:
        (H, W, 3) uint8 BGR, not turned upright, and what is wrong; None where more than a tenth of the
        rows is missing.
    """
    own = data.rstrip(b"\xff")
    bgr, other = (by_opencv(own + end) for end in (_END, _FILLER + _END))
    if bgr is None or other is None or bgr.shape != other.shape:
        return None, ""
    differing = np.flatnonzero((bgr != other).any(axis=2).ravel())
    rows = np.unique(differing // bgr.shape[1])
    if len(rows) > _MOST_MISSING * len(bgr):
        return None, ""
    if not len(rows):
        return bgr, "lacks its last bytes"
    return bgr, f"lacks its last bytes: {len(rows)} of {len(bgr)} rows are incomplete"
