"""The crop of an object as the small JPEG that the thumbnail pack keeps."""

from __future__ import annotations

import numpy as np

from rtsearch.images.encode import encode_jpeg, shrunk
from rtsearch.types import F32Array, U8Array

__all__ = ["encode_crop"]

JPEG_QUALITY = 85


def encode_crop(bgr: U8Array, xyxy: F32Array, thumb_px: int) -> bytes:
    """Cut a box out of a photo and make a JPEG of it, never larger than it was.

    Args:
        bgr: (H, W, 3) uint8.
        xyxy: (4,) float32, pixels of ``bgr``; whole pixels that the box touches belong to the crop.
        thumb_px: longest side of the result, px.
    """
    height, width = bgr.shape[:2]
    x1, y1 = (min(max(int(low), 0), side - 1) for low, side in zip(xyxy[:2], (width, height), strict=True))
    x2, y2 = np.ceil(xyxy[2:]).astype(int).tolist()
    crop = bgr[y1 : max(min(y2, height), y1 + 1), x1 : max(min(x2, width), x1 + 1)]
    return encode_jpeg(shrunk(crop, thumb_px), JPEG_QUALITY)
