"""Draw the notes about a run: beside or below the frame, or over its lower edge."""

from __future__ import annotations

from rtsearch.render.layout import Canvas
from rtsearch.render.plan import Plan
from rtsearch.render.text import draw_text, fit_text, text_wh
from rtsearch.render.theme import Colour, Theme, toward
from rtsearch.types import U8Array

__all__ = ["draw_notes"]

_LEFT = 0.35  # share of the frame that is seen below notes


def draw_notes(panel: U8Array, plan: Plan, canvas: Canvas) -> None:
    """Draw notes in their place over those before; over the frame, which has been drawn anew."""
    if not panel.size:
        return
    if plan.notes_are == "over":
        panel[max(0, plan.frame[1] + plan.frame[3] - plan.notes_place[1]) :] = canvas.theme.ground
        panel[:] = toward(panel, canvas.theme.ground, 1 - _LEFT)
    else:
        panel[:] = canvas.theme.ground
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
        draw_text(panel, text, (margin, y), size, _colour(canvas.theme, i), canvas.font)


def _caption(panel: U8Array, notes: tuple[str, ...], canvas: Canvas) -> None:
    """Draw as many notes as fit in one line; the first one is shortened if needed."""
    size = margin = canvas.px(14)
    x, y = margin, (panel.shape[0] - text_wh("x", size)[1]) // 2
    for i, note in enumerate(notes):
        text = fit_text(note, size, panel.shape[1] - x - margin, canvas.font)
        if i and text != note:
            break
        draw_text(panel, text, (x, y), size, _colour(canvas.theme, i), canvas.font)
        x += text_wh(text, size, canvas.font)[0] + 2 * margin


def _colour(theme: Theme, i: int) -> Colour:
    """Return the colour of a note; the first one stands out."""
    return theme.faint if i else theme.ink
