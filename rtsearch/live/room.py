"""Room that a picture has for objects and their crops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from rtsearch.live.neighbour_hysteresis import Room
from rtsearch.render.layout import Canvas, base_strips, lay_out
from rtsearch.render.wall import BANDS, CROPS
from rtsearch.types import Detections, F32Array

__all__ = ["PictureRoom", "StripRoom", "WallRoom", "room_of"]

_EDGE = 0.01  # distance from the frame's edge, as a share of its side, at which an object is cut by it
_CUT = 0.8  # importance that is left of an object for each edge that cuts it


def room_of(canvas: Canvas, frame_wh: tuple[int, int]) -> PictureRoom:
    """Return the room of a picture of a frame."""
    if canvas.composition == "strips":
        return StripRoom(canvas, frame_wh)
    return WallRoom(frame_wh, CROPS if canvas.fill else min(CROPS, canvas.results))


@dataclass(frozen=True, slots=True)
class WallRoom:
    """Room of the bands of a wall.

    Attributes:
        frame_wh: width and height of the frame, px.
        most_crops: largest number of crops of an object.
    """

    frame_wh: tuple[int, int]
    most_crops: int = CROPS

    @property
    def grid(self) -> tuple[int, int]:
        """Return the least and the largest number of bands."""
        return BANDS, BANDS

    @property
    def stays_s(self) -> float:
        """Return the least time for which an object keeps its band, s."""
        return 4.0

    def importance(self, found: Detections) -> F32Array:
        """Return the importance of n objects, (n,): sure, large, in the middle, and whole ones have most."""
        wh = np.array(self.frame_wh, np.float32)
        low, high = found.xyxy[:, :2] / wh, found.xyxy[:, 2:] / wh
        size = np.sqrt((high - low).clip(0, 1).prod(1))
        aside = np.abs(high + low - 1).max(1, initial=0)
        cut = (low < _EDGE).sum(1) + (high > 1 - _EDGE).sum(1)  # a table that the frame cuts is no subject
        importance: F32Array = (found.score * size * (1 - aside / 2) * _CUT**cut).astype(np.float32)
        return importance

    def room(self, grid: int, lines: int, most_distance: float) -> Room:
        """Return the room of a band."""
        return Room(self.most_crops, distance=most_distance)


@dataclass(frozen=True, slots=True)
class StripRoom:
    """Room of strips below a frame.

    Attributes:
        canvas: size and settings of the picture.
        frame_wh: width and height of the frame, px.
    """

    canvas: Canvas
    frame_wh: tuple[int, int]

    @property
    def grid(self) -> tuple[int, int]:
        """Return the least and the largest number of strips."""
        return base_strips(self.canvas, self.frame_wh), self.canvas.most_strips

    @property
    def most_crops(self) -> int:
        """Return the largest number of crops of an object."""
        return self.canvas.crops

    @property
    def stays_s(self) -> float:
        """Return the least time for which an object keeps its strip, s."""
        return 0.0

    def importance(self, found: Detections) -> F32Array:
        """Return the importance of n objects, (n,): the same of all, so the most confident come first."""
        return np.ones(len(found), np.float32)

    def room(self, grid: int, lines: int, most_distance: float) -> Room:
        """Return the room of a strip of so many lines in a grid of so many strips."""
        layout = lay_out(self.canvas, self.frame_wh, grid)
        gap = layout.gap / max(1, layout.line_height)
        line = layout.line_room if self.canvas.fill and layout.strips else 0.0
        return Room(self.canvas.crops, line, gap, lines, most_distance)


PictureRoom: TypeAlias = StripRoom | WallRoom
