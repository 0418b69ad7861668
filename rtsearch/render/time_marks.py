"""Draw the time of a film in the corner of a crop."""

from __future__ import annotations

import cv2

from rtsearch._util.wording import time_code
from rtsearch.library.index import SearchIndex
from rtsearch.render.text import draw_text, text_wh
from rtsearch.render.theme import TEXT
from rtsearch.types import U8Array

__all__ = ["TimeMarks"]

_SIZE = 1 / 7  # of the crop's height
_LEAST_PX, _MOST_PX = 9, 22
_DIM = 0.35  # share of the crop's brightness below the text


class TimeMarks:
    """Marks the crops of films; those of photos stay as they are.

    Args:
        index: whose crops are marked.
        font: file of the font, "" for the built-in one.
    """

    def __init__(self, index: SearchIndex, font: str) -> None:
        self._times_s = index.times_s
        self._font = font

    def draw(self, row: int, crop: U8Array) -> None:
        """Draw the time of a row at the lower left of its crop, (h, w, 3) uint8 BGR, where there is room."""
        t_s = float(self._times_s[row, 0])
        if not t_s >= 0:  # NaN, or a container whose times begin below 0
            return
        size = min(max(round(crop.shape[0] * _SIZE), _LEAST_PX), _MOST_PX)
        text = time_code(t_s)
        width, height = text_wh(text, size, self._font)
        while width + 6 > crop.shape[1] and size > _LEAST_PX:
            size -= 1
            width, height = text_wh(text, size, self._font)
        if width + 6 > crop.shape[1]:
            text = text.split(".")[0]
            width, height = text_wh(text, size, self._font)
        low = crop[max(0, crop.shape[0] - height - 2) :, : width + 6]
        low[:] = cv2.convertScaleAbs(low, alpha=_DIM)
        draw_text(crop, text, (3, crop.shape[0] - height - 1), size, TEXT, self._font)
