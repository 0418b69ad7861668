"""Draw a frame, the boxes of its objects and their labels, in the colours of their strips."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from functools import lru_cache
from typing import TypeAlias, cast

import cv2
import numpy as np

from rtsearch.config import ShowSettings
from rtsearch.render.layout import Canvas, Place, canvas_of
from rtsearch.render.plan import Plan
from rtsearch.render.text import draw_text, fit_text, text_wh
from rtsearch.render.theme import SIGN, TEXT, TEXT_FAINT, TEXT_ON_COLOUR, Colour, object_colour
from rtsearch.types import WHOLE_IMAGE_LABEL, Frame, Outline, Scene, U8Array

__all__ = [
    "LOST_S",
    "WAITING",
    "boxed_frame",
    "draw_boxes",
    "draw_corners",
    "frame_picture",
    "score_text",
    "share_of",
]

LOST_S = 2.0
"""Time in which the picture of a lost source fades, s."""
_WEAK = 0.25  # confidence below which boxes are thin and labels do not push in
_MOST_STEPS = 3  # lines by which a label may stand lower than it belongs
_LARGE_PX = 240  # a frame from this height on has larger labels and thicker boxes
_CORNER = 0.2  # length of a corner's sides, as a share of the box's shorter side
_DIM = 0.35  # brightness of a frame around the objects that are looked for
_MASKED = 0.5  # darkness of a part in which objects do not count
WAITING = "Waiting for the picture"
"""Sentence while a source gives none."""
_WAITING_PX = 22
_LOST_SCALE = 16  # factor by which it is blurred
_REMEMBERS = "remembering"
_LOST_LIGHT = 0.6  # brightness that is left of it

_Rectangle: TypeAlias = tuple[int, int, int, int]


def boxed_frame(scene: Scene, show: ShowSettings) -> U8Array:
    """Return a copy of a scene's frame, at its own size, with boxes and the numbers of tracks."""
    view = scene.frame.bgr.copy()
    canvas = canvas_of(show.model_copy(update={"window_wh": view.shape[1::-1]}))
    draw_boxes(view, scene, canvas, range(max(scene.strips, default=0) + 1), numbers=True)
    if scene.remembers:
        _sign(view, canvas)
    return view


def frame_picture(scene: Scene, plan: Plan, canvas: Canvas) -> U8Array:
    """Return the frame of a scene in the size of its place, with boxes; that of a lost source fades."""
    if plan.bands:
        scene = _filling(scene, plan.frame[2:])
    view = _scaled(scene.frame.bgr, plan.frame[2:])
    if scene.dims:
        view = _dimmed(view, scene)
    _draw_outlines(view, scene, canvas)
    if plan.bands:
        _draw_joined(view, scene, plan, canvas)
    else:
        draw_boxes(view, scene, canvas, plan.shown)
    share = min(1.0, scene.lost_s / LOST_S)
    if share > 0:
        view = _faded(view, share)
        if canvas.text != "none":
            _write_waiting(view, share, canvas)
    if scene.remembers:
        _sign(view, canvas)
    return view


def _scaled(bgr: U8Array, wh: tuple[int, int]) -> U8Array:
    """Halve a picture, then scale it bilinearly: 0.4 ms for 720p, where INTER_AREA takes 3.6 ms."""
    while bgr.shape[0] >= 2 * wh[1] and bgr.shape[1] >= 2 * wh[0]:
        half = (bgr.shape[1] // 2, bgr.shape[0] // 2)
        bgr = cast(U8Array, cv2.resize(bgr[: 2 * half[1], : 2 * half[0]], half, interpolation=cv2.INTER_AREA))
    return cast(U8Array, cv2.resize(bgr, wh, interpolation=cv2.INTER_LINEAR))


def _filling(scene: Scene, wh: tuple[int, int]) -> Scene:
    """Return a scene whose frame is cut to the shape of its place, with boxes moved along."""
    x, y, kept_w, kept_h = _kept((scene.frame.bgr.shape[1], scene.frame.bgr.shape[0]), wh)
    moved = scene.detections.xyxy - np.array([x, y, x, y], np.float32)
    xyxy = np.clip(moved, 0, np.array([kept_w, kept_h] * 2, np.float32)).astype(np.float32)
    return replace(
        scene,
        frame=replace(scene.frame, bgr=scene.frame.bgr[y : y + kept_h, x : x + kept_w]),
        detections=replace(scene.detections, xyxy=xyxy),
        outlines=tuple(_cut(outline, scene.frame, (x, y, kept_w, kept_h)) for outline in scene.outlines),
    )


def _kept(frame_wh: tuple[int, int], wh: tuple[int, int]) -> Place:
    """Return the part of a frame that fills a place of a width and a height: x, y, width, height, px.

    Nothing is cut at the top, where heads are.
    """
    width, height = frame_wh
    kept_w, kept_h = min(width, round(height * wh[0] / wh[1])), min(height, round(width * wh[1] / wh[0]))
    return (width - kept_w) // 2, 0, kept_w, kept_h


def _cut(outline: Outline, frame: Frame, kept: Place) -> Outline:
    """Return an outline in shares of a part of the frame."""
    (height, width), (x, y, kept_w, kept_h) = frame.bgr.shape[:2], kept
    corners = (((at_x * width - x) / kept_w, (at_y * height - y) / kept_h) for at_x, at_y in outline.corners)
    return outline._replace(corners=tuple(corners))


def share_of(xy: tuple[int, int], plan: Plan, frame_wh: tuple[int, int]) -> tuple[float, float] | None:
    """Return a place of a picture, px, in shares of the frame's width and height; None beside the frame."""
    left, top, width, height = plan.frame
    at_x, at_y = xy[0] - left, xy[1] - top
    if not (0 <= at_x < width and 0 <= at_y < height):
        return None
    x, y, kept_w, kept_h = _kept(frame_wh, (width, height)) if plan.bands else (0, 0, *frame_wh)
    return (x + at_x / width * kept_w) / frame_wh[0], (y + at_y / height * kept_h) / frame_wh[1]


def _draw_joined(view: U8Array, scene: Scene, plan: Plan, canvas: Canvas) -> None:
    """Draw corners around the objects that have a band, and a thin line from each to its band."""
    height, width = view.shape[:2]
    boxes = _boxes_in(view, scene)
    for i, strip in enumerate(scene.strips):
        x1, y1, x2, y2 = boxes[i]
        if strip not in plan.shown or i in scene.faint or _is_out(boxes[i]):
            continue
        draw_corners(view, boxes[i], canvas.theme.accent, canvas.px(2))
        x, y, wide, high = plan.bands[strip]
        begin, end = (x2, (y1 + y2) // 2), (width, y + high // 2)
        if x < width:  # below the camera, where the bands' lines end apart
            begin, end = ((x1 + x2) // 2, y2), (x + wide * (1 + 2 * strip) // (2 * len(plan.bands)), height)
        cv2.line(view, begin, end, canvas.theme.accent, canvas.px(1), cv2.LINE_AA)


def _boxes_in(view: U8Array, scene: Scene) -> list[list[int]]:
    """Return the boxes of a scene's objects in its frame at another size, px."""
    (height, width), (from_height, from_width) = view.shape[:2], scene.frame.bgr.shape[:2]
    scale = np.array([width / from_width, height / from_height] * 2, np.float32)
    boxes: list[list[int]] = np.rint(scene.detections.xyxy * scale).astype(int).tolist()
    return boxes


def _dimmed(view: U8Array, scene: Scene) -> U8Array:
    """Return a frame that is dim but for the objects in it."""
    dim = cast(U8Array, cv2.convertScaleAbs(view, alpha=_DIM))
    for i, (x1, y1, x2, y2) in enumerate(_boxes_in(view, scene)):
        if i not in scene.faint:
            lit = np.s_[max(0, y1) : y2, max(0, x1) : x2]
            dim[lit] = view[lit]
    return dim


def _draw_outlines(view: U8Array, scene: Scene, canvas: Canvas) -> None:
    """Draw the parts in which objects count as faint lines, and darken those in which they do not."""
    wh, line = np.array(view.shape[1::-1], np.float32), canvas.px(1)
    for outline in scene.outlines:
        points = np.rint(np.array(outline.corners, np.float32) * wh).astype(np.int32)
        if not outline.counts:
            clear = view.copy()
            cv2.fillPoly(view, [points], canvas.theme.ground)
            cv2.addWeighted(clear, 1 - _MASKED, view, _MASKED, 0, dst=view)
        colour = canvas.theme.accent if outline.is_open else TEXT_FAINT
        cv2.polylines(view, [points], not outline.is_open, colour, line, cv2.LINE_AA)
        for point in points.tolist() if outline.is_open else []:
            cv2.circle(view, point, canvas.px(4), colour, -1, cv2.LINE_AA)


def _faded(view: U8Array, share: float) -> U8Array:
    """Return a picture on its way to a grey, blurred and darker one; ``share`` 1 is the end."""
    height, width = view.shape[:2]
    small = (max(1, width // _LOST_SCALE), max(1, height // _LOST_SCALE))
    grey = cv2.cvtColor(cv2.resize(view, small, interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2GRAY)
    grey = cv2.resize(cv2.GaussianBlur(grey, (3, 3), 0), (width, height), interpolation=cv2.INTER_CUBIC)
    after = cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)
    return cast(U8Array, cv2.addWeighted(view, 1 - share, after, share * _LOST_LIGHT, 0))


def _write_waiting(view: U8Array, share: float, canvas: Canvas) -> None:
    """Write into the middle of a lost picture that the next one is waited for."""
    size = canvas.px(_WAITING_PX)
    text = fit_text(WAITING, size, round(0.9 * view.shape[1]), canvas.font)
    width, height = text_wh(text, size, canvas.font)
    x, y = (view.shape[1] - width) // 2, (view.shape[0] - height) // 2
    room = view[max(0, y) : y + height, x : x + width]
    written = room.copy()
    draw_text(written, text, (0, 0), size, TEXT, canvas.font)
    room[:] = cv2.addWeighted(room, 1 - share, written, share, 0)


def score_text(scene: Scene, i: int, canvas: Canvas) -> str:
    """Return the confidence as records have it; "" for a whole image, which was not found."""
    said = canvas.text == "all" and scene.detections.label[i] != WHOLE_IMAGE_LABEL
    return f"{scene.detections.score[i]:.2f}" if said else ""


def draw_boxes(
    view: U8Array, scene: Scene, canvas: Canvas, shown: Collection[int], *, numbers: bool = False
) -> None:
    """Draw boxes and labels on a frame that was scaled already, so that text stays sharp.

    Objects without a strip in sight get thin corners and no label.

    Args:
        view: (H, W, 3) uint8 BGR, the scene's frame at any size; is drawn on.
        scene: its objects, in px of its frame.
        canvas: the sizes of text and lines.
        shown: numbers of the strips in sight.
        numbers: labels begin with the number of the object's track.
    """
    boxes = _boxes_in(view, scene)
    tracks = scene.detections.track.tolist()
    scores = scene.detections.score.tolist()
    seen = [
        i for i in range(len(boxes)) if i not in scene.faint and not (i in scene.held and _is_out(boxes[i]))
    ]
    small = len(view) < canvas.px(_LARGE_PX)
    for i in reversed(seen):  # the most confident on top
        if scene.strips[i] in shown:
            thin = small or scores[i] < _WEAK or i in scene.held
            _box(view, boxes[i], object_colour(scene.strips[i] // scene.each), canvas.px(1 if thin else 2))
        else:
            draw_corners(view, boxes[i], TEXT_FAINT, canvas.px(1))
    if canvas.text == "none":
        return
    size_px, taken = canvas.px(13 if small else 17), list[_Rectangle]()
    for i in seen:  # the most confident have their label where it belongs; others make way, or do without
        if scene.strips[i] not in shown or not scene.names[i]:
            continue
        score = score_text(scene, i, canvas)
        text = f"{scene.names[i]}: {score}" if score else scene.names[i]
        if numbers and tracks[i]:
            text = f"{tracks[i]} {text}"
        patch = _patch(text, size_px, object_colour(scene.strips[i] // scene.each), canvas.font)
        _tag(view, boxes[i], patch, taken, 0 if scores[i] < _WEAK else _MOST_STEPS)


def draw_corners(view: U8Array, xyxy: list[int], colour: Colour, line_px: int) -> None:
    """Draw the four corners of a box."""
    x1, y1, x2, y2 = xyxy[0], xyxy[1], xyxy[2] - 1, xyxy[3] - 1
    side = max(2 * line_px, round(_CORNER * min(x2 - x1, y2 - y1)))
    for x, dx in ((x1, side), (x2, -side)):
        for y, dy in ((y1, side), (y2, -side)):
            cv2.line(view, (x, y), (x + dx, y), colour, line_px)
            cv2.line(view, (x, y), (x, y + dy), colour, line_px)


def _sign(view: U8Array, canvas: Canvas) -> None:
    """Draw the sign that what is seen is remembered, at the upper right, whatever text is wanted."""
    patch = _patch(_REMEMBERS, canvas.px(15), SIGN, canvas.font)[: view.shape[0], : view.shape[1]]
    margin = min(canvas.px(8), view.shape[0] - len(patch), view.shape[1] - patch.shape[1])
    right = view.shape[1] - margin
    view[margin : margin + len(patch), right - patch.shape[1] : right] = patch


def _is_out(xyxy: list[int]) -> bool:
    """Return True if a box has left the frame, but for an edge."""
    return xyxy[2] - xyxy[0] < 2 or xyxy[3] - xyxy[1] < 2


def _box(view: U8Array, xyxy: list[int], colour: Colour, line_px: int) -> None:
    cv2.rectangle(view, xyxy[:2], (xyxy[2] - 1, xyxy[3] - 1), colour, line_px)


def _tag(view: U8Array, xyxy: list[int], patch: U8Array, taken: list[_Rectangle], steps: int) -> None:
    """Draw the label on a patch of the object's colour, at the box's upper edge, inside the frame.

    Where others stand it moves down its box, by so many steps at most; with no room there it is left out.
    """
    height, width = patch.shape[:2]
    x = min(max(0, xyxy[0]), max(0, view.shape[1] - width))
    lowest = max(0, view.shape[0] - height)
    y = min(max(0, xyxy[1] - height if xyxy[1] >= height else xyxy[1]), lowest)
    end = min(lowest, max(y, xyxy[3]), y + steps * height)
    while any(_meet((x, y, x + width, y + height), other) for other in taken):
        y += height
        if y > end:
            return
    taken.append((x, y, x + width, y + height))
    room = view[y : y + height, x : x + width]
    room[:] = patch[: room.shape[0], : room.shape[1]]


def _meet(a: _Rectangle, b: _Rectangle) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


@lru_cache(maxsize=512)
def _patch(text: str, size_px: int, colour: Colour, font: str) -> U8Array:
    """Return the picture of a label; cached, as blending text takes 60 us and copying 2 us."""
    width, height = text_wh(text, size_px, font)
    margin = size_px // 3
    patch = np.full((height, width + 2 * margin, 3), colour, np.uint8)
    draw_text(patch, text, (margin, 0), size_px, TEXT_ON_COLOUR, font)
    return patch
