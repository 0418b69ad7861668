"""The picture of a run: scenes put together, moved along where detection is behind, and drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np

from rtsearch.config import ShowSettings
from rtsearch.library.crops import MOST_ENLARGED
from rtsearch.library.thumbnails import ThumbCache
from rtsearch.live.live_frame import Crops
from rtsearch.live.stabilizer import Steadied
from rtsearch.live.walk import Walked
from rtsearch.render.drift import line_px
from rtsearch.render.layout import canvas_of, lay_out
from rtsearch.render.painter import Painter, eased
from rtsearch.render.plan import Plan
from rtsearch.render.wall import FIRST, HEROES, hero_px, wall_places
from rtsearch.types import F32Array, Frame, I32Array, Neighbours, Outline, Scene, Stop, U8Array, class_name

__all__ = ["Appearance", "Compositor", "Drawn", "crop_height", "drift_height", "moved"]

_NARROW = 0.6  # width by height
_FAINT_AFTER = 5  # frames; 93 % of misses are no longer, and a box that flickers draws the eye
_LIKE = 1.6  # how much wider or narrower than its place a crop may be before its line is laid out anew
_NO_WALK = Walked()
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
        outlines: parts of the frame in which objects count, or do not.
    """

    show: ShowSettings
    first: int = 0
    notes: tuple[str, ...] = ()
    lost_s: float = 0.0
    controls_wh: tuple[int, int] = (0, 0)
    outlines: tuple[Outline, ...] = ()


class Drawn(NamedTuple):
    """A picture, (H, W, 3) uint8 BGR that stays as it is while it is referred to, of a scene with its notes.

    ``last_first`` is the highest strip that may stand on top of it, ``plan`` tells what is drawn where.
    """

    scene: Scene
    picture: U8Array
    last_first: int
    plan: Plan


class Shown(Protocol):
    """Part of an index that is needed here."""

    def shapes(self, rows: I32Array, /) -> F32Array:
        """Return the aspect ratio of each row's crop, (n,)."""
        ...

    def heights(self, rows: I32Array, /) -> F32Array:
        """Return the height of each row's box in its photo, (n,) px."""
        ...

    def label(self, row: int, /) -> int:
        """Return the class of a row."""
        ...


class Compositor:
    """Puts scenes together and draws them; belongs to the main thread.

    Args:
        class_names: by label.
        cache: crops that are there, or come later.
        index: gives the aspect ratio of each row's crop, and its height in its photo.
        drift: rows that drift through bands without an object.
        photos: number of photos of the library.
    """

    def __init__(
        self,
        class_names: tuple[str, ...],
        cache: ThumbCache,
        index: Shown,
        drift: tuple[int, ...] = (),
        photos: int = 0,
    ) -> None:
        self._names = class_names
        self._painter = Painter()
        self._glide = _Glide()
        self._drawn: tuple[Scene, Appearance] | None = None
        self.turn_to(cache, index, drift, photos)

    def turn_to(self, cache: ThumbCache, index: Shown, drift: tuple[int, ...] = (), photos: int = 0) -> None:
        """Take the rows of scenes from here on for those of another library.

        Args:
            cache, index, drift, photos: as at the beginning.
        """
        self._cache, self._index = cache, index
        self._drift, self._photos = drift, photos
        self._crops: dict[int, U8Array | None] = {}  # by row, of the last scene
        self._places: dict[int, _Places] = {}  # by track

    def scene(
        self,
        frame: Frame,
        objects: Steadied,
        crops: Crops | None,
        show: ShowSettings,
        walk: Walked = _NO_WALK,
    ) -> Scene:
        """Return what is shown of a frame.

        Args:
            frame: the picture.
            objects: found in it, or moved to it.
            crops: of all neighbours; None takes those that the cache holds by now.
            show: the layout.
            walk: through the library, while nothing is seen.
        """
        height = crop_height(show, frame, objects.rows)
        least_px, drift_px = _least_px(show), drift_height(show)
        found, places = objects.detections, self._placed(objects, least_px)
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
            shapes=tuple(each.shapes for each in places),
            order=tuple(each.order for each in places),
            large=tuple(each.large for each in places),
            now_s=frame.at_s,
            drift=tuple(self._cache.peek(row, drift_px) for row in self._drift) if drift_px else (),
            about=self._about(show),
            walk=self._stops(walk, show, least_px),
        )

    def draw(self, scene: Scene, look: Appearance) -> Drawn:
        """Draw a scene with the notes of its look."""
        canvas = replace(canvas_of(look.show), controls_wh=look.controls_wh)
        last_first = max(0, max(scene.strips, default=-1) + 1 - scene.rows)
        first = min(look.first, last_first)
        grid = self._glide.at(scene, canvas.wh)
        scene = replace(
            scene,
            notes=look.notes,
            first=first,
            grid=grid,
            lost_s=look.lost_s,
            outlines=look.outlines,
        )
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

    def _about(self, show: ShowSettings) -> str:
        """Return the words about the library; ``show.labels`` may translate or hide them."""
        library = show.word("library")
        return f"{library}: {self._photos:,} {show.word('photos')}".strip() if library else ""

    def _stops(self, walk: Walked, show: ShowSettings, least_px: float) -> tuple[Stop, ...]:
        """Return the stops of a walk, of those like each object the high ones first."""
        stops = []
        for number, stop in enumerate(walk.stops, walk.first):
            like = np.array(stop[1:], np.int32)
            order = list(_large_first(self._index.heights(like), self._index.shapes(like), least_px))
            rows = np.array([stop[0], *like[order]], np.int32)
            large = _high_enough(self._index.heights(rows), range(len(rows)), least_px)
            name = show.word(class_name(self._names, self._index.label(stop[0])))
            crops = tuple(self._cache.peek(row) for row in rows.tolist())
            shapes = tuple(self._index.shapes(rows))
            stops.append(Stop(number, name, tuple(rows.tolist()), crops, shapes, large))
        return tuple(stops)

    def _placed(self, objects: Steadied, least_px: float) -> list[_Places]:
        """Return the shapes of the crops' places, and which crops the largest of them are for.

        Each keeps that of its first crop while most crops of the object stay, so that none of them moves, and
        while all crops nearly fill their places.
        """
        before, self._places = self._places, {}
        for track, line in zip(objects.detections.track.tolist(), objects.neighbours.row, strict=True):
            rows = line[line >= 0]
            then = before.get(track, _Places(rows[:0], (), (), 0))
            both, shapes = min(len(rows), len(then.rows)), self._index.shapes(rows).tolist()
            stay = 2 * int((rows[:both] == then.rows[:both]).sum()) >= max(1, both)
            fit = all(1 / _LIKE < a / b < _LIKE for a, b in zip(shapes, then.shapes, strict=False))
            if stay and fit:
                kept, order = then.shapes[:both], tuple(k for k in then.order if k < both)
                order += tuple(range(both, len(rows)))
                large = min(then.large, both)
            else:
                heights = self._index.heights(rows)
                kept, order = (), _large_first(heights, np.array(shapes, np.float32), least_px)
                large = _high_enough(heights, order, least_px)
            self._places[track] = _Places(rows, (*kept, *shapes[len(kept) :]), order, large)
        return [self._places[track] for track in objects.detections.track.tolist()]


class _Places(NamedTuple):
    """Rows of an object's crops, the shapes of their places, and their order in a wall's places.

    So many crops at the beginning of the order take large places.
    """

    rows: I32Array
    shapes: tuple[float, ...]
    order: tuple[int, ...]
    large: int


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


def _least_px(show: ShowSettings) -> float:
    """Return the height in its photo that a crop needs for a large place of a wall, px; 0 without one."""
    canvas = canvas_of(show)
    return hero_px(canvas) / MOST_ENLARGED if canvas.composition == "wall" else 0.0


def _large_first(heights: F32Array, shapes: F32Array, least_px: float) -> tuple[int, ...]:
    """Return an order of crops in which the nearest that are high enough take the large places.

    The first place, the largest, is for the nearest of them that is high enough to fill it, or else for the
    nearest, but for none that is narrow: one would leave it small.
    """
    large = np.flatnonzero(heights >= least_px)[:HEROES].tolist()
    wide = [k for k in large if shapes[k] >= _NARROW]
    first = [k for k in wide if heights[k] >= FIRST * least_px] or wide
    return tuple(dict.fromkeys([*first[:1], *large, *range(len(heights))]))


def _high_enough(heights: F32Array, order: Sequence[int], least_px: float) -> int:
    """Return how many crops at the beginning of an order are high enough for large places."""
    low = (at for at, k in enumerate(order) if heights[k] < least_px)
    return next(low, len(order))


def drift_height(show: ShowSettings) -> int:
    """Return the height of the crops that drift through bands of a wall, px; 0 where there are none."""
    canvas = canvas_of(show)
    return line_px(wall_places(canvas.wh, canvas.px(10)).bands[0][3]) if canvas.composition == "wall" else 0


def crop_height(show: ShowSettings, frame: Frame, rows: int) -> int:
    """Return the height of the crops in a picture that keeps room for so many strips, px; 0 as stored."""
    if canvas_of(show).composition == "wall":
        return 0
    return lay_out(canvas_of(show), frame.bgr.shape[1::-1], rows).line_height
