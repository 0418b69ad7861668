"""Convert pictures to I420, the planes that virtual cameras carry."""

from __future__ import annotations

import cv2
import numpy as np

from rtsearch.types import U8Array

__all__ = ["Planes", "even_wh"]


def even_wh(picture: U8Array) -> tuple[int, int]:
    """Return width and height of a picture without an odd column or line at its end, px."""
    height, width = (side // 2 * 2 for side in picture.shape[:2])
    return width, height


class Planes:
    """Converter with room for one picture: memory that is taken anew for each costs more than converting."""

    def __init__(self) -> None:
        self._planes: U8Array = np.empty((0, 0), np.uint8)

    def of(self, picture: U8Array) -> U8Array:
        """Return a picture, (H, W, 3) uint8 BGR, as (H * 3 / 2, W) uint8, valid until the next one."""
        width, height = even_wh(picture)
        if self._planes.shape != (height * 3 // 2, width):
            self._planes = np.empty((height * 3 // 2, width), np.uint8)
        cv2.cvtColor(np.ascontiguousarray(picture[:height, :width]), cv2.COLOR_BGR2YUV_I420, self._planes)
        return self._planes
