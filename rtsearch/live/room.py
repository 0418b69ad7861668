"""Room that a picture has for objects and their crops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from rtsearch.live.neighbour_hysteresis import Room
from rtsearch.render.layout import Canvas, base_strips, lay_out, still_strips
from rtsearch.render.wall import BANDS, CROPS
from rtsearch.types import Detections, F32Array

__all__ = ["PictureRoom", "StripRoom", "WallRoom", "lies_before", "room_of"]

_EDGE = 0.01  # distance from the frame's edge, as a share of its side, at which an object is cut by it
_WITHIN = 0.4  # share of a box that is within another one if it lies before that
_SMALLER = 0.35  # its area, by that of the other one
_GROUND = (1.0, 0.6, 0.35)  # importance that is left of ground that no, one or more edges cut
_CUT = 0.8  # importance that is left of an object for each edge that cuts it


def room_of(canvas: Canvas, frame_wh: tuple[int, int]) -> PictureRoom:
    """Return the room of a picture of a frame."""
    if canvas.composition == "strips":
        return StripRoom(canvas, frame_wh)
    return WallRoom(frame_wh, CROPS if canvas.fill else min(CROPS, canvas.results))


def lies_before(found: Detections) -> NDArray[np.bool_]:
    """Return which of n objects lie before which others, of another class: in a box that is much larger.

    Returns:
        (n, n), True in line i and column j where i lies before j.
    """
    area = (found.xyxy[:, 2:] - found.xyxy[:, :2]).prod(1)
    low = np.maximum(found.xyxy[:, None, :2], found.xyxy[None, :, :2])
    high = np.minimum(found.xyxy[:, None, 2:], found.xyxy[None, :, 2:])
    within = (high - low).clip(0).prod(2) > _WITHIN * area[:, None]
    smaller = area[:, None] < _SMALLER * area
    before: NDArray[np.bool_] = within & smaller & (found.label[:, None] != found.label)
    return before


def ground_weights(found: Detections, frame_wh: tuple[int, int]) -> F32Array:
    """Return what is left of the importance of n objects that are the ground of others, (n,), 1 for the rest.

    Something lies before them, and the frame cuts them: a person who holds up a cup, and more so a table.
    """
    edges = _edges(*_shares(found.xyxy, frame_wh)) * lies_before(found).any(0)
    weights: F32Array = np.array(_GROUND, np.float32)[np.minimum(edges, len(_GROUND) - 1)]
    return weights


def _shares(xyxy: F32Array, wh: tuple[int, int]) -> tuple[F32Array, F32Array]:
    """Return the upper left and the lower right corners of n boxes, (n, 2) each, in shares of the frame."""
    size = np.array(wh, np.float32)
    return xyxy[:, :2] / size, xyxy[:, 2:] / size


def _edges(low: F32Array, high: F32Array) -> NDArray[np.intp]:
    """Return how many edges of the frame cut each of n boxes, (n,)."""
    edges: NDArray[np.intp] = (low < _EDGE).sum(1) + (high > 1 - _EDGE).sum(1)
    return edges


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
    def still(self) -> int:
        """Return the number of bands."""
        return BANDS

    @property
    def stays_s(self) -> float:
        """Return the least time for which an object keeps its band, s."""
        return 4.0

    def importance(self, found: Detections) -> F32Array:
        """Return the importance of n objects, (n,): sure, large, in the middle, and whole ones have most.

        What lies before something larger, such as what a visitor holds up, counts as large as that.
        """
        low, high = _shares(found.xyxy, self.frame_wh)
        size = np.sqrt((high - low).clip(0, 1).prod(1))
        size = np.maximum(size, (lies_before(found) * size).max(1, initial=0))
        aside = np.abs(high + low - 1).max(1, initial=0)
        cut = _CUT ** _edges(low, high)  # a table that the frame cuts is no subject
        importance: F32Array = (found.score * size * (1 - aside / 2) * cut).astype(np.float32)
        return importance

    def ground(self, found: Detections) -> F32Array:
        """Return what is left of the importance of n objects that are the ground of others, (n,)."""
        return ground_weights(found, self.frame_wh)

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

    @property
    def still(self) -> int:
        """Return the number of strips up to which the frame keeps its place."""
        return still_strips(self.canvas, self.frame_wh)

    def importance(self, found: Detections) -> F32Array:
        """Return the importance of n objects, (n,): the same of all, so the most confident come first."""
        return np.ones(len(found), np.float32)

    def ground(self, found: Detections) -> F32Array:
        """Return what is left of the importance of n objects that are the ground of others, (n,)."""
        return ground_weights(found, self.frame_wh)

    def room(self, grid: int, lines: int, most_distance: float) -> Room:
        """Return the room of a strip of so many lines in a grid of so many strips."""
        layout = lay_out(self.canvas, self.frame_wh, grid)
        gap = layout.gap / max(1, layout.line_height)
        line = layout.line_room if self.canvas.fill and layout.strips else 0.0
        return Room(self.canvas.crops, line, gap, lines, most_distance)


PictureRoom: TypeAlias = StripRoom | WallRoom
