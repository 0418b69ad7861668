"""The crop of an object as the small JPEG that the thumbnail pack keeps, and how well it shows the object."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import cast

import cv2
import numpy as np

from rtsearch.types import F32Array, U8Array

__all__ = ["crop_quality", "encode_crop", "surest_label"]

JPEG_QUALITY = 85
_SHARP_PX = 64  # side of the square that sharpness is measured in
_SHARP = 150.0  # variance of the Laplacian of a crop that is half as good as a sharp one
_LARGE_PX = 96.0  # shorter side of a box from which more pixels are no better
_CUT = 0.6  # of the quality of a box that the picture's edge cuts


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
    scale = thumb_px / max(crop.shape[:2])
    if scale < 1:
        size_wh = (max(1, round(crop.shape[1] * scale)), max(1, round(crop.shape[0] * scale)))
        crop = cast(U8Array, cv2.resize(crop, size_wh, interpolation=cv2.INTER_AREA))
    _, jpeg = cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return bytes(jpeg.tobytes())


def crop_quality(bgr: U8Array, xyxy: F32Array, score: float) -> float:
    """Return how well a box shows its object, 0 to 1: sure, large, sharp and whole.

    Args:
        bgr: (H, W, 3) uint8.
        xyxy: (4,) float32, pixels of ``bgr``.
        score: confidence, 0 to 1.
    """
    height, width = bgr.shape[:2]
    x1, y1 = np.clip(xyxy[:2].astype(int), 0, (width - 1, height - 1)).tolist()
    x2, y2 = np.ceil(xyxy[2:]).astype(int).tolist()
    crop = bgr[y1 : max(y2, y1 + 1), x1 : max(x2, x1 + 1), 1]
    small = cv2.resize(np.ascontiguousarray(crop), (_SHARP_PX, _SHARP_PX), interpolation=cv2.INTER_AREA)
    sharp = float(cv2.Laplacian(small, cv2.CV_32F).var())
    inside = x1 > 1 and y1 > 1 and x2 < width - 1 and y2 < height - 1
    large = math.sqrt(min(1.0, min(x2 - x1, y2 - y1) / _LARGE_PX))
    return score * large * sharp / (sharp + _SHARP) * (1.0 if inside else _CUT)


def surest_label(scores: Mapping[int, float]) -> int:
    """Return the class that the pictures of an object are surest of.

    Args:
        scores: by class, the confidence of all pictures together.
    """
    return max(scores, key=lambda label: scores[label])
