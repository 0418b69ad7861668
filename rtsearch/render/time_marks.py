"""Draw the time of a crop in its corner: in a film, or how long ago it was seen."""

from __future__ import annotations

import cv2

from rtsearch.library.index import SearchIndex
from rtsearch.render.text import draw_text, text_wh
from rtsearch.render.theme import TEXT
from rtsearch.types import U8Array

__all__ = ["TimeMarks"]

_SIZE = 1 / 7  # of the crop's height
_LEAST_PX, _MOST_PX = 9, 22
_DIM = 0.35  # share of the crop's brightness below the text


class TimeMarks:
    """Marks the crops of films and of a memory; those of photos stay as they are.

    Args:
        index: whose crops are marked.
        font: file of the font, "" for the built-in one.
    """

    def __init__(self, index: SearchIndex, font: str) -> None:
        self._index = index
        self._font = font

    def draw(self, row: int, crop: U8Array) -> None:
        """Draw the time of a row at the lower left of its crop, (h, w, 3) uint8 BGR, where there is room."""
        text = self._index.time_mark(row)
        if not text:
            return
        size = min(max(round(crop.shape[0] * _SIZE), _LEAST_PX), _MOST_PX)
        width, height = text_wh(text, size, self._font)
        while width + 6 > crop.shape[1] and size > _LEAST_PX:
            size -= 1
            width, height = text_wh(text, size, self._font)
        if width + 6 > crop.shape[1]:
            text = text.split(".")[0].removesuffix(" ago")
            width, height = text_wh(text, size, self._font)
        low = crop[max(0, crop.shape[0] - height - 2) :, : width + 6]
        low[:] = cv2.convertScaleAbs(low, alpha=_DIM)
        draw_text(crop, text, (3, crop.shape[0] - height - 1), size, TEXT, self._font)
