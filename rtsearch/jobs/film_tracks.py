"""Objects of a film followed from sample to sample, and the few crops that stand for each of them.

    objects of a sample -> FilmTracks.update: the track of each -> finish: one to three views a track

Half a second lies between two samples, in which a walker leaves the box that he was in. So an object belongs
to the track that it overlaps where that is expected, or else to one near by that looks the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import cast

import numpy as np

from rtsearch.library import ObjectRows
from rtsearch.library.crops import crop_quality, encode_crop, surest_label
from rtsearch.perception.detector import iou
from rtsearch.types import WHOLE_IMAGE_LABEL, Detections, F32Array, U8Array

__all__ = ["FilmTracks"]

_LOST_S = 2.0  # after which an object that is seen again begins a new track
_LEAST_IOU = 0.3
_LEAST_LIKENESS = 0.93  # cosine of descriptions of one object in two samples, where boxes do not overlap
_NEAR = 1.5  # how far an object may have moved in a sample, in sides of its box
_SURE = 0.5  # confidence of an object that is seen in one sample only
_MOST_VIEWS = 3
_UNLIKE = 0.88  # cosine below which two views of a track show different things
_WORTH = 0.5  # share of the best view's quality that another one must have


@dataclass(slots=True, eq=False)
class _Seen:
    """Object in one sample; ``jpeg`` is its crop, ``quality`` how well it shows it."""

    xyxy: F32Array
    score: float
    label: int
    vector: F32Array
    t_s: float
    quality: float
    jpeg: bytes


@dataclass(slots=True, eq=False)
class _Track:
    """All that was seen of one object."""

    seen: list[_Seen] = field(default_factory=list)

    @property
    def last(self) -> _Seen:
        return self.seen[-1]

    def expected(self, t_s: float) -> F32Array:
        """Return where its box is expected, (4,) px."""
        if len(self.seen) < 2:
            return self.last.xyxy
        before = self.seen[-2]
        pace = (self.last.xyxy - before.xyxy) / max(self.last.t_s - before.t_s, 1e-3)
        return cast(F32Array, self.last.xyxy + pace * np.float32(min(t_s - self.last.t_s, 1.0)))

    def is_object(self) -> bool:
        """Tell whether it is more than a flicker of the detector."""
        return len(self.seen) > 1 or self.last.score >= _SURE


class FilmTracks:
    """Follows the objects of one part of a film.

    Args:
        thumb_px: longer side of the stored crops, px.
        first: number of the first track.
    """

    def __init__(self, thumb_px: int, first: int = 0) -> None:
        self._thumb_px = thumb_px
        self._alive: list[_Track] = []
        self._ended: list[_Track] = []
        self._first = first

    def update(self, bgr: U8Array, t_s: float, found: Detections, *, cut: bool) -> None:
        """Take in the objects of the next sample.

        Args:
            bgr: (H, W, 3) uint8.
            t_s: its time, s.
            found: its objects, described.
            cut: the sample has nothing to do with the last one.
        """
        gone = [track for track in self._alive if cut or t_s - track.last.t_s > _LOST_S]
        self._ended += gone
        self._alive = [track for track in self._alive if track not in gone]
        seen = [
            _Seen(
                found.xyxy[i],
                float(found.score[i]),
                int(found.label[i]),
                found.vector[i],
                t_s,
                crop_quality(bgr, found.xyxy[i], float(found.score[i])),
                encode_crop(bgr, found.xyxy[i], self._thumb_px),
            )
            for i in range(len(found))
        ]
        for track, one in self._matches(seen, t_s):
            track.seen.append(one)
            seen.remove(one)
        self._alive += [_Track([one]) for one in seen]

    def finish(self) -> tuple[ObjectRows, list[bytes], int]:
        """End all tracks; return their views, one JPEG for each, and the number of tracks."""
        tracks = [track for track in self._ended + self._alive if track.is_object()]
        tracks.sort(key=lambda track: track.seen[0].t_s)
        self._alive, self._ended = [], []
        rows, jpegs = [], []
        for number, track in enumerate(tracks, self._first):
            label = _label(track)
            for view, vector in _views(track):
                rows.append((view, label, vector, (view.t_s, track.seen[0].t_s, track.last.t_s), number))
                jpegs.append(view.jpeg)
        n = len(rows)
        dim = len(rows[0][2]) if rows else 0
        return (
            ObjectRows(
                np.array([view.xyxy for view, *_ in rows], np.float32).reshape(n, 4),
                np.array([label for _, label, *_ in rows], np.int32),
                np.array([view.score for view, *_ in rows], np.float32),
                np.array([label == WHOLE_IMAGE_LABEL for _, label, *_ in rows], np.bool_),
                np.array([vector for _, _, vector, *_ in rows], np.float32).reshape(n, dim),
                np.array([times for *_, times, _ in rows], np.float64).reshape(n, 3),
                np.array([number for *_, number in rows], np.int32),
            ),
            jpegs,
            len(tracks),
        )

    def _matches(self, seen: list[_Seen], t_s: float) -> list[tuple[_Track, _Seen]]:
        """Pair tracks with objects, the most likely pairs first; each comes once."""
        pairs = []
        for track in self._alive:
            expected = track.expected(t_s)
            for one in seen:
                if (one.label == WHOLE_IMAGE_LABEL) == (track.last.label == WHOLE_IMAGE_LABEL):
                    worth = _worth(track.last, one, expected)
                    if worth > 0:
                        pairs.append((worth, track, one))
        pairs.sort(key=lambda pair: -pair[0])
        matches: list[tuple[_Track, _Seen]] = []
        for _, track, one in pairs:
            if all(track is not other and one is not same for other, same in matches):
                matches.append((track, one))
        return matches


def _worth(last: _Seen, one: _Seen, expected: F32Array) -> float:
    """Return how likely two objects are the same, 0 for not at all."""
    likeness = _cosine(last.vector, one.vector)
    overlap = float(iou(one.xyxy, np.stack([expected, last.xyxy])).max())
    if overlap >= _LEAST_IOU:
        return 1 + overlap + likeness
    apart = np.abs((last.xyxy[:2] + last.xyxy[2:] - one.xyxy[:2] - one.xyxy[2:]) / 2)
    side = math.sqrt(max(float(np.prod(last.xyxy[2:] - last.xyxy[:2])), 1.0))
    near = float(apart.max()) <= _NEAR * side
    return likeness if near and likeness >= _LEAST_LIKENESS and last.label == one.label else 0.0


def _views(track: _Track) -> list[tuple[_Seen, F32Array]]:
    """Return the samples that stand for a track, each with the mean description of those most like it."""
    by_quality = sorted(track.seen, key=lambda one: -one.quality)
    views = by_quality[:1]
    for one in by_quality[1:]:
        if len(views) == _MOST_VIEWS or one.quality < _WORTH * views[0].quality:
            break
        if all(_cosine(one.vector, view.vector) < _UNLIKE for view in views):
            views.append(one)
    likeness = np.array([[_cosine(one.vector, view.vector) for view in views] for one in track.seen])
    nearest = likeness.argmax(1)
    vectors = np.stack([one.vector for one in track.seen])
    return [(view, vectors[nearest == i].mean(0, dtype=np.float32)) for i, view in enumerate(views)]


def _label(track: _Track) -> int:
    """Return the class that its samples are surest of."""
    scores: dict[int, float] = {}
    for one in track.seen:
        scores[one.label] = scores.get(one.label, 0.0) + one.score
    return surest_label(scores)


def _cosine(a: F32Array, b: F32Array) -> float:
    return float(a @ b) / max(math.sqrt(float(a @ a) * float(b @ b)), 1e-9)
