"""Colours of everything that is drawn: BGR, 0..255."""

from __future__ import annotations

import cv2

from rtsearch.types import U8Array

__all__ = [
    "ACCENT",
    "BACKGROUND",
    "EDGE",
    "FIELD",
    "GRID_BACKGROUND",
    "INK",
    "OBJECT_COLOURS",
    "TEXT",
    "TEXT_FAINT",
    "TEXT_ON_COLOUR",
    "TRACK",
    "Colour",
    "object_colour",
    "shade_panel",
]

Colour = tuple[int, int, int]

OBJECT_COLOURS: tuple[Colour, ...] = (
    (80, 175, 255),
    (214, 170, 60),
    (120, 200, 90),
    (150, 110, 240),
    (60, 215, 235),
    (205, 120, 200),
    (190, 205, 110),
    (90, 125, 245),
    (230, 155, 130),
    (130, 215, 180),
)
"""Colours of objects: even in lightness, so that none is louder than the others on a dark background."""

BACKGROUND = 15
"""Grey level behind frames, strips and notes."""
GRID_BACKGROUND = 8
"""Grey level between the pictures of several sources: darker than the background of each."""

INK: Colour = (225, 230, 232)
"""Text on a wall."""
FIELD: Colour = (34, 34, 33)
"""Place of a crop on a wall that is not loaded yet."""

TEXT: Colour = (232, 232, 232)
TEXT_FAINT: Colour = (150, 150, 150)
TEXT_ON_COLOUR: Colour = (16, 16, 16)
ACCENT: Colour = (80, 175, 255)
"""Colour of keys in the help, and of the part of a slider that is set."""
EDGE: Colour = (58, 58, 58)
"""Colour of a panel's edge, which shows on any picture."""
TRACK: Colour = (84, 84, 84)
"""Colour of the line that a slider moves on."""

_PANEL_SHARE = 0.1  # of the picture's contrast that is left below a panel
_PANEL_GREY = 14


def object_colour(strip: int) -> Colour:
    """Return the colour of the object of a strip; an object keeps its strip while it is tracked."""
    return OBJECT_COLOURS[strip % len(OBJECT_COLOURS)]


def shade_panel(panel: U8Array, edge_px: int) -> None:
    """Darken a part of the picture in place, so that text on it can be read, and draw its edge.

    Args:
        panel: (h, w, 3) uint8 view into the picture; text that it holds is hidden.
        edge_px: width of the edge, px.
    """
    panel[:] = cv2.convertScaleAbs(panel, alpha=_PANEL_SHARE, beta=_PANEL_GREY)
    cv2.rectangle(panel, (0, 0), (panel.shape[1] - 1, panel.shape[0] - 1), EDGE, edge_px)
