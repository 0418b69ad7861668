"""Draw what is looked at more closely: the photo of an object, or the objects that are like one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import cv2
import numpy as np

from rtsearch.library.crops import MOST_ENLARGED, covering
from rtsearch.render.boxes import draw_corners
from rtsearch.render.justify import line_places
from rtsearch.render.layout import Canvas, Place
from rtsearch.render.plan import Item
from rtsearch.render.text import draw_text, fit_text, text_wh
from rtsearch.types import F32Array, U8Array

__all__ = ["Caption", "Closer", "alike_picture", "lost_picture", "photo_picture", "row_at"]

_LINE_PX = 34  # height of the line of text
_TEXT_PX = 16
_LINES = 3  # of crops
_MOST_ASPECT = 2.0


class Caption(NamedTuple):
    """Name of an object, and where it is: path, time in a film, or why it cannot be shown."""

    name: str
    where: str


class Closer(NamedTuple):
    """Picture, (H, W, 3) uint8 BGR, and the crops in it."""

    picture: U8Array
    items: tuple[Item, ...] = ()


def row_at(items: Sequence[Item], xy: tuple[int, int]) -> int:
    """Return the row of the crop at a place of the picture, or -1."""
    for item in items:
        x, y, width, height = item.place
        if item.row >= 0 and 0 <= xy[0] - x < width and 0 <= xy[1] - y < height:
            return item.row
    return -1


def photo_picture(bgr: U8Array, xyxy: F32Array, caption: Caption, canvas: Canvas) -> Closer:
    """Draw a photo as large as it fits, with corners around a box, and a line of text below.

    Args:
        bgr: (H, W, 3) uint8.
        xyxy: (4,) float32, px of ``bgr``.
        caption: is written below.
        canvas: size and colours of the picture.
    """
    picture, room = _ground(canvas), _room(canvas)
    place, scale = _middle(bgr, room)
    x, y, width, height = place
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    view = cast(U8Array, cv2.resize(bgr, (width, height), interpolation=method))
    box = [round(float(side) * scale) for side in xyxy]
    draw_corners(view, box, canvas.theme.accent, canvas.px(2))
    picture[y : y + height, x : x + width] = view
    _write(picture, caption, canvas)
    return Closer(picture)


def lost_picture(crop: U8Array, caption: Caption, canvas: Canvas) -> Closer:
    """Draw the crop of an object whose photo cannot be shown, and a line of text that says why."""
    whole = np.array([0, 0, crop.shape[1], crop.shape[0]], np.float32)
    return photo_picture(crop, whole, caption, canvas)


def alike_picture(rows: Sequence[int], crops: Sequence[U8Array], caption: Caption, canvas: Canvas) -> Closer:
    """Draw an object, with corners, and those like it, in lines that end flush."""
    picture, (x, y, width, height) = _ground(canvas), _room(canvas)
    gap = canvas.gap
    line = (height - (_LINES - 1) * gap) // _LINES
    shapes = [min(_MOST_ASPECT, crop.shape[1] / len(crop)) for crop in crops]
    places = line_places(shapes, (x, y, width, height), line, gap)
    items = tuple(
        Item((k,), place, crop, canvas.theme.field, row, covers=True)
        for k, (place, crop, row) in enumerate(zip(places, crops, rows, strict=False))
    )
    for item, crop in zip(items, crops, strict=False):
        left, top, wide, high = item.place
        picture[top : top + high, left : left + wide] = covering(crop, (wide, high))
    if items:
        left, top, wide, high = items[0].place
        corners = [left, top, left + wide, top + high]
        draw_corners(picture, corners, canvas.theme.accent, canvas.px(3))
    _write(picture, caption, canvas)
    return Closer(picture, items)


def _ground(canvas: Canvas) -> U8Array:
    return np.full((canvas.wh[1], canvas.wh[0], 3), canvas.theme.ground, np.uint8)


def _room(canvas: Canvas) -> Place:
    """Return the room above the line of text."""
    return 0, 0, canvas.wh[0], canvas.wh[1] - canvas.px(_LINE_PX)


def _middle(bgr: U8Array, room: Place) -> tuple[Place, float]:
    """Return the place of a picture in the middle of a room, and its scale."""
    x, y, width, height = room
    scale = min(MOST_ENLARGED, width / bgr.shape[1], height / bgr.shape[0])
    wide, high = max(1, round(bgr.shape[1] * scale)), max(1, round(bgr.shape[0] * scale))
    return (x + (width - wide) // 2, y + (height - high) // 2, wide, high), scale


def _write(picture: U8Array, caption: Caption, canvas: Canvas) -> None:
    """Write the line of text at the lower edge."""
    size, margin, font = canvas.px(_TEXT_PX), canvas.px(12), canvas.font
    y = canvas.wh[1] - (canvas.px(_LINE_PX) + text_wh("x", size, font)[1]) // 2
    name = fit_text(caption.name, size, canvas.wh[0] // 3, font)
    draw_text(picture, name, (margin, y), size, canvas.theme.ink, font)
    x = margin + (text_wh(name, size, font)[0] + margin if name else 0)
    where = fit_text(caption.where, size, canvas.wh[0] - x - margin, font)
    draw_text(picture, where, (x, y), size, canvas.theme.faint, font)
