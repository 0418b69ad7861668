"""Room that a picture has for objects and their crops."""

from __future__ import annotations

from dataclasses import dataclass

from rtsearch.live.neighbour_hysteresis import Room
from rtsearch.render.layout import Canvas, base_strips, lay_out

__all__ = ["StripRoom"]


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

    def room(self, grid: int, lines: int, most_distance: float) -> Room:
        """Return the room of a strip of so many lines in a grid of so many strips."""
        layout = lay_out(self.canvas, self.frame_wh, grid)
        gap = layout.gap / max(1, layout.line_height)
        line = layout.line_room if self.canvas.fill and layout.strips else 0.0
        return Room(self.canvas.crops, line, gap, lines, most_distance)
