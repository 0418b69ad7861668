"""Define the record that outlets get: the objects of a frame as they are shown."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from rtsearch.recording import Hits, object_records, scene_record, shown_records
from rtsearch.types import Detections, F32Array, Neighbours

__all__ = ["SentScene"]


@dataclass(frozen=True)
class SentScene:
    """Objects of a frame as they are shown, with those that are missed for a moment.

    Attributes:
        number: number of the frame.
        t_s: time of the frame in records, s.
        at_s: value of ``time.monotonic()`` when the frame was captured.
        wh: width and height of the frame, px.
        detections: objects of the frame, then those that are missed, at their expected places; with tracks.
        neighbours: of each, in the order in which they are shown.
        strips: number of the strip of each.
        seen: number of objects of the frame.
        results: most neighbours of an object; further ones only fill its strip.
        class_names: names by label.
        library: source of photo, box and label of a row.
    """

    number: int
    t_s: float
    at_s: float
    wh: tuple[int, int]
    detections: Detections
    neighbours: Neighbours
    strips: tuple[int, ...]
    seen: int
    results: int
    class_names: tuple[str, ...]
    library: Hits

    @cached_property
    def tracks(self) -> list[int]:
        """Return the track number of each object."""
        tracks: list[int] = self.detections.track.tolist()
        return tracks

    @cached_property
    def objects(self) -> list[dict[str, Any]]:
        """Return the objects as JSON values, those that are missed too."""
        return self._objects(self.detections, self.neighbours, self.results)

    @cached_property
    def nearest(self) -> list[dict[str, Any]]:
        """Return the objects with the first of their neighbours only."""
        return self._objects(self.detections, self.neighbours, 1)

    @property
    def head(self) -> dict[str, Any]:
        """Return the frame without its objects as a JSON value; see ``recording.event_record``."""
        return scene_record(self.number, self.t_s, self.wh, ())

    def item(self, i: int) -> dict[str, Any]:
        """Return one of the objects as a JSON value."""
        near = Neighbours(self.neighbours.row[i : i + 1], self.neighbours.distance[i : i + 1])
        return self._objects(self.detections.rows([i]), near, self.results)[0]

    @cached_property
    def record(self) -> dict[str, Any]:
        """Return the scene as the line of a record; see ``recording.scene_record``."""
        names, rows = self.class_names, self.neighbours.row
        shown = shown_records(self.detections, names, self.strips, rows, self.seen)
        return scene_record(self.number, self.t_s, self.wh, self.objects[: self.seen], shown)

    @cached_property
    def shares(self) -> F32Array:
        """Return the boxes as (n, 4) float32 ``x, y, w, h``, shares of the frame from its top left."""
        size = np.array([*self.wh, *self.wh], np.float32)
        boxes: F32Array = np.clip(self.detections.xyxy / size, 0, 1)
        boxes[:, 2:] -= boxes[:, :2]
        return boxes

    def without_objects(self) -> SentScene:
        """Return the scene of a frame that shows nothing: its source is lost, or the run ends."""
        none = self.detections
        empty = Detections(none.xyxy[:0], none.score[:0], none.label[:0], none.vector[:0], none.track[:0])
        near = Neighbours(self.neighbours.row[:0], self.neighbours.distance[:0])
        return replace(self, detections=empty, neighbours=near, strips=(), seen=0)

    def _objects(self, found: Detections, near: Neighbours, most: int) -> list[dict[str, Any]]:
        first = Neighbours(near.row[:, :most], near.distance[:, :most])
        return object_records(found, self.class_names, first, self.library)
