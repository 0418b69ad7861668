"""Draw the picture: a composition says what is drawn where, the painter draws what has changed.

    Scene -> composition (a pure function) -> Plan: the frame's place, and items by key
    Plan, last plan -> Painter: items that are new, changed or gone cross over softly, the others stay

Transitions follow ``Scene.now_s``, the clock of the source, so that a file is drawn alike every time.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Hashable
from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
from cachetools import LRUCache

from rtsearch.library.crops import covering
from rtsearch.render.boxes import frame_picture
from rtsearch.render.drift import DriftPicture
from rtsearch.render.layout import Canvas, Place
from rtsearch.render.notes import draw_notes
from rtsearch.render.pictures import Pictures, room
from rtsearch.render.plan import Item, Plan
from rtsearch.render.signature import sign
from rtsearch.render.strips import compose_strips
from rtsearch.render.theme import DARK, Colour, toward
from rtsearch.render.wall import compose_wall
from rtsearch.types import Scene, U8Array

__all__ = ["Painter", "compose", "eased"]

_SLIDE_PX = 16  # way that a new one moves meanwhile
_JUMP_S = 4.0  # a picture later than this after the last one, or before it, has nothing to cross over from
_FITTED_BYTES = 96 << 20  # of crops that are kept in the size of their place, and as they are stored
_GONE = (
    0.75  # share of its way to the ground after which a thing is gone: encoders leave a faint rest as it is
)
_WAKES_S = 0.25  # time in which a walk through the library makes way for what is seen
_DRIFTS_IN_S = 0.6  # time in which the library comes up in a band that has fallen free; longer it looks black
_COMPOSITIONS = {"strips": compose_strips, "wall": compose_wall}
_FULL = 0.96  # share of a side of its place that a crop is stretched from to fill it


def compose(scene: Scene, canvas: Canvas) -> U8Array:
    """Draw a scene as a (height, width, 3) uint8 BGR picture of ``canvas.wh``."""
    return Painter().paint(scene, canvas)


def eased(share: float) -> float:
    """Return the way that is done at a share of the time, with a soft begin and end; 0..1."""
    return share * share * (3 - 2 * share)


@dataclass(frozen=True, slots=True)
class _Fade:
    """Transition of a place: the item that comes, None where one goes, and the pixels that were there."""

    item: Item | None
    place: Place
    before: U8Array
    since_s: float
    lasts_s: float
    slides: bool = False

    def is_over(self, now_s: float) -> bool:
        """Tell whether it has ended."""
        return now_s - self.since_s >= self.lasts_s


class Painter:
    """Painter that draws successive scenes, and redraws only changed parts.

    Once all transitions are over, the picture is that of ``compose``.

    Attributes:
        restless: transitions are going on: the same scene looks different a moment later.
        plan: of the picture drawn last.
    """

    def __init__(self) -> None:
        self.restless = False
        self.plan = Plan((0, 0, 0, 0), (), range(0), (), (0, 0, 0, 0), "over")
        self._pictures = Pictures((0, 0), DARK.ground)
        self._canvas: Canvas | None = None
        self._ground: Colour = DARK.ground
        self._last: tuple[str, float] = ("", 0.0)  # name and time of the last picture
        self._going: list[_Fade] = []
        self._coming: dict[Hashable, _Fade] = {}
        self._fitted: LRUCache[tuple[int, int, int], tuple[U8Array, U8Array]] = LRUCache(
            _FITTED_BYTES, getsizeof=lambda pair: pair[0].nbytes + pair[1].nbytes
        )
        self._belts: dict[Place, tuple[float, DriftPicture]] = {}  # since when a place has had one

    def paint(self, scene: Scene, canvas: Canvas) -> U8Array:
        """Draw a scene and return its picture, which stays as it is while it is referred to."""
        plan = _COMPOSITIONS[canvas.composition](scene, canvas)
        before = self.plan if self._follows(scene, canvas) else None
        self.plan, self._canvas, self._ground = plan, canvas, canvas.theme.ground
        new_belts = {belt.place for belt in plan.belts} - self._belts.keys() if before else set()
        self._pictures.turn(plan.frame)
        if before is None:
            self._belts.clear()
            self._pictures = Pictures(canvas.wh, canvas.theme.ground)
            self._draw_all(plan)
        elif _moves(before, plan):
            drawn = [item.place for item in before.items] + [belt.place for belt in before.belts]
            drawn += [fade.place for fade in self._going]
            for place in (before.frame, before.notes_place, *drawn):
                self._pictures.room(place)[:] = canvas.theme.ground
            before = None
            self._draw_all(plan)
        else:
            self._begin_fades(before, plan, scene.now_s)
            self._draw_fades(scene.now_s, canvas)
        self._draw_belts(plan, scene.now_s, new_belts, canvas)
        view = frame_picture(scene, plan, canvas)
        sign(view[: len(view) - _covered_px(plan)], canvas)
        self._pictures.room(plan.frame)[:] = view
        if before is None or plan.notes != before.notes or plan.notes_are == "over":
            draw_notes(self._pictures.room(plan.notes_place), plan, canvas)
        self.restless = bool(self._going or self._coming)
        return self._pictures.newest

    def _follows(self, scene: Scene, canvas: Canvas) -> bool:
        """Tell whether a scene goes on from the last one: no other photo, no other place in a video."""
        (name, last_s), self._last = self._last, (scene.frame.name, scene.now_s)
        soon = 0 <= scene.now_s - last_s <= _JUMP_S
        return soon and name == scene.frame.name and canvas == self._canvas

    def _draw_all(self, plan: Plan) -> None:
        self._going.clear()
        self._coming.clear()
        for item in plan.items:
            self._pictures.room(item.place)[:] = self._drawn(item)

    def _begin_fades(self, before: Plan, plan: Plan, now_s: float) -> None:
        old, new = ({item.key: item for item in each.items} for each in (before, plan))
        lasts_s = min(plan.fade_s, _WAKES_S) if before.walks and not plan.walks else plan.fade_s
        changed = [item for key, item in new.items() if key not in old or not item.same(old[key])]
        # All pixels of before are kept before any are drawn over.
        gone = [item.place for key, item in old.items() if key not in new]
        gone += [belt.place for belt in before.belts if all(belt.place != b.place for b in plan.belts)]
        for place in gone:
            pixels = room(self._pictures.newest, place).copy()
            self._going.append(_Fade(None, place, pixels, now_s, lasts_s))
        for item in changed:
            pixels = room(self._pictures.newest, item.place).copy()
            slides = item.key not in old and not item.reads
            self._coming[item.key] = _Fade(item, item.place, pixels, now_s, lasts_s, slides)
        for key in old.keys() - new.keys():
            self._coming.pop(key, None)

    def _draw_fades(self, now_s: float, canvas: Canvas) -> None:
        """Draw what goes, then what comes, which may lie upon it and never ends sooner."""
        for fade in (*self._going, *self._coming.values()):
            share = eased(min(1.0, (now_s - fade.since_s) / fade.lasts_s))
            pixels = self._pictures.room(fade.place)
            if fade.item is None:
                pixels[:] = toward(fade.before, canvas.theme.ground, 1.0 if share > _GONE else share)
                continue
            after = self._drawn(fade.item)
            if fade.slides and (way := round((1 - share) * canvas.px(_SLIDE_PX))):
                moved = fade.before.copy()
                moved[:, way:] = after[:, : max(0, after.shape[1] - way)]
                after = moved
            pixels[:] = self._between(fade.before, after, share, reads=fade.item.reads)
        self._going = [fade for fade in self._going if not fade.is_over(now_s)]
        self._coming = {key: fade for key, fade in self._coming.items() if not fade.is_over(now_s)}

    def _between(self, before: U8Array, after: U8Array, share: float, *, reads: bool) -> U8Array:
        """Return pixels on their way to others; words go by way of the ground."""
        if not reads:
            return cast(U8Array, cv2.addWeighted(before, 1 - share, after, share, 0))
        words, left = (before, 1 - 2 * share) if share < 0.5 else (after, 2 * share - 1)
        return toward(words, self._ground, 1 - left)

    def _draw_belts(self, plan: Plan, now_s: float, new: set[Place], canvas: Canvas) -> None:
        """Draw the crops that drift by; in a place that has fallen free they come up after what goes."""
        free = {belt.place for belt in plan.belts}
        self._belts = {place: known for place, known in self._belts.items() if place in free}
        for belt in plan.belts:
            if belt.place not in self._belts:
                since_s = now_s + _GONE * plan.fade_s if belt.place in new else -math.inf
                self._belts[belt.place] = since_s, DriftPicture(belt.place[2:], canvas.theme.ground)
            since_s, drift = self._belts[belt.place]
            share = eased(min(1.0, max(0.0, (now_s - since_s) / _DRIFTS_IN_S)))
            if share:
                self._pictures.room(belt.place)[:] = drift.window(belt, share)

    def _drawn(self, item: Item) -> U8Array:
        """Return an item in the size of its place; the crops that were scaled last are kept."""
        width, height = item.place[2:]
        if item.pixels is None:
            return np.full((height, width, 3), item.colour, np.uint8)
        key = (id(item.pixels), width, height)
        known = self._fitted.get(key)
        if known is not None:
            return known[1]
        wh = (width, height)
        fit = covering(item.pixels, wh) if item.covers else _fitted(item.pixels, wh, self._ground)
        with contextlib.suppress(ValueError):  # it is larger than all that is kept
            self._fitted[key] = (item.pixels, fit)
        return fit


def _moves(before: Plan, plan: Plan) -> bool:
    """Tell whether an item has another place than before, or the frame or the notes have."""
    places = {item.key: item.place for item in before.items}
    moved = any(places.get(item.key, item.place) != item.place for item in plan.items)
    return moved or (before.frame, before.notes_place) != (plan.frame, plan.notes_place)


def _covered_px(plan: Plan) -> int:
    """Return the height of the lower edge of the frame that notes stand on, px."""
    return plan.notes_place[3] if plan.notes and plan.notes_are == "over" else 0


def _fitted(pixels: U8Array, wh: tuple[int, int], ground: Colour) -> U8Array:
    """Return a crop scaled to fit into a place, in its middle; nothing of it is cut."""
    height, width = pixels.shape[:2]
    if (width, height) == wh:
        return pixels
    scale = min(wh[0] / width, wh[1] / height)
    size = [max(1, round(width * scale)), max(1, round(height * scale))]
    # A crop whose shape differs by rounding fills its place.
    size = [side if side < _FULL * whole else whole for side, whole in zip(size, wh, strict=True)]
    # The cache has seen to it that none is enlarged too much; those of another height serve for a moment.
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    inner = cast(U8Array, cv2.resize(pixels, size, interpolation=method))
    if (size[0], size[1]) == wh:
        return inner
    place = np.full((wh[1], wh[0], 3), ground, np.uint8)
    x, y = (wh[0] - size[0]) // 2, (wh[1] - size[1]) // 2
    place[y : y + size[1], x : x + size[0]] = inner
    return place
