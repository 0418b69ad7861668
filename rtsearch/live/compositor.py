"""The picture of a run: scenes put together, moved along where detection is behind, and drawn."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from rtsearch.config import ShowSettings
from rtsearch.library.thumbnails import ThumbCache
from rtsearch.live.live_frame import Crops
from rtsearch.live.stabilizer import Steadied
from rtsearch.render.layout import canvas_of, lay_out
from rtsearch.render.painter import Painter
from rtsearch.types import Frame, GoneStrip, Neighbours, Scene, U8Array, class_name

__all__ = ["Appearance", "Compositor", "Drawn", "crop_height", "moved"]

_FAINT_AFTER = 5  # frames; 93 % of misses are no longer, and a box or a label that flickers draws the eye


@dataclass(frozen=True, slots=True)
class Appearance:
    """Layout, notes and state that a scene is drawn with.

    Attributes:
        show: the layout.
        first: strip that is to stand on top.
        notes: lines beside the frame.
        lost: the source gives no pictures at the moment.
        controls_wh: room at the upper right that controls stand on, px.
    """

    show: ShowSettings
    first: int = 0
    notes: tuple[str, ...] = ()
    lost: bool = False
    controls_wh: tuple[int, int] = (0, 0)


class Drawn(NamedTuple):
    """A picture, (H, W, 3) uint8 BGR and valid until the next one is drawn, of a scene with its notes.

    ``last_first`` is the highest strip that may stand on top of it.
    """

    scene: Scene
    picture: U8Array
    last_first: int


class Compositor:
    """Puts scenes together and draws them; belongs to the main thread.

    Args:
        class_names: by label.
        cache: crops that are there, or come later.
    """

    def __init__(self, class_names: tuple[str, ...], cache: ThumbCache) -> None:
        self._names = class_names
        self._cache = cache
        self._painter = Painter()
        self._drawn: tuple[Scene, Appearance] | None = None
        self._crops: dict[int, U8Array | None] = {}  # by row, of the last scene
        self._gone: dict[int, tuple[int, GoneStrip]] = {}  # by strip: the track that had it last

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
        names = tuple(class_name(self._names, label) for label in found.label.tolist())
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
            gone=self._gone_beside(objects, names, crops),
        )

    def draw(self, scene: Scene, look: Appearance) -> Drawn:
        """Draw a scene with the notes of its look."""
        canvas = replace(canvas_of(look.show), controls_wh=look.controls_wh)
        last_first = max(0, scene.rows - canvas.most_strips)
        first = min(look.first, last_first)
        scene = replace(scene, notes=look.notes, first=first, lost=look.lost)
        self._drawn = scene, look
        return Drawn(scene, self._painter.paint(scene, canvas), last_first)

    def better(self, look: Appearance) -> Scene | None:
        """Return the scene drawn last if it can be drawn better: crops have come, or its look has changed.

        The objects are those of the scene itself: a result that came later than the drawn frame has others.

        Args:
            look: as it is now; its notes do not matter.
        """
        if self._drawn is None:
            return None
        scene, then = self._drawn
        changed = replace(then, notes=()) != replace(look, notes=())
        height = scene.thumb_height
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

    def _gone_beside(self, objects: Steadied, names: tuple[str, ...], crops: Crops) -> tuple[GoneStrip, ...]:
        """Return what was shown last in strips that nobody has, as long as there is room for them."""
        tracks = objects.detections.track.tolist()
        for track, strip, name, thumbs in zip(tracks, objects.strips, names, crops, strict=True):
            self._gone[strip] = track, GoneStrip(strip, name, thumbs)
        alive, taken = set(tracks), set(objects.strips)
        self._gone = {
            strip: (track, gone)
            for strip, (track, gone) in self._gone.items()
            if strip in taken or (strip < objects.rows and track not in alive)
        }
        return tuple(gone for strip, (_, gone) in self._gone.items() if strip not in taken)


def moved(objects: Steadied, updates: float, frame: Frame) -> Steadied:
    """Return the objects where they will be so many updates later, within another frame."""
    height, width = frame.bgr.shape[:2]
    limits = np.array([width, height, width, height], np.float32)
    xyxy = np.clip(objects.detections.xyxy + np.float32(updates) * objects.step, 0, limits)
    return replace(objects, detections=replace(objects.detections, xyxy=xyxy.astype(np.float32)))


def crop_height(show: ShowSettings, frame: Frame, rows: int) -> int:
    """Return the height of the crops in a picture that keeps room for so many strips, px."""
    return lay_out(canvas_of(show), frame.bgr.shape[1::-1], rows).thumb_height
