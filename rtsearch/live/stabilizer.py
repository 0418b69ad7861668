"""Stabilise what is shown of objects: tracks, pooled queries, neighbours kept while near, strips.

detections -> tracks -> pooled query each -> one search for those whose neighbours may have changed -> strips
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from rtsearch.config import SearchSettings
from rtsearch.live.neighbour_hysteresis import CANDIDATES, Shown
from rtsearch.live.scene_cut import SceneCutDetector
from rtsearch.live.strips import StripReservation
from rtsearch.live.tracker import Strips, Tracker, Tracks
from rtsearch.types import WHOLE_IMAGE_LABEL, Detections, F32Array, Frame, I32Array, Neighbours

__all__ = ["Searched", "Stabilizer", "Steadied"]

_HELD_S = 0.5
"""Time for which a missed object is shown, s of the source; ``tracker`` limits the number of frames."""


class Searched(Protocol):
    """Part of an index that is needed here."""

    def near(self, points: F32Array, k: int, /, *, exact: bool, recall: float) -> Neighbours:
        """Return the k nearest rows of each of (n, dim) points."""
        ...

    def points(self, rows: I32Array, /) -> F32Array:
        """Return the points of rows, (n, dim)."""
        ...


@dataclass(frozen=True, slots=True)
class Steadied:
    """Objects of a frame, and of those missed in it, as they are shown.

    Attributes:
        detections: of the frame, then what is held; with track numbers.
        neighbours: of each, in the order in which they are shown.
        strips: of each.
        missed: frames since each was seen; 0 for those of the frame.
        step: (n, 4) float32, how far each box moves from frame to frame, px.
        rows: strips that the picture keeps room for.
    """

    detections: Detections
    neighbours: Neighbours
    strips: tuple[int, ...]
    missed: tuple[int, ...]
    step: F32Array
    rows: int

    @property
    def held(self) -> frozenset[int]:
        """Return the places in ``detections`` of objects that the frame does not show."""
        return frozenset(i for i, frames in enumerate(self.missed) if frames)

    @property
    def seen(self) -> Detections:
        """Return the objects of the frame itself."""
        return _rows(self.detections, [i for i, frames in enumerate(self.missed) if not frames])


@dataclass(slots=True)
class _Object:
    """Track with its neighbours, and its object as it was last seen."""

    shown: Shown
    seen: Detections
    seen_s: float


class Stabilizer:
    """Follows the objects of one source and their neighbours.

    Args:
        index: is searched.
        search: how.

    Attributes:
        asked: objects that neighbours were wanted for so far.
        searched: those that needed a search.
    """

    def __init__(self, index: Searched, search: SearchSettings) -> None:
        self.asked = self.searched = 0
        self._index = index
        self._search = search
        self._tracker = Tracker()
        self._strips = Strips()
        self._reservation = StripReservation()
        self._objects: dict[int, _Object] = {}
        self._picture = ""
        self._cuts = SceneCutDetector()

    def update(
        self, frame: Frame, found: Detections, results: int, visible: int, most: int | None = None
    ) -> Steadied:
        """Take in the next frame.

        Args:
            frame: a name other than the last one's begins anew, and so does a cut.
            found: n objects; their vectors say where they lie in the searched space.
            results: neighbours wanted for each.
            visible: strips that fit into the picture.
            most: objects shown at most, held ones included, a whole image not counted; None for any number.
        """
        if self._cuts.is_cut(frame.bgr) or frame.name != self._picture:
            self.begin_anew()
        if frame.name != self._picture:
            self._picture = frame.name
            self._reservation.clear()
        tracks = self._tracker.update(found.xyxy, found.label == WHOLE_IMAGE_LABEL)
        found = replace(found, track=tracks.number)
        self._look(found, frame.at_s, results)
        held = self._held(tracks, frame)
        kept = [*found.track.tolist(), *(int(objects.track[0]) for _, objects in held)]
        self._objects = {track: self._objects[track] for track in kept}
        if most is not None:
            held = _freshest(held, most - int((found.label != WHOLE_IMAGE_LABEL).sum()))
        missed = [0] * len(found) + [frames for frames, _ in held]
        shown = _joined([found, *(objects for _, objects in held)])
        alive = shown.track.tolist()
        near = [self._objects[track].shown for track in alive]
        strips = tuple(self._strips.place(alive, visible, frame.at_s, missed))
        return Steadied(
            detections=shown,
            neighbours=_table(near, results),
            strips=strips,
            missed=tuple(missed),
            step=np.concatenate([tracks.step, np.zeros((len(held), 4), np.float32)]),
            rows=self._reservation.keep(alive, strips, frame.at_s),
        )

    def search_in(self, index: Searched) -> None:
        """Search another index from now on; objects keep their tracks and lose their neighbours."""
        self._index = index
        for known in self._objects.values():
            known.shown.forget()

    def begin_anew(self) -> None:
        """Forget all objects: the next picture has nothing to do with the last."""
        self._tracker.reset()
        self._objects.clear()

    def query_of(self, track: int) -> F32Array:
        """(dim,) the pooled query of a track that is alive."""
        return self._objects[track].shown.query

    def _look(self, found: Detections, at_s: float, results: int) -> None:
        """Renew the neighbours of each object, with one search for all that need one."""
        wanted: list[Shown] = []
        queries: list[F32Array] = []
        for i, track in enumerate(found.track.tolist()):
            known = self._objects.get(track)
            shown = Shown(found.vector.shape[1]) if known is None else known.shown
            self._objects[track] = _Object(shown, _rows(found, [i]), at_s)
            query = shown.look(found.vector[i], int(found.label[i]), results)
            if query is not None:
                wanted.append(shown)
                queries.append(query)
        if wanted:
            exact, recall = self._search.exact, self._search.recall
            near = self._index.near(np.stack(queries), CANDIDATES * results, exact=exact, recall=recall)
            for shown, rows, distance in zip(wanted, near.row, near.distance, strict=True):
                there = rows[rows >= 0]
                shown.renew(there, self._index.points(there), float(distance[-1]))
        for track in found.track.tolist():
            self._objects[track].shown.settle(results)
        self.asked += len(found)
        self.searched += len(wanted)

    def _held(self, tracks: Tracks, frame: Frame) -> list[tuple[int, Detections]]:
        """Return objects that are missed: for how many frames, and with boxes moved along."""
        height, width = frame.bgr.shape[:2]
        limits = np.array([width, height, width, height], np.float32)
        boxes = np.clip(tracks.missed_xyxy, 0, limits).round(1)  # as a record's
        missed = zip(tracks.missed.tolist(), tracks.missed_for.tolist(), boxes, strict=True)
        return [
            (frames, replace(self._objects[track].seen, xyxy=box[None]))
            for track, frames, box in missed
            if track in self._objects and 0 <= frame.at_s - self._objects[track].seen_s <= _HELD_S
        ]


def _freshest(held: list[tuple[int, Detections]], room: int) -> list[tuple[int, Detections]]:
    """Return those that were missed for the fewest frames, at most ``room``, in their order."""
    first = sorted(range(len(held)), key=lambda i: held[i][0])[: max(0, room)]
    return [held[i] for i in sorted(first)]


def _rows(found: Detections, places: list[int]) -> Detections:
    return Detections(
        found.xyxy[places],
        found.score[places],
        found.label[places],
        found.vector[places],
        found.track[places],
    )


def _joined(parts: list[Detections]) -> Detections:
    if len(parts) == 1:
        return parts[0]
    return Detections(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("xyxy", "score", "label", "vector", "track")
        )
    )


def _table(near: list[Shown], results: int) -> Neighbours:
    row = np.full((len(near), results), -1, np.int32)
    distance = np.full((len(near), results), np.inf, np.float32)
    for i, shown in enumerate(near):
        # Those of a missed object are of the time when it was seen, when more may have been wanted.
        have = min(results, len(shown.row))
        row[i, :have], distance[i, :have] = shown.row[:have], shown.distance[:have]
    return Neighbours(row, distance)
