"""Several sources in one picture: a cell for each, side by side and below each other.

1 2 3    1 2 3    1     as many columns as make the cells largest: a frame with its strips below is hardly
          4 5     2     wider than high, so a wide screen has columns and an upright one has rows
"""

from __future__ import annotations

from functools import lru_cache

from rtsearch.config import ShowSettings
from rtsearch.render.pictures import Pictures
from rtsearch.render.theme import DARK, Colour
from rtsearch.types import U8Array

__all__ = ["Mosaic", "cell_settings", "cells"]

_GAP_PX = 4
_HEADER_SHARE = 0.5  # most of a cell's height that the query frame takes
_ASPECT = 1.1  # width by height of what a cell is filled with: a 16:9 frame and four strips


@lru_cache(maxsize=64)
def cells(window_wh: tuple[int, int], count: int) -> tuple[tuple[int, int, int, int], ...]:
    """x, y, width and height of each of ``count`` cells, px; one cell is the whole window.

    A last row that is not full stands in the middle: two holes of one size look meant, one does not.
    """
    columns = max(range(1, count + 1), key=lambda columns: _room(window_wh, count, columns))
    rows = -(-count // columns)
    width, height = _cell_wh(window_wh, columns, rows)
    missing = columns * rows - count
    indent = missing * (width + _GAP_PX) // 2
    return tuple(
        (
            i % columns * (width + _GAP_PX) + (indent if i // columns == rows - 1 else 0),
            i // columns * (height + _GAP_PX),
            width,
            height,
        )
        for i in range(count)
    )


def _room(window_wh: tuple[int, int], count: int, columns: int) -> tuple[float, int]:
    """Return how large a frame and its strips can be in a cell; a grid with fewer holes is better."""
    rows = -(-count // columns)
    width, height = _cell_wh(window_wh, columns, rows)
    return min(width, _ASPECT * height), -columns * rows


def _cell_wh(window_wh: tuple[int, int], columns: int, rows: int) -> tuple[int, int]:
    width = (window_wh[0] - (columns - 1) * _GAP_PX) // columns
    return width, (window_wh[1] - (rows - 1) * _GAP_PX) // rows


@lru_cache(maxsize=64)
def cell_settings(show: ShowSettings, place: int, count: int) -> ShowSettings:
    """Return the settings of one of ``count`` cells, with a query frame that leaves strips their half."""
    if count == 1:
        return show
    width, height = cells(show.window_wh, count)[place][2:]
    header = min(show.header_height, int(height * _HEADER_SHARE))
    changes: dict[str, object] = {"window_wh": (width, height), "header_height": header}
    if place:  # the first cell signs for all
        changes |= {"caption": "", "logo": ""}
    return show.model_copy(update=changes)


class Mosaic:
    """Puts the pictures of all sources side by side; a single one is passed on as it is.

    Args:
        count: number of sources.
        gap: colour between their pictures.
    """

    def __init__(self, count: int, gap: Colour = DARK.gap) -> None:
        self._count = count
        self._gap = gap
        self._pictures = Pictures((0, 0), gap)

    def put(self, place: int, picture: U8Array, window_wh: tuple[int, int]) -> U8Array:
        """Bring the picture of a source up to date.

        Returns:
            (height, width, 3) uint8 BGR of ``window_wh``, which stays as it is while it is referred to.
        """
        if self._count == 1:
            return picture
        if self._pictures.newest.shape[1::-1] != window_wh:
            self._pictures = Pictures(window_wh, self._gap)
        cell = cells(window_wh, self._count)[place]
        self._pictures.turn(cell)
        self._pictures.room(cell)[:] = picture[: cell[3], : cell[2]]
        return self._pictures.newest
