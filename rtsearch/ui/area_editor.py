"""Draw parts of a picture with the mouse: where objects count, and where they do not."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np

from rtsearch._util.areas import Area
from rtsearch.live import Areas
from rtsearch.render import theme
from rtsearch.types import U8Array

__all__ = ["HINT", "AreaEditor", "FramePlace"]

HINT = "click corners; then m: a mask, o: the only part that counts    Backspace: back    s: save    r: done"
"""Keys of the editor, as the window tells them."""

_LEAST_CORNERS = 3


class FramePlace(NamedTuple):
    """Place of the whole frame of a source in the picture of the window, px; parts of it may be cut off.

    ``mirrored``: left and right of the frame were changed.
    """

    x: float
    y: float
    width: float
    height: float
    mirrored: bool = False

    def share_of(self, xy: tuple[int, int]) -> tuple[float, float] | None:
        """Return a point of the picture in shares of the frame, as the camera sees it; None beside it."""
        if not self.width or not self.height:
            return None
        x, y = (xy[0] - self.x) / self.width, (xy[1] - self.y) / self.height
        if not (0 <= x <= 1 and 0 <= y <= 1):
            return None
        return (1 - x if self.mirrored else x), y


class AreaEditor:
    """Corners that are being clicked, and the areas that come of them.

    Attributes:
        areas: as they are now.
    """

    def __init__(self, areas: Areas) -> None:
        self.areas = areas
        self._corners: list[tuple[float, float]] = []
        self._points: list[tuple[int, int]] = []  # the same in the picture
        self._source = 0

    def click(self, source: int, share_xy: tuple[float, float], xy: tuple[int, int]) -> None:
        """Add a corner; one in another source begins a new area.

        Args:
            source: number of the source, from 1; 0 where there is only one.
            share_xy: place in shares of the frame.
            xy: place in the picture, px.
        """
        if source != self._source:
            self._source, self._corners, self._points = source, [], []
        self._corners.append(share_xy)
        self._points.append(xy)

    def finish(self, *, counts: bool) -> bool:
        """Make an area of the corners; return False where they are too few.

        Args:
            counts: objects count in this area only; else they do not count in it.
        """
        if len(self._corners) < _LEAST_CORNERS:
            return False
        new = (Area(self._source, tuple(self._corners)),)
        if counts:
            self.areas = replace(self.areas, regions=self.areas.regions + new)
        else:
            self.areas = replace(self.areas, masks=self.areas.masks + new)
        self._corners, self._points = [], []
        return True

    def take_back(self) -> None:
        """Take the last corner back, or without corners the last area, masks first."""
        if self._corners:
            self._corners.pop()
            self._points.pop()
        elif self.areas.masks:
            self.areas = replace(self.areas, masks=self.areas.masks[:-1])
        else:
            self.areas = replace(self.areas, regions=self.areas.regions[:-1])

    def draw(self, picture: U8Array, line_px: int) -> None:
        """Draw the corners that are being clicked on a picture."""
        if self._points:
            points = np.array(self._points, np.int32)
            cv2.polylines(picture, [points], False, theme.ACCENT, line_px, cv2.LINE_AA)
            for x, y in self._points:
                cv2.circle(picture, (x, y), 2 * line_px + 1, theme.ACCENT, -1, cv2.LINE_AA)
