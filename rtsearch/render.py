"""Scene in, picture out: the query frame on top, below it one strip of neighbours per object.

    ┌───────────────┬──────────────────────┐
    │ frame, boxes  │ notes                │  header_height
    ├──┬────┬───┬───┴─┬────┬───────────────┤
    │██│    │   │     │    │  …            │  thumb_height, the object, then its neighbours
    ├──┼────┴┬──┴──┬──┼────┼───────────────┤
    │██│     │     │  │    │               │
    └──┴─────┴─────┴──┴────┴───────────────┘

The same scene gives the same picture; objects whose strips do not fit are counted in the last note. A painter
draws one scene after the other into one picture and touches only what has changed.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, TypeAlias, cast

import cv2
import numpy as np

from rtsearch.records import F32Array, Scene, U8Array
from rtsearch.text import Colour, draw_text, fit_text, text_wh

__all__ = ["PALETTE", "Layout", "Painter", "colour_of", "compose", "lay_out"]

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
_PLACEHOLDER = 0.3  # share of an object's colour in the place of a crop that is not there yet
_GAP_PX = 2
_LABEL_PX = 108
_INK: Colour = (232, 232, 232)
_FAINT: Colour = (150, 150, 150)
_FAINTER: Colour = (96, 96, 96)
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


def colour_of(strip: int) -> Colour:
    """An object keeps its strip while it is tracked, and so its colour."""
    return PALETTE[strip % len(PALETTE)]


def compose(scene: Scene, window_wh: tuple[int, int], header_height: int) -> U8Array:
    """Draw a scene as a (height, width, 3) uint8 BGR picture of ``window_wh``."""
    return Painter().paint(scene, window_wh, header_height)


class Painter:
    """Draws scene after scene into one picture, each as ``compose`` would.

    Eight strips of 16 crops cost 0.8 ms of CPU to draw, and mostly none of them has changed.
    """

    def __init__(self) -> None:
        self._picture: U8Array = np.zeros((0, 0, 3), np.uint8)
        self._placed: tuple[object, ...] = ()
        self._notes: tuple[str, ...] = ()
        self._strips: dict[int, _Strip] = {}

    def paint(self, scene: Scene, window_wh: tuple[int, int], header_height: int) -> U8Array:
        """The picture of a scene, valid until the next call."""
        layout = lay_out(window_wh, header_height, scene.thumb_height, max(scene.strips, default=-1) + 1)
        header_wh = _header_wh(scene, (window_wh[0], layout.header_height))
        placed = (window_wh, layout.header_height, scene.thumb_height, header_wh)
        if placed != self._placed:
            self._picture = np.full((window_wh[1], window_wh[0], 3), _GROUND, np.uint8)
            self._placed, self._notes, self._strips = placed, (), {}
        self._picture[: header_wh[1], : header_wh[0]] = _header(scene, header_wh)
        hidden = sum(strip >= len(layout.strip_tops) for strip in scene.strips)
        more = (f"+ {hidden} more objects below",) if hidden else ()
        self._paint_notes(scene.notes + more, self._picture[: layout.header_height, header_wh[0] :])
        self._paint_strips(scene, layout)
        return self._picture

    def _paint_notes(self, notes: tuple[str, ...], panel: U8Array) -> None:
        if notes != self._notes:
            panel[:] = _GROUND
            _notes(panel, notes)
            self._notes = notes

    def _paint_strips(self, scene: Scene, layout: Layout) -> None:
        wanted: dict[int, _Strip] = {}
        for i, strip in enumerate(scene.strips):
            if strip < len(layout.strip_tops):
                sure = scene.detections.label[i] >= 0  # a whole image was not found, it is simply there
                score = f"{scene.detections.score[i]:.0%}" if sure else ""
                wanted[strip] = _Strip(
                    (scene.names[i], score, colour_of(strip), i in scene.faint), scene.thumbs[i]
                )
        for strip in self._strips.keys() - wanted.keys():
            top = layout.header_height + _GAP_PX + strip * (layout.strip_height + _GAP_PX)
            self._picture[top : top + layout.strip_height] = _GROUND
        for strip, want in wanted.items():
            cell = self._picture[layout.strip_tops[strip] :][: layout.strip_height]
            old = self._strips.get(strip)
            if old is None or old.label != want.label:
                cell[:, :_LABEL_PX] = _label(want.label, layout.strip_height)
            if old is None or not _same(old.thumbs, want.thumbs):
                _thumbs(cell[:, _LABEL_PX + _GAP_PX :], want.thumbs, want.label[2])
        self._strips = wanted


_Rectangle: TypeAlias = tuple[int, int, int, int]


_Label: TypeAlias = tuple[str, str, Colour, bool]
"""Name, score, colour, and whether it is faint."""


class _Strip(NamedTuple):
    label: _Label
    thumbs: tuple[U8Array | None, ...]


def _same(old: tuple[U8Array | None, ...], new: tuple[U8Array | None, ...]) -> bool:
    """The very same crops? Comparing their pixels would cost more than drawing them."""
    return len(old) == len(new) and all(map(operator.is_, old, new))


def _header_wh(scene: Scene, room_wh: tuple[int, int]) -> tuple[int, int]:
    """The frame's width and height in the picture; a panorama is as wide as the picture, and less high."""
    rows, columns = scene.frame.bgr.shape[:2]
    scale = min(room_wh[0] / columns, room_wh[1] / rows)
    return max(1, round(columns * scale)), max(1, round(rows * scale))


def _header(scene: Scene, header_wh: tuple[int, int]) -> U8Array:
    """The frame scaled to ``header_wh``, with boxes; text is drawn after scaling, so it stays sharp."""
    bgr = scene.frame.bgr
    view = _scaled(bgr, header_wh)
    scale = np.array([header_wh[0] / bgr.shape[1], header_wh[1] / bgr.shape[0]] * 2, np.float32)
    boxes = scene.detections.xyxy * scale
    seen = [i for i in reversed(range(len(boxes))) if i not in scene.held]  # the most confident on top
    for i in seen:
        _box(view, boxes[i], colour_of(scene.strips[i]))
    taken: list[_Rectangle] = []
    for i in reversed(seen):  # the most confident has its label where it belongs, others make way
        score = f": {scene.detections.score[i]:.2f}" if scene.detections.label[i] >= 0 else ""
        text = f"{scene.names[i]}{score}"
        _tag(view, boxes[i], text, colour_of(scene.strips[i]), taken)
    return view


def _scaled(bgr: U8Array, wh: tuple[int, int]) -> U8Array:
    """Halved as often as fits, then bilinear: 0.4 ms for 720p where INTER_AREA at odd ratios takes 3.6."""
    while bgr.shape[0] >= 2 * wh[1] and bgr.shape[1] >= 2 * wh[0]:
        half = (bgr.shape[1] // 2, bgr.shape[0] // 2)
        bgr = cast(U8Array, cv2.resize(bgr[: 2 * half[1], : 2 * half[0]], half, interpolation=cv2.INTER_AREA))
    return cast(U8Array, cv2.resize(bgr, wh, interpolation=cv2.INTER_LINEAR))


def _box(view: U8Array, xyxy: F32Array, colour: Colour) -> None:
    x1, y1, x2, y2 = (int(v) for v in np.rint(xyxy))
    cv2.rectangle(view, (x1, y1), (x2 - 1, y2 - 1), colour, 2 if view.shape[0] >= 240 else 1)


def _tag(view: U8Array, xyxy: F32Array, text: str, colour: Colour, taken: list[_Rectangle]) -> None:
    """The label on a patch of the object's colour, at the box's upper edge, inside the frame."""
    patch = _patch(text, 11 if view.shape[0] < 240 else 13, colour)
    height, width = patch.shape[:2]
    x = int(np.clip(xyxy[0], 0, max(0, view.shape[1] - width)))
    y = int(xyxy[1]) - height if xyxy[1] >= height else int(xyxy[1])
    lowest = max(0, view.shape[0] - height)
    y = top = int(np.clip(y, 0, lowest))
    while y <= lowest and any(_meet((x, y, x + width, y + height), other) for other in taken):
        y += height
    y = y if y <= lowest else top
    taken.append((x, y, x + width, y + height))
    room = view[y : y + height, x : x + width]
    room[:] = patch[: room.shape[0], : room.shape[1]]


def _meet(a: _Rectangle, b: _Rectangle) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


@lru_cache(maxsize=512)
def _patch(text: str, size_px: int, colour: Colour) -> U8Array:
    """Kept: blending a line of text takes 60 us, copying it 2."""
    width, height = text_wh(text, size_px)
    patch = np.full((height, width + 6, 3), colour, np.uint8)
    draw_text(patch, text, (3, 0), size_px, _DARK)
    return patch


def _notes(panel: U8Array, notes: tuple[str, ...]) -> None:
    size = 14
    line_px = text_wh("x", size)[1] + 4
    for i, note in enumerate(notes):
        y = 10 + i * line_px
        if y + line_px > panel.shape[0] or panel.shape[1] < 60:
            break
        draw_text(panel, fit_text(note, size, panel.shape[1] - 28), (14, y), size, _INK if i == 0 else _FAINT)


@lru_cache(maxsize=256)
def _label(label: _Label, height: int) -> U8Array:
    name, score, colour, faint = label
    cell = np.full((height, _LABEL_PX, 3), _GROUND + 12, np.uint8)
    cell[:, :6] = colour
    middle = height // 2
    draw_text(cell, fit_text(name, 14, _LABEL_PX - 18), (14, middle - 18), 14, _FAINTER if faint else _INK)
    draw_text(cell, score, (14, middle + 1), 12, _FAINTER if faint else _FAINT)
    return cell


def _thumbs(strip: U8Array, thumbs: tuple[U8Array | None, ...], colour: Colour) -> None:
    """Crops side by side, the object's colour where one is missing; the last one is cut at the edge."""
    height, room = strip.shape[:2]
    field = [round(_PLACEHOLDER * value + (1 - _PLACEHOLDER) * _GROUND) for value in colour]
    x = 0
    for thumb in thumbs:
        if x >= room:
            break
        width = min(height if thumb is None else thumb.shape[1], room - x)
        strip[:, x : x + width] = field if thumb is None else thumb[:, :width]
        strip[:, x + width : x + width + _GAP_PX] = _GROUND
        x += width + _GAP_PX
    strip[:, x:] = _GROUND
