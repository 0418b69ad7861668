"""The picture of a run: scenes put together, moved along where detection is behind, and drawn."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from rtsearch.config import ShowSettings
from rtsearch.live.steady import Steadied
from rtsearch.records import Frame, Scene, U8Array
from rtsearch.render import Painter, lay_out
from rtsearch.thumbs import ThumbCache

__all__ = ["Crops", "Easel", "moved", "visible_strips"]

Crops = tuple[tuple[U8Array | None, ...], ...]

_NOTES_S = 0.5  # figures that change with every frame cannot be read
_FAINT_AFTER = 5  # frames; most misses are shorter, and a label that flickers draws the eye
_MANY = 1000


class Easel:
    """Draws what the stages found; belongs to the main thread.

    Args:
        class_names: by label.
        cache: crops that are there, or come later.
        show: the layout as it is now.
        notes: lines about the run.
        paused: are single pictures looked at? Then the notes are those of each.
    """

    def __init__(
        self,
        class_names: tuple[str, ...],
        cache: ThumbCache,
        show: Callable[[], ShowSettings],
        notes: Callable[[], tuple[str, ...]],
        paused: Callable[[], bool] = lambda: False,
    ) -> None:
        self._names = class_names
        self._cache = cache
        self._show = show
        self._describe = notes
        self._paused = paused
        self._held_since: dict[int, int] = {}  # track: first frame that missed it
        self._painter = Painter()
        self._notes: tuple[str, ...] = ()
        self._notes_s = -_NOTES_S
        self._drawn: tuple[Scene, object] | None = None

    def scene(self, frame: Frame, objects: Steadied, crops: Crops | None) -> Scene:
        """What is shown of a frame.

        Args:
            frame: the picture.
            objects: found in it, or moved to it.
            crops: of all neighbours; None takes those that the cache holds by now.
        """
        height = self._show().thumb_height
        found = objects.detections
        return Scene(
            frame=frame,
            detections=found,
            names=tuple(
                self._names[label] if label >= 0 else "whole image" for label in found.label.tolist()
            ),
            neighbours=objects.neighbours,
            thumb_height=height,
            thumbs=self._cached(objects, height) if crops is None else crops,
            strips=objects.strips,
            held=objects.held,
            faint=self._faint(frame.id, objects),
        )

    def draw(self, scene: Scene, warning: str = "") -> tuple[Scene, U8Array]:
        """The scene with its notes, and its picture, which is valid until the next call."""
        scene = replace(scene, notes=(*self._fresh_notes(), *([warning] if warning else [])))
        show = self._show()
        self._drawn = scene, show
        return scene, self._painter.paint(scene, show.window_wh, show.header_height)

    def better(self, objects: Steadied, *, news: bool = False) -> Scene | None:
        """The scene drawn last, if it can be drawn better now: crops have come, or the layout has changed.

        Args:
            objects: of that scene.
            news: there is something that its notes must tell.
        """
        if self._drawn is None:
            return None
        scene, show = self._drawn
        if news:
            self._notes_s = -math.inf
            return scene
        if not any(crop is None for crops in scene.thumbs for crop in crops):
            return None if show == self._show() else scene
        crops = self._cached(objects, scene.thumb_height)
        came = any(
            new is not old
            for new_row, old_row in zip(crops, scene.thumbs, strict=True)
            for new, old in zip(new_row, old_row, strict=True)
        )
        return replace(scene, thumbs=crops) if came else None

    def _faint(self, frame: int, objects: Steadied) -> frozenset[int]:
        """Places of what is held for so long that it must not look as if it were in sight."""
        track = {i: int(objects.detections.track[i]) for i in objects.held}
        self._held_since = {t: self._held_since.get(t, frame) for t in track.values()}
        return frozenset(i for i, t in track.items() if frame - self._held_since[t] >= _FAINT_AFTER)

    def _cached(self, objects: Steadied, height_px: int) -> Crops:
        return tuple(
            tuple(self._cache.peek(row, height_px) for row in rows if row >= 0)
            for rows in objects.neighbours.row.tolist()
        )

    def _fresh_notes(self) -> tuple[str, ...]:
        now_s = time.monotonic()
        if self._paused() or now_s - self._notes_s >= _NOTES_S:
            self._notes, self._notes_s = self._describe(), now_s
        return self._notes


def moved(objects: Steadied, updates: float, frame: Frame) -> Steadied:
    """The objects where they will be so many updates later, within another frame."""
    height, width = frame.bgr.shape[:2]
    limits = np.array([width, height, width, height], np.float32)
    xyxy = np.clip(objects.detections.xyxy + np.float32(updates) * objects.step, 0, limits)
    return replace(objects, detections=replace(objects.detections, xyxy=xyxy.astype(np.float32)))


def visible_strips(show: ShowSettings) -> int:
    """Strips that fit into the picture."""
    return len(lay_out(show.window_wh, show.header_height, show.thumb_height, _MANY).strip_tops)
