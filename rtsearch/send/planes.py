"""Convert pictures to I420, the planes that virtual cameras carry."""

from __future__ import annotations

import cv2
import numpy as np

from rtsearch.types import U8Array

__all__ = ["Planes", "even_wh"]

_ALONE_PX = 320 * 240  # OpenCV converts fewer in one thread; its others would spin for longer than they work


def even_wh(picture: U8Array) -> tuple[int, int]:
    """Return width and height of a picture without an odd column or line at its end, px."""
    height, width = (side // 2 * 2 for side in picture.shape[:2])
    return width, height


class Planes:
    """Converter with room for one picture: memory that is taken anew for each costs more than converting."""

    def __init__(self) -> None:
        self._planes: U8Array = np.empty((0, 0), np.uint8)
        self._colours: U8Array = np.empty((2, 0, 0), np.uint8)

    def of(self, picture: U8Array) -> U8Array:
        """Return a picture, (H, W, 3) uint8 BGR, as (H * 3 / 2, W) uint8, valid until the next one."""
        width, height = even_wh(picture)
        if self._planes.shape != (height * 3 // 2, width):
            self._planes = np.empty((height * 3 // 2, width), np.uint8)
            self._colours = np.empty((2, height // 2, width // 2), np.uint8)
        step = max(2, (_ALONE_PX - 1) // max(1, width) // 2 * 2)
        for y in range(0, height, step):
            high = min(step, height - y)
            # The light of a part is converted into its place. Its colours come below, where the light of the
            # next part, or the colours of all, are put after they were copied.
            part = self._planes[y : y + high * 3 // 2]
            cv2.cvtColor(np.ascontiguousarray(picture[y : y + high, :width]), cv2.COLOR_BGR2YUV_I420, part)
            self._colours[:, y // 2 : (y + high) // 2] = part[high:].reshape(2, high // 2, width // 2)
        self._planes[height:] = self._colours.reshape(height // 2, width)
        return self._planes
