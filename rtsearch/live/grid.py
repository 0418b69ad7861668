"""Several sources in one picture: a cell for each, side by side and below each other.

1      1 2      1 2      1 2 3
       (3)      3 4      4 5 6    as many columns as rows, or one more
"""

from __future__ import annotations

import math

import numpy as np

from rtsearch.records import U8Array

__all__ = ["Grid", "cells", "header_of"]

_GAP_PX = 4
_GROUND = 8
_HEADER_SHARE = 0.5  # most of a cell's height that the query frame takes


def cells(window_wh: tuple[int, int], count: int) -> list[tuple[int, int, int, int]]:
    """x, y, width and height of each of ``count`` cells, px; one cell is the whole window."""
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    width = (window_wh[0] - (columns - 1) * _GAP_PX) // columns
    height = (window_wh[1] - (rows - 1) * _GAP_PX) // rows
    return [
        (i % columns * (width + _GAP_PX), i // columns * (height + _GAP_PX), width, height)
        for i in range(count)
    ]


def header_of(header_height: int, cell_height: int) -> int:
    """The height of the query frame in a cell: as asked for, but the strips keep their half."""
    return min(header_height, int(cell_height * _HEADER_SHARE))


class Grid:
    """The picture of all channels; a single one is passed on as it is."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._canvas: U8Array = np.zeros((0, 0, 3), np.uint8)

    def put(self, place: int, picture: U8Array, window_wh: tuple[int, int]) -> U8Array:
        """Bring a channel's picture up to date.

        Returns:
            (height, width, 3) uint8 BGR of ``window_wh``, valid until the next call.
        """
        if self._count == 1:
            return picture
        if self._canvas.shape[1::-1] != window_wh:
            self._canvas = np.full((window_wh[1], window_wh[0], 3), _GROUND, np.uint8)
        x, y, width, height = cells(window_wh, self._count)[place]
        self._canvas[y : y + height, x : x + width] = picture[:height, :width]
        return self._canvas
