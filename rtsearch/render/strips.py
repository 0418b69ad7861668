"""Compose strips: the query frame on top, below it one strip of crops per object.

A strip continues in the free ones below it. Strips that do not fit are counted in the last notes, and
``Scene.first`` is the topmost one.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from rtsearch._util.wording import counted
from rtsearch.render.boxes import score_text
from rtsearch.render.justify import line_places
from rtsearch.render.layout import COLOUR_PX, Canvas, Layout, Place, lay_out
from rtsearch.render.plan import Item, Plan
from rtsearch.render.text import draw_text, fit_text, text_wh
from rtsearch.render.theme import Colour, mixed, object_colour
from rtsearch.types import Scene, U8Array

__all__ = ["compose_strips"]

_PLACEHOLDER = 0.3  # share of an object's colour in the place of a crop that is not loaded yet
_NAME_PX = (22, 13)  # largest and least size of a name
_EMPTY_PX = 15  # size of the words in an empty strip


class _Label(NamedTuple):
    name: str
    score: str
    colour: Colour
    wh: tuple[int, int]


def compose_strips(scene: Scene, canvas: Canvas) -> Plan:
    """Return what is drawn where: the frame, the strips in sight, and the notes."""
    layout = lay_out(canvas, scene.frame.bgr.shape[1::-1], scene.grid)
    items: list[Item] = []
    taken = set(scene.strips)
    for i, strip in enumerate(scene.strips):
        place = strip - scene.first
        says = scene.thumbs[i] or scene.empty[i]  # a heading alone reads as a fault
        if 0 <= place < len(layout.strips) and says:
            last = place
            while last + 1 < len(layout.strips) and last + 1 + scene.first not in taken:
                last += 1
            items += _strip(scene, i, layout.strips[place : last + 1], layout, canvas)
    notes = (*scene.notes, *_out_of_sight(scene, layout)) if canvas.text == "all" else ()
    shown = range(scene.first, scene.first + len(layout.strips))
    return Plan(layout.frame, tuple(items), shown, notes, layout.notes, layout.notes_are)


def _strip(scene: Scene, i: int, places: tuple[Place, ...], layout: Layout, canvas: Canvas) -> list[Item]:
    """Return the label and the crops of an object's strip, which has the room of all these places."""
    strip, (x, y, _, height) = scene.strips[i], places[0]
    colour = object_colour(strip // scene.each)
    label = _label(
        _Label(scene.names[i], score_text(scene, i, canvas), colour, (layout.label_width, height)), canvas
    )
    items = [Item((strip, "label"), (x, y, layout.label_width, height), label, reads=True)]
    left = x + layout.label_width + layout.gap
    room = (left, y, layout.line_width, places[-1][1] + places[-1][3] - y)
    field = mixed(canvas.theme.ground, colour, _PLACEHOLDER)
    rows = scene.neighbours.row[i].tolist()
    for k, place in enumerate(line_places(scene.shapes[i], room, height, layout.gap)):
        row = rows[k] if k < len(rows) else -1
        items.append(Item((strip, k), place, scene.thumbs[i][k], field, row))
    if scene.empty[i]:  # said without texts too: a strip of nothing reads as a fault
        line = (*room[:3], height)
        items.append(Item((strip, "empty"), line, _sentence(scene.empty[i], line[2:], canvas), reads=True))
    return items


def _out_of_sight(scene: Scene, layout: Layout) -> tuple[str, ...]:
    """Return notes that count the strips above and below the visible ones."""
    above = sum(strip < scene.first for strip in scene.strips)
    below = sum(strip >= scene.first + len(layout.strips) for strip in scene.strips)
    counts = ((above, "above"), (below, "below"))
    return tuple(f"+ {counted(n, 'more object')} {where}" for n, where in counts if n)


@lru_cache(maxsize=256)
def _sentence(text: str, wh: tuple[int, int], canvas: Canvas) -> U8Array:
    """Return the picture of a strip that has words in the place of crops, shortened where they do not fit."""
    cell = np.full((wh[1], wh[0], 3), canvas.theme.ground, np.uint8)
    left, size = canvas.px(16), canvas.px(_EMPTY_PX)
    text = fit_text(text, size, wh[0] - 2 * left, canvas.font)
    top = (wh[1] - text_wh(text, size, canvas.font)[1]) // 2
    draw_text(cell, text, (left, top), size, canvas.theme.faint, canvas.font)
    return cell


@lru_cache(maxsize=256)
def _label(label: _Label, canvas: Canvas) -> U8Array:
    """Return the picture of a strip's label: its colour, and its name as large as it fits."""
    width, height = label.wh
    cell = np.full((height, width, 3), canvas.theme.ground, np.uint8)
    cell[:, : canvas.px(COLOUR_PX)] = label.colour
    if canvas.text == "none":
        return cell
    left, (size, least) = canvas.px(16), map(canvas.px, _NAME_PX)
    room = width - left - canvas.px(4)
    while size > least and text_wh(label.name, size, canvas.font)[0] > room:
        size -= 1
    name = fit_text(label.name, size, room, canvas.font)
    high = text_wh(name, size, canvas.font)[1]
    top = (height - high - (canvas.px(16) if label.score else 0)) // 2
    draw_text(cell, name, (left, top), size, canvas.theme.ink, canvas.font)
    draw_text(cell, label.score, (left, top + high), canvas.px(13), canvas.theme.faint, canvas.font)
    return cell
