"""Draw sliders into the picture, so that they look the same on every desktop and can be hidden.

Functions without state draw a panel of sliders and convert a mouse position in it to a value. Ranges are
those of the original application.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2

from rtsearch.render import theme
from rtsearch.render.text import draw_text, text_wh
from rtsearch.types import U8Array

__all__ = [
    "SHOW_SLIDERS",
    "SLIDERS",
    "Slider",
    "draw_sliders",
    "panel_holds",
    "panel_room",
    "panel_wh",
    "panel_xy",
    "value_at",
]

_ROW_PX = 36
_MARGIN_PX = 14
_EDGE_PX = 8  # distance from the panel to the edge of the picture


@dataclass(frozen=True, slots=True)
class Slider:
    """Slider of one setting.

    Attributes:
        label: text above the slider.
        section: section of the setting, ``detect`` or ``show``.
        key: key of the setting.
        low: lowest value.
        high: highest value.
        step: distance between values, counted from ``low``.
    """

    label: str
    section: str
    key: str
    low: float
    high: float
    step: float


SLIDERS = (
    Slider("threshold", "detect", "threshold", 0.0, 1.0, 0.01),
    Slider("max overlap", "detect", "max_overlap", 0.0, 1.0, 0.01),
    Slider("header height, at least", "show", "header_height", 100, 480, 1),
    Slider("thumb height, at least", "show", "thumb_height", 60, 420, 1),
    Slider("results, at least", "show", "results", 5, 100, 1),
)

SHOW_SLIDERS = tuple(slider for slider in SLIDERS if slider.section == "show")
"""Sliders of replays, in which nothing is detected."""

_PANEL_WIDTH_PX = 300


def panel_wh(sliders: int = len(SLIDERS), scale: float = 1.0) -> tuple[int, int]:
    """Return width and height of a panel with a number of sliders, px."""
    return round(_PANEL_WIDTH_PX * scale), round((sliders * _ROW_PX + 12) * scale)


def panel_xy(
    window_wh: tuple[int, int], sources: int = 1, scale: float = 1.0, sliders: int = len(SLIDERS)
) -> tuple[int, int]:
    """Return the top left corner of the panel in a picture of one or more sources, px.

    The panel covers notes beside the frame, else the farthest neighbours in the lowest strips, but no frame.
    Its place does not depend on the contents of a frame, so it does not move while a slider is dragged.
    """
    (width, height), edge = window_wh, round(_EDGE_PX * scale)
    panel_width, panel_height = panel_wh(sliders, scale)
    y = edge if sources == 1 and width > height else height - panel_height - edge
    return max(0, width - panel_width - edge), max(0, y)


def panel_room(
    window_wh: tuple[int, int], sources: int = 1, scale: float = 1.0, sliders: int = len(SLIDERS)
) -> tuple[int, int]:
    """Return width and height that the panel covers at the upper right corner, px; (0, 0) if it is below."""
    edge, (x, y) = round(_EDGE_PX * scale), panel_xy(window_wh, sources, scale, sliders)
    if not sliders or y > edge:
        return 0, 0
    return window_wh[0] - x, y + panel_wh(sliders, scale)[1] + edge


def draw_sliders(
    picture: U8Array,
    xy: tuple[int, int],
    values: Sequence[float],
    scale: float = 1.0,
    font: str = "",
    sliders: Sequence[Slider] = SLIDERS,
) -> None:
    """Draw the panel with its top left corner at ``xy``, magnified by ``scale``; one value per slider."""

    def px(size: float) -> int:
        return round(size * scale)

    x, y = xy
    width, height = panel_wh(len(sliders), scale)
    theme.shade_panel(picture[y : y + height, x : x + width], px(1))
    for i, (slider, value) in enumerate(zip(sliders, values, strict=True)):
        top, left, right = y + px(6 + i * _ROW_PX), x + px(_MARGIN_PX), x + width - px(_MARGIN_PX)
        text = f"{value:.2f}" if slider.step < 1 else f"{value:.0f}"
        draw_text(picture, slider.label, (left, top), px(13), theme.TEXT, font)
        draw_text(picture, text, (right - text_wh(text, px(13), font)[0], top), px(13), theme.TEXT, font)
        middle = top + px(25)
        knob = left + round((value - slider.low) / (slider.high - slider.low) * (right - left))
        cv2.line(picture, (left, middle), (right, middle), theme.TRACK, px(3), cv2.LINE_AA)
        cv2.line(picture, (left, middle), (knob, middle), theme.ACCENT, px(3), cv2.LINE_AA)
        cv2.circle(picture, (knob, middle), px(6), theme.ACCENT, -1, cv2.LINE_AA)


def panel_holds(xy: tuple[int, int], mouse_xy: tuple[int, int], scale: float, sliders: int) -> bool:
    """Tell whether the mouse is on a panel of so many sliders, whose top left corner is at ``xy``, px."""
    width, height = panel_wh(sliders, scale)
    return 0 <= mouse_xy[0] - xy[0] < width and 0 <= mouse_xy[1] - xy[1] < height


def value_at(
    xy: tuple[int, int],
    mouse_xy: tuple[int, int],
    held: int | None = None,
    scale: float = 1.0,
    sliders: Sequence[Slider] = SLIDERS,
) -> tuple[int, float] | None:
    """Return the slider under the mouse and the value it is dragged to; None beside the panel.

    Args:
        xy: top left corner of the panel, px.
        mouse_xy: position of the mouse, px.
        held: index of the slider that is being dragged, also outside of its row; None if none is.
        scale: scale of the panel.
        sliders: sliders of the panel.
    """
    width, _ = panel_wh(len(sliders))
    x, y = (mouse_xy[0] - xy[0]) / scale, (mouse_xy[1] - xy[1]) / scale
    row = math.floor((y - 6) / _ROW_PX) if held is None else held
    if held is None and not (0 <= x < width and 0 <= row < len(sliders)):
        return None
    slider = sliders[row]
    share = min(1.0, max(0.0, (x - _MARGIN_PX) / (width - 2 * _MARGIN_PX)))
    steps = round(share * (slider.high - slider.low) / slider.step)
    return row, round(slider.low + steps * slider.step, 6)
