"""Pictures that are painted in turn, so that whoever holds one keeps what was painted."""

from __future__ import annotations

import sys

import numpy as np

from rtsearch.render.layout import Place
from rtsearch.render.theme import Colour
from rtsearch.types import U8Array

__all__ = ["Pictures", "room"]


class Pictures:
    """Successive states of a picture, of which none is painted over while somebody else refers to it.

    Another one is then brought up to date and painted instead; only what was painted since it was the newest
    is copied, which is little where most of a picture is painted anew each time.

    Args:
        wh: width and height, px.
        ground: colour of the first one.
    """

    def __init__(self, wh: tuple[int, int], ground: Colour) -> None:
        self._all = [np.full((wh[1], wh[0], 3), ground, np.uint8)]
        self._late: list[set[Place]] = [set()]  # of each: places where the newest one is newer
        self._newest = 0
        self._free = sys.getrefcount(self._all[0])

    @property
    def newest(self) -> U8Array:
        """Return the newest picture, (H, W, 3) uint8 BGR, which is painted on until the next turn."""
        return self._all[self._newest]

    def turn(self, whole: Place = (0, 0, 0, 0)) -> None:
        """Begin the next picture, like the newest but for a place that is going to be painted whole."""
        if self._is_free(self._newest):
            return
        old, free = self.newest, [i for i in range(len(self._all)) if self._is_free(i)]
        if free:
            self._newest = free[0]
            for place in self._late[self._newest] - {whole}:
                room(self.newest, place)[:] = room(old, place)
            self._late[self._newest].clear()
        else:
            self._newest = len(self._all)
            self._all.append(old.copy())
            self._late.append(set())

    def room(self, place: Place) -> U8Array:
        """Return a place of the newest picture for painting."""
        for i, late in enumerate(self._late):
            if i != self._newest:
                late.add(place)
        return room(self.newest, place)

    def _is_free(self, i: int) -> bool:
        """Tell whether nobody else refers to a picture, or to a part of it."""
        return sys.getrefcount(self._all[i]) <= self._free


def room(picture: U8Array, place: Place) -> U8Array:
    """Return a place of a picture."""
    x, y, width, height = place
    return picture[y : y + height, x : x + width]
