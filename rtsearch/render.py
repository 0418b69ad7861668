"""Scene in, picture out: the query frame on top, below it one strip of neighbours per object.

    ┌───────────────┬──────────────────────┐
    │ frame, boxes  │ notes                │  header_height
    ├──┬────┬───┬───┴─┬────┬───────────────┤
    │██│    │   │     │    │  …            │  thumb_height, the object, then its neighbours
    ├──┼────┴┬──┴──┬──┼────┼───────────────┤
    │██│     │     │  │    │               │
    └──┴─────┴─────┴──┴────┴───────────────┘

Pure: the same scene gives the same picture. Strips that do not fit are counted in the last note.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np

from rtsearch.records import F32Array, Scene, U8Array
from rtsearch.text import Colour, draw_text, fit_text, text_wh

__all__ = ["PALETTE", "Layout", "colour_of", "compose", "lay_out"]

PALETTE: tuple[Colour, ...] = (
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
"""Colours of objects (BGR): even in lightness, so that none shouts on a dark ground."""

_GROUND = 22
_PLACEHOLDER = 44
_GAP_PX = 2
_LABEL_PX = 108
_INK: Colour = (232, 232, 232)
_FAINT: Colour = (150, 150, 150)
_DARK: Colour = (16, 16, 16)


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things stand in the picture, px.

    Attributes:
        header_height: of the query frame.
        strip_height: of one strip, its gap not counted.
        strip_tops: upper edge of each strip that fits.
        hidden: strips that do not fit.
    """

    header_height: int
    strip_height: int
    strip_tops: tuple[int, ...]
    hidden: int


def lay_out(window_wh: tuple[int, int], header_height: int, thumb_height: int, strips: int) -> Layout:
    """Place a header and as many strips as fit into the window."""
    header = min(header_height, window_wh[1])
    first = header + _GAP_PX
    room = max(0, (window_wh[1] - first + _GAP_PX) // (thumb_height + _GAP_PX))
    shown = min(strips, room)
    tops = tuple(first + i * (thumb_height + _GAP_PX) for i in range(shown))
    return Layout(header, thumb_height, tops, strips - shown)


def colour_of(track: int, position: int) -> Colour:
    """An object keeps the colour of its track; without one, that of its place in the frame."""
    return PALETTE[(track if track >= 0 else position) % len(PALETTE)]


def compose(scene: Scene, window_wh: tuple[int, int], header_height: int) -> U8Array:
    """Draw a scene as a (height, width, 3) uint8 BGR picture of ``window_wh``."""
    picture = np.full((window_wh[1], window_wh[0], 3), _GROUND, np.uint8)
    layout = lay_out(window_wh, header_height, scene.thumb_height, len(scene.detections))
    colours = [colour_of(int(t), i) for i, t in enumerate(scene.detections.track)]
    header = _header(scene, layout.header_height, colours)[:, : window_wh[0]]
    picture[: header.shape[0], : header.shape[1]] = header
    notes = scene.notes + ((f"+ {layout.hidden} more objects below",) if layout.hidden else ())
    _notes(picture[: layout.header_height, header.shape[1] :], notes)
    for i, top in enumerate(layout.strip_tops):
        strip = picture[top : top + layout.strip_height]
        _label(strip[:, :_LABEL_PX], scene.names[i], float(scene.detections.score[i]), colours[i])
        _thumbs(strip[:, _LABEL_PX + _GAP_PX :], scene.thumbs[i])
    return picture


def _header(scene: Scene, height: int, colours: list[Colour]) -> U8Array:
    """The frame scaled to ``height``, with boxes; text is drawn after scaling, so it stays sharp."""
    bgr = scene.frame.bgr
    scale = height / bgr.shape[0]
    width = max(1, round(bgr.shape[1] * scale))
    method = cv2.INTER_AREA if scale < 0.5 else cv2.INTER_LINEAR
    view = cast(U8Array, cv2.resize(bgr, (width, height), interpolation=method))
    boxes = scene.detections.xyxy * np.array([width / bgr.shape[1], scale] * 2, np.float32)
    for i in reversed(range(len(boxes))):  # the most confident on top
        _box(view, boxes[i], colours[i])
    for i in reversed(range(len(boxes))):
        _tag(view, boxes[i], f"{scene.names[i]}: {scene.detections.score[i]:.2f}", colours[i])
    return view


def _box(view: U8Array, xyxy: F32Array, colour: Colour) -> None:
    x1, y1, x2, y2 = (int(v) for v in np.rint(xyxy))
    cv2.rectangle(view, (x1, y1), (x2 - 1, y2 - 1), colour, 2 if view.shape[0] >= 240 else 1)


def _tag(view: U8Array, xyxy: F32Array, text: str, colour: Colour) -> None:
    """The label on a patch of the object's colour, at the box's upper edge, inside the frame."""
    size = 11 if view.shape[0] < 240 else 13
    width, height = text_wh(text, size)
    x = int(np.clip(xyxy[0], 0, max(0, view.shape[1] - width - 6)))
    y = int(xyxy[1]) - height if xyxy[1] >= height else int(xyxy[1])
    y = int(np.clip(y, 0, max(0, view.shape[0] - height)))
    view[y : y + height, x : x + width + 6] = colour
    draw_text(view, text, (x + 3, y), size, _DARK)


def _notes(panel: U8Array, notes: tuple[str, ...]) -> None:
    size = 14
    line_px = text_wh("x", size)[1] + 4
    for i, note in enumerate(notes):
        y = 10 + i * line_px
        if y + line_px > panel.shape[0] or panel.shape[1] < 60:
            break
        draw_text(panel, fit_text(note, size, panel.shape[1] - 28), (14, y), size, _INK if i == 0 else _FAINT)


def _label(cell: U8Array, name: str, score: float, colour: Colour) -> None:
    cell[:] = _GROUND + 12
    cell[:, :6] = colour
    middle = cell.shape[0] // 2
    draw_text(cell, fit_text(name, 14, cell.shape[1] - 18), (14, middle - 18), 14, _INK)
    draw_text(cell, f"{score:.0%}", (14, middle + 1), 12, _FAINT)


def _thumbs(strip: U8Array, thumbs: tuple[U8Array | None, ...]) -> None:
    """Crops side by side; the last one is cut at the edge."""
    height, room = strip.shape[:2]
    x = 0
    for thumb in thumbs:
        if x >= room:
            return
        width = min(height if thumb is None else thumb.shape[1], room - x)
        strip[:, x : x + width] = _PLACEHOLDER if thumb is None else thumb[:, :width]
        x += width + _GAP_PX
