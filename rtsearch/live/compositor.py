"""The picture of a run: scenes put together, moved along where detection is behind, and drawn."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from rtsearch.config import ShowSettings
from rtsearch.library.thumbnails import ThumbCache
from rtsearch.live.stabilizer import Steadied
from rtsearch.render.layout import canvas_of, lay_out
from rtsearch.render.painter import Painter
from rtsearch.types import Frame, Neighbours, Scene, Trace, U8Array

__all__ = ["Crops", "Easel", "crop_height", "moved"]

Crops = tuple[tuple[U8Array | None, ...], ...]

_NOTES_S = 0.5  # figures that change with every frame cannot be read; also by the time that frames are at
_FAINT_AFTER = 5  # frames; 93 % of misses are no longer, and a box or a label that flickers draws the eye


class Easel:
    """Draws what the stages found; belongs to the main thread.

    Args:
        class_names: by label.
        cache: crops that are there, or come later.
        show: the layout as it is now, and the strip that is to stand on top.
        notes: lines about the run.
        paused: are single pictures looked at? Then the notes are those of each.

    Attributes:
        last_first: highest strip that may stand on top of the picture drawn last.
    """

    def __init__(
        self,
        class_names: tuple[str, ...],
        cache: ThumbCache,
        show: Callable[[], tuple[ShowSettings, int]],
        notes: Callable[[], tuple[str, ...]],
        paused: Callable[[], bool] = lambda: False,
    ) -> None:
        self.last_first = 0
        self._names = class_names
        self._cache = cache
        self._show = show
        self._describe = notes
        self._paused = paused
        self._painter = Painter()
        self._notes: tuple[str, ...] = ()
        self._notes_s = -_NOTES_S  # when they were made, by the clock
        self._notes_at_s = 0.0  # and at which time of the source
        self._drawn: tuple[Scene, object] | None = None
        self._crops: dict[int, U8Array | None] = {}  # by row, of the last scene
        self._traces: dict[int, tuple[int, Trace]] = {}  # by strip: the track that had it last

    def scene(self, frame: Frame, objects: Steadied, crops: Crops | None) -> Scene:
        """What is shown of a frame.

        Args:
            frame: the picture.
            objects: found in it, or moved to it.
            crops: of all neighbours; None takes those that the cache holds by now.
        """
        height = crop_height(self._show()[0], frame, objects.rows)
        found = objects.detections
        names = tuple(self._names[label] if label >= 0 else "whole image" for label in found.label.tolist())
        crops = self._cached(objects.neighbours, height) if crops is None else crops
        return Scene(
            frame=frame,
            detections=found,
            names=names,
            neighbours=objects.neighbours,
            thumb_height=height,
            thumbs=crops,
            strips=objects.strips,
            held=objects.held,
            faint=frozenset(i for i, frames in enumerate(objects.missed) if frames > _FAINT_AFTER),
            rows=objects.rows,
            traces=self._traces_beside(objects, names, crops),
        )

    def draw(self, scene: Scene, warning: str = "") -> tuple[Scene, U8Array]:
        """The scene with its notes, and its picture, which is valid until the next call."""
        show, first = self._show()
        canvas = canvas_of(show)
        self.last_first = max(0, scene.rows - canvas.most_strips)
        notes = (*self._fresh_notes(scene.frame.at_s), *([warning] if warning else []))
        scene = replace(scene, notes=notes, first=min(first, self.last_first))
        self._drawn = scene, (show, first)
        return scene, self._painter.paint(scene, canvas)

    def better(self, *, news: bool = False) -> Scene | None:
        """Return the scene drawn last if it can be drawn better: crops have come, or the layout has changed.

        The objects are those of the scene itself: a result that came later than the drawn frame has others.

        Args:
            news: there is something that its notes must tell.
        """
        if self._drawn is None:
            return None
        scene, show = self._drawn
        if news:
            self._notes_s = -math.inf
            return scene
        height, changed = scene.thumb_height, show != self._show()
        if all(crop is not None and len(crop) == height for crops in scene.thumbs for crop in crops):
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

    def _traces_beside(self, objects: Steadied, names: tuple[str, ...], crops: Crops) -> tuple[Trace, ...]:
        """What was shown last in strips that nobody has, as long as there is room for them."""
        tracks = objects.detections.track.tolist()
        for track, strip, name, thumbs in zip(tracks, objects.strips, names, crops, strict=True):
            self._traces[strip] = track, Trace(strip, name, thumbs)
        alive, taken = set(tracks), set(objects.strips)
        self._traces = {
            strip: (track, trace)
            for strip, (track, trace) in self._traces.items()
            if strip in taken or (strip < objects.rows and track not in alive)
        }
        return tuple(trace for strip, (_, trace) in self._traces.items() if strip not in taken)

    def _fresh_notes(self, at_s: float) -> tuple[str, ...]:
        now_s = time.monotonic()
        gone_s = max(now_s - self._notes_s, abs(at_s - self._notes_at_s))
        if self._paused() or gone_s >= _NOTES_S:
            self._notes, self._notes_s, self._notes_at_s = self._describe(), now_s, at_s
        return self._notes


def moved(objects: Steadied, updates: float, frame: Frame) -> Steadied:
    """The objects where they will be so many updates later, within another frame."""
    height, width = frame.bgr.shape[:2]
    limits = np.array([width, height, width, height], np.float32)
    xyxy = np.clip(objects.detections.xyxy + np.float32(updates) * objects.step, 0, limits)
    return replace(objects, detections=replace(objects.detections, xyxy=xyxy.astype(np.float32)))


def crop_height(show: ShowSettings, frame: Frame, rows: int) -> int:
    """Height of the crops in a picture that keeps room for so many strips, px."""
    return lay_out(canvas_of(show), frame.bgr.shape[1::-1], rows).thumb_height
