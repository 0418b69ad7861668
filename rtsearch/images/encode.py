"""Make pictures smaller, and JPEGs of them."""

from __future__ import annotations

from typing import cast

import cv2

from rtsearch.types import U8Array

__all__ = ["encode_jpeg", "shrunk"]


def encode_jpeg(bgr: U8Array, quality: int = 85) -> bytes:
    """Return a picture as a JPEG file.

    Args:
        bgr: (H, W, 3) uint8, each side at most 65,500 px.
        quality: 1 to 100.
    """
    done, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    return bytes(jpeg.data)


def shrunk(bgr: U8Array, side_px: int) -> U8Array:
    """Return a picture whose longer side is at most so long; one that is no longer as it is.

    Args:
        bgr: (H, W, 3) uint8.
        side_px: longest side.
    """
    height, width = bgr.shape[:2]
    scale = side_px / max(height, width)
    if scale >= 1:
        return bgr
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cast(U8Array, cv2.resize(bgr, size, interpolation=cv2.INTER_AREA))
