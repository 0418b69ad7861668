"""Colours of everything that is drawn: BGR, 0..255."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import cv2

from rtsearch.types import U8Array

__all__ = [
    "ACCENT",
    "BACKGROUND",
    "DARK",
    "EDGE",
    "OBJECT_COLOURS",
    "SIGN",
    "TEXT",
    "TEXT_FAINT",
    "TEXT_ON_COLOUR",
    "TRACK",
    "Colour",
    "Theme",
    "mixed",
    "object_colour",
    "shade_panel",
    "theme_of",
    "toward",
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
"""Grey level behind the crops of a contact sheet."""

TEXT: Colour = (232, 232, 232)
"""Text on a panel."""
TEXT_FAINT: Colour = (150, 150, 150)
TEXT_ON_COLOUR: Colour = (16, 16, 16)
ACCENT: Colour = (80, 175, 255)
SIGN: Colour = (40, 40, 220)
"""Red, as of what records."""
"""Colour of keys in the help, and of the part of a slider that is set."""
EDGE: Colour = (58, 58, 58)
"""Colour of a panel's edge, which shows on any picture."""
TRACK: Colour = (84, 84, 84)
"""Colour of the line that a slider moves on."""

_PANEL_SHARE = 0.1  # of the picture's contrast that is left below a panel
_PANEL_GREY = 14


class Theme(NamedTuple):
    """Colours of a picture.

    Attributes:
        ground: behind frames, crops and notes.
        ink: text upon it.
        accent: corners around objects, and the lines to their bands.
    """

    ground: Colour
    ink: Colour
    accent: Colour

    @property
    def faint(self) -> Colour:
        """Colour of text that stands back."""
        return mixed(self.ink, self.ground, 0.37)

    @property
    def field(self) -> Colour:
        """Colour of the place of a crop that is not loaded yet."""
        return mixed(self.ground, self.ink, 0.1)

    @property
    def gap(self) -> Colour:
        """Colour between the pictures of several sources."""
        return mixed(self.ground, (0, 0, 0), 0.5)


DARK = Theme(ground=(15, 15, 14), ink=(225, 230, 232), accent=ACCENT)
_LIGHT = Theme(ground=(232, 238, 240), ink=(26, 26, 26), accent=(0, 91, 194))


def theme_of(text: str) -> Theme:
    """Return the theme of a name, or of three colours: ``#0e0f0f #e8e6e1 #ffaf50``; see ``ShowSettings``."""
    if text in ("dark", "light"):
        return DARK if text == "dark" else _LIGHT
    ground, ink, accent = (_colour(word) for word in text.split())
    return Theme(ground, ink, accent)


def _colour(word: str) -> Colour:
    red, green, blue = bytes.fromhex(word.removeprefix("#"))
    return blue, green, red


def mixed(one: Colour, other: Colour, share: float) -> Colour:
    """Return a colour between two; ``share`` 1 is the other one."""
    blue, green, red = (round(a + share * (b - a)) for a, b in zip(one, other, strict=True))
    return blue, green, red


def toward(pixels: U8Array, colour: Colour, share: float) -> U8Array:
    """Return (h, w, 3) pixels on their way to one colour; ``share`` 1 is the end."""
    if not pixels.size:
        return pixels
    rest = cv2.convertScaleAbs(pixels, alpha=1 - share)
    added: Any = (*(share * level for level in colour), 0)  # the type stub knows no scalars
    return cast(U8Array, cv2.add(rest, added))


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
