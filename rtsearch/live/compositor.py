"""The picture of a run: scenes put together, moved along where detection is behind, and drawn."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from rtsearch.config import ShowSettings
from rtsearch.library.thumbnails import ThumbCache
from rtsearch.live.live_frame import Crops
from rtsearch.live.stabilizer import Steadied
from rtsearch.render.layout import canvas_of, lay_out
from rtsearch.render.painter import Painter, eased
from rtsearch.render.plan import Plan
from rtsearch.types import F32Array, Frame, I32Array, Neighbours, Scene, U8Array, class_name

__all__ = ["Appearance", "Compositor", "Drawn", "crop_height", "moved"]

_FAINT_AFTER = 5  # frames; 93 % of misses are no longer, and a box that flickers draws the eye
_LIKE = 1.6  # how much wider or narrower than its place a crop may be before its line is laid out anew
_GLIDE_S = 0.4  # time in which one grid of strips becomes another


@dataclass(frozen=True, slots=True)
class Appearance:
    """Layout, notes and state that a scene is drawn with.

    Attributes:
        show: the layout.
        first: strip that is to stand on top.
        notes: lines beside the frame.
        lost_s: time for which the source has given no pictures, s.
        controls_wh: room at the upper right that controls stand on, px.
    """

    show: ShowSettings
    first: int = 0
    notes: tuple[str, ...] = ()
    lost_s: float = 0.0
    controls_wh: tuple[int, int] = (0, 0)


class Drawn(NamedTuple):
    """A picture, (H, W, 3) uint8 BGR and valid until the next one is drawn, of a scene with its notes.

    ``last_first`` is the highest strip that may stand on top of it, ``plan`` tells what is drawn where.
    """

    scene: Scene
    picture: U8Array
    last_first: int
    plan: Plan


class Compositor:
    """Puts scenes together and draws them; belongs to the main thread.

    Args:
        class_names: by label.
        cache: crops that are there, or come later.
        shapes: gives the aspect ratio of each row's crop.
        drift: rows that drift through bands without an object.
    """

    def __init__(
        self,
        class_names: tuple[str, ...],
        cache: ThumbCache,
        shapes: Callable[[I32Array], F32Array],
        drift: tuple[int, ...] = (),
    ) -> None:
        self._drift = drift
        self._names = class_names
        self._cache = cache
        self._shapes = shapes
        self._painter = Painter()
        self._glide = _Glide()
        self._drawn: tuple[Scene, Appearance] | None = None
        self._crops: dict[int, U8Array | None] = {}  # by row, of the last scene
        self._places: dict[int, tuple[I32Array, tuple[float, ...]]] = {}  # by track: rows, shapes of places

    def scene(self, frame: Frame, objects: Steadied, crops: Crops | None, show: ShowSettings) -> Scene:
        """Return what is shown of a frame.

        Args:
            frame: the picture.
            objects: found in it, or moved to it.
            crops: of all neighbours; None takes those that the cache holds by now.
            show: the layout.
        """
        height = crop_height(show, frame, objects.rows)
        found = objects.detections
        names = (show.word(class_name(self._names, label)) for label in found.label.tolist())
        words = objects.words or ("",) * len(found)
        return Scene(
            frame=frame,
            detections=found,
            names=tuple(word or name for word, name in zip(words, names, strict=True)),
            neighbours=objects.neighbours,
            thumb_height=height,
            thumbs=self._cached(objects.neighbours, height) if crops is None else crops,
            strips=objects.strips,
            held=objects.held,
            faint=frozenset(i for i, frames in enumerate(objects.missed) if frames > _FAINT_AFTER),
            rows=objects.rows,
            each=objects.each,
            shapes=self._shaped(objects),
            now_s=frame.at_s,
            drift=tuple(self._cache.peek(row, height) for row in self._drift) if height == 0 else (),
        )

    def draw(self, scene: Scene, look: Appearance) -> Drawn:
        """Draw a scene with the notes of its look."""
        canvas = replace(canvas_of(look.show), controls_wh=look.controls_wh)
        last_first = max(0, max(scene.strips, default=-1) + 1 - scene.rows)
        first = min(look.first, last_first)
        grid = self._glide.at(scene, canvas.wh)
        scene = replace(scene, notes=look.notes, first=first, grid=grid, lost_s=look.lost_s)
        self._drawn = scene, look
        picture = self._painter.paint(scene, canvas)
        return Drawn(scene, picture, last_first, self._painter.plan)

    def better(self, look: Appearance, now_s: float | None = None) -> Scene | None:
        """Return the scene drawn last if it can be drawn better: crops have come, or its look has changed.

        The objects are those of the scene itself: a result that came later than the drawn frame has others.

        Args:
            look: as it is now; its notes do not matter.
            now_s: time in the clock of a source whose clock goes on without pictures; else None.
        """
        if self._drawn is None:
            return None
        scene, then = self._drawn
        changed = replace(then, notes=()) != replace(look, notes=())
        if now_s is not None and now_s > scene.now_s and (self._painter.restless or self._glide.goes_on):
            scene, changed = replace(scene, now_s=now_s), True
        height = scene.thumb_height
        if all(crop is not None and height in (0, len(crop)) for crops in scene.thumbs for crop in crops):
            return scene if changed else None
        crops = self._cached(scene.neighbours, height, scene.thumbs)
        came = any(
            new is not old
            for new_row, old_row in zip(crops, scene.thumbs, strict=True)
            for new, old in zip(new_row, old_row, strict=True)
        )
        return replace(scene, thumbs=crops) if came or changed else None

    def _cached(self, neighbours: Neighbours, height_px: int, drawn: Crops = ()) -> Crops:
        """Return the crops that are there; those of another height serve until the right ones come.

        Args:
            neighbours: whose crops are wanted.
            height_px: of the crops.
            drawn: crops of these neighbours that a scene has already.
        """
        rows = [[row for row in line if row >= 0] for line in neighbours.row.tolist()]
        before = self._crops | {
            row: crop
            for line, crops in zip(rows, drawn, strict=False)
            for row, crop in zip(line, crops, strict=False)
            if crop is not None
        }
        crops = {row: self._cache.peek(row, height_px) for line in rows for row in line}
        self._crops = {row: before.get(row) if crop is None else crop for row, crop in crops.items()}
        return tuple(tuple(self._crops[row] for row in line) for line in rows)

    def _shaped(self, objects: Steadied) -> tuple[tuple[float, ...], ...]:
        """Return the shapes of the crops' places.

        Each keeps that of its first crop while most crops of the object stay, so that none of them moves, and
        while all crops nearly fill their places.
        """
        before, self._places = self._places, {}
        for track, line in zip(objects.detections.track.tolist(), objects.neighbours.row, strict=True):
            rows = line[line >= 0]
            then_rows, then = before.get(track, (rows[:0], ()))
            both, shapes = min(len(rows), len(then_rows)), self._shapes(rows).tolist()
            stay = 2 * int((rows[:both] == then_rows[:both]).sum()) >= max(1, both)
            fit = all(1 / _LIKE < a / b < _LIKE for a, b in zip(shapes, then, strict=False))
            kept = then[:both] if stay and fit else ()
            self._places[track] = rows, (*kept, *shapes[len(kept) :])
        return tuple(self._places[track][1] for track in objects.detections.track.tolist())


class _Glide:
    """Grid of strips on its way from one number to another."""

    def __init__(self) -> None:
        self.goes_on = False
        self._from = 0.0
        self._to = -1
        self._since_s = -math.inf
        self._source: tuple[str, tuple[int, int]] = "", (0, 0)

    def at(self, scene: Scene, wh: tuple[int, int]) -> float:
        """Return the number of strips to lay a scene out for, a fraction while the grid changes."""
        source, rows, now_s = (scene.frame.name, wh), scene.rows, scene.now_s
        if self._to < 0 or source != self._source or now_s < self._since_s:
            self._from, self._to, self._since_s, self._source = float(rows), rows, -math.inf, source
        elif rows != self._to:
            self._from, self._to, self._since_s = self._now(now_s), rows, now_s
        self.goes_on = now_s - self._since_s < _GLIDE_S
        return self._now(now_s)

    def _now(self, now_s: float) -> float:
        share = min(1.0, (now_s - self._since_s) / _GLIDE_S)
        return float(self._to) if share == 1.0 else self._from + (self._to - self._from) * eased(share)


def moved(objects: Steadied, updates: float, frame: Frame) -> Steadied:
    """Return the objects where they will be so many updates later, within another frame."""
    height, width = frame.bgr.shape[:2]
    limits = np.array([width, height, width, height], np.float32)
    xyxy = np.clip(objects.detections.xyxy + np.float32(updates) * objects.step, 0, limits)
    return replace(objects, detections=replace(objects.detections, xyxy=xyxy.astype(np.float32)))


def crop_height(show: ShowSettings, frame: Frame, rows: int) -> int:
    """Return the height of the crops in a picture that keeps room for so many strips, px; 0 as stored."""
    if canvas_of(show).composition == "wall":
        return 0
    return lay_out(canvas_of(show), frame.bgr.shape[1::-1], rows).line_height
