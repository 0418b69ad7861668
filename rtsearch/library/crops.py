"""Crops of objects: cut out of photos, judged, kept as small JPEGs, and scaled for the screen."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import cast

import cv2
import numpy as np

from rtsearch.images.encode import encode_jpeg, shrunk
from rtsearch.types import F32Array, U8Array

__all__ = ["MOST_ENLARGED", "covering", "crop_quality", "encode_crop", "scaled", "surest_label"]

JPEG_QUALITY = 85
MOST_ENLARGED = 1.5
"""Largest factor by which a crop is enlarged on the screen; beyond it is fog."""
_MARGIN = 0.08  # of a box's sides, around it: what is cut at its very edge is hard to recognise
_OFF_THE_TOP = 0.3  # share of a cut at the top
_BLURRED_PX = 5  # side of the picture that the ground of a small crop is enlarged from
_BLURRED_LIGHT = 0.4  # brightness of that ground
_SHARP_PX = 64  # side of the square that sharpness is measured in
_SHARP = 150.0  # variance of the Laplacian of a crop that is half as good as a sharp one
_LARGE_PX = 96.0  # shorter side of a box from which more pixels are no better
_CUT = 0.6  # of the quality of a box that the picture's edge cuts


def encode_crop(bgr: U8Array, xyxy: F32Array, thumb_px: int) -> bytes:
    """Cut a box with a margin out of a photo and make a JPEG of it, never larger than it was.

    Args:
        bgr: (H, W, 3) uint8.
        xyxy: (4,) float32, pixels of ``bgr``; whole pixels that the box touches belong to the crop, which has
            the box's shape: at an edge of the photo the margin lies on the other side, or is left out.
        thumb_px: longest side of the result, px.
    """
    x1, y1, x2, y2 = _with_margin(xyxy, bgr.shape[1::-1])
    return encode_jpeg(shrunk(bgr[y1:y2, x1:x2], thumb_px), JPEG_QUALITY)


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


def scaled(picture: U8Array, wh: tuple[int, int]) -> U8Array:
    """Return a crop in another size, (h, w, 3) uint8 BGR.

    A crop that would be enlarged too much stands in the middle of its place, before itself, blurred and dark.
    """
    enlarged = max(wh[0] / picture.shape[1], wh[1] / picture.shape[0])
    if enlarged <= MOST_ENLARGED:
        method = cv2.INTER_CUBIC if enlarged > 1 else cv2.INTER_AREA
        return cast(U8Array, cv2.resize(picture, wh, interpolation=method))
    few = cv2.resize(picture, (_BLURRED_PX, _BLURRED_PX), interpolation=cv2.INTER_AREA)
    few = cv2.convertScaleAbs(few, alpha=_BLURRED_LIGHT)
    place = cast(U8Array, cv2.resize(few, wh, interpolation=cv2.INTER_CUBIC))
    width, height = (max(1, round(side * MOST_ENLARGED / enlarged)) for side in wh)
    x, y = (wh[0] - width) // 2, (wh[1] - height) // 2
    inner = cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC)
    place[y : y + height, x : x + width] = inner
    return place


def covering(picture: U8Array, wh: tuple[int, int]) -> U8Array:
    """Return a crop scaled to cover a place; what juts out is cut, less of it at the top, where heads are."""
    height, width = picture.shape[:2]
    kept_w = min(width, max(1, round(height * wh[0] / wh[1])))
    kept_h = min(height, max(1, round(width * wh[1] / wh[0])))
    x, y = (width - kept_w) // 2, round(_OFF_THE_TOP * (height - kept_h))
    return scaled(picture[y : y + kept_h, x : x + kept_w], wh)


def _with_margin(xyxy: F32Array, wh: tuple[int, ...]) -> list[int]:
    """Return whole pixels of a box with its margin, moved to lie within a picture of a size."""
    sides = np.array(wh)
    low = np.clip(np.floor(xyxy[:2]), 0, sides - 1)
    high = np.maximum(np.minimum(np.ceil(xyxy[2:]), sides), low + 1)
    grown = min(1 + 2 * _MARGIN, *(sides / (high - low)))
    size = np.rint((high - low) * grown)
    corner = np.clip(np.rint((low + high - size) / 2), 0, sides - size)
    return [*corner.astype(int).tolist(), *(corner + size).astype(int).tolist()]
