"""Draw the notes about a run: beside or below the frame, or over its lower edge."""

from __future__ import annotations

import cv2

from rtsearch.render import theme
from rtsearch.render.layout import Canvas
from rtsearch.render.plan import Plan
from rtsearch.render.text import draw_text, fit_text, text_wh
from rtsearch.types import U8Array

__all__ = ["draw_notes"]

_DARKENED = 0.35  # brightness of the frame below notes


def draw_notes(picture: U8Array, plan: Plan, canvas: Canvas) -> None:
    """Draw the notes of a plan over those before; over the frame, which has been drawn anew."""
    x, y, width, height = plan.notes_place
    if not height:
        return
    panel = picture[y : y + height, x : x + width]
    if plan.notes_are == "over":
        panel[max(0, plan.frame[1] + plan.frame[3] - y) :] = theme.BACKGROUND
        panel[:] = cv2.convertScaleAbs(panel, alpha=_DARKENED, beta=theme.BACKGROUND * (1 - _DARKENED))
    else:
        panel[:] = theme.BACKGROUND
    draw = _list if plan.notes_are == "beside" else _caption
    draw(panel, plan.notes, canvas)


def _list(panel: U8Array, notes: tuple[str, ...], canvas: Canvas) -> None:
    """Draw notes below each other, the last one at the bottom, with room for controls above."""
    size = margin = canvas.px(14)
    line_px = text_wh("x", size)[1] + canvas.px(4)
    notes = notes[: max(0, panel.shape[0] - canvas.px(8)) // line_px]
    top = panel.shape[0] - canvas.px(6) - len(notes) * line_px
    for i, note in enumerate(notes):
        y = top + i * line_px
        text = fit_text(note, size, panel.shape[1] - 2 * margin, canvas.font)
        draw_text(panel, text, (margin, y), size, theme.TEXT if i == 0 else theme.TEXT_FAINT, canvas.font)


def _caption(panel: U8Array, notes: tuple[str, ...], canvas: Canvas) -> None:
    """Draw as many notes as fit in one line; the first one is shortened if needed."""
    size = margin = canvas.px(14)
    x, y = margin, (panel.shape[0] - text_wh("x", size)[1]) // 2
    for i, note in enumerate(notes):
        text = fit_text(note, size, panel.shape[1] - x - margin, canvas.font)
        if i and text != note:
            break
        draw_text(panel, text, (x, y), size, theme.TEXT if i == 0 else theme.TEXT_FAINT, canvas.font)
        x += text_wh(text, size, canvas.font)[0] + 2 * margin
