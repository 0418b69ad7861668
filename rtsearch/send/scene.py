"""Define the record that outlets get: the objects of a frame as they are shown."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from rtsearch.recording import Hits, bare_records, object_records, scene_record, shown_records
from rtsearch.types import Detections, F32Array, Neighbours, class_name

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
    def names(self) -> list[str]:
        """Return the name of each object's class."""
        return [class_name(self.class_names, label) for label in self.detections.label.tolist()]

    @property
    def head(self) -> dict[str, Any]:
        """Return the frame without its objects as a JSON value; see ``recording.event_record``."""
        return scene_record(self.number, self.t_s, self.wh, ())

    def item(self, i: int) -> dict[str, Any]:
        """Return one of the objects as a JSON value."""
        first = slice(0, self.results)
        near = Neighbours(self.neighbours.row[i : i + 1, first], self.neighbours.distance[i : i + 1, first])
        return object_records(self.detections.rows([i]), self.class_names, near, self.library)[0]

    @property
    def outline(self) -> dict[str, Any]:
        """Return the scene as the line of a record, but with None for the neighbours of each object."""
        names, rows = self.class_names, self.neighbours.row
        shown = shown_records(self.detections, names, self.strips, rows, self.seen)
        seen = bare_records(self.detections.rows(slice(self.seen)), names)
        objects = [{**item, "neighbours": None} for item in seen]
        return scene_record(self.number, self.t_s, self.wh, objects, shown)

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
