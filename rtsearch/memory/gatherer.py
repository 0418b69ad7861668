"""Tracks of one source become entries: when they end, and every minute of those that stay.

    objects of a frame, with tracks -> what is known of each -> Entry: best crop, mean description, path

A crop is looked at five times a second at most, and cut out only where it is better than the best so far.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rtsearch.library.crops import crop_quality, encode_crop, surest_label
from rtsearch.memory.entry import Entry, PathPoint, with_path
from rtsearch.types import Detections, F32Array, Frame, U8Array

__all__ = ["Gatherer"]

_EACH_S = 0.2  # between two looks at a crop; the pace of a walker is slower than its box
_ENTRY_S = 60.0  # of a track that stays, for one entry
_LOST_S = 1.0  # after which a track that is not seen has ended; the tracker lets go of it sooner
_LEAST_FRAMES = 3  # of a track that is more than a flicker of the detector
_MOST_POINTS = 12  # of a path


@dataclass(slots=True)
class _Visit:
    """All that is known of a track since its last entry.

    Attributes:
        number: of the track, for ever.
        times_s: of the source, first and last.
        seen_ns: wall clock, first and last.
        frames: in which it was seen.
        looked_s: when its crop was last looked at.
        total, looks: sum of the descriptions that were looked at, and their number.
        scores: confidence by class.
        quality: of the best crop.
        every_s: time between two points of its path.
    """

    number: int
    times_s: tuple[float, float]
    seen_ns: tuple[int, int]
    total: F32Array
    frames: int = 0
    looked_s: float = -np.inf
    looks: int = 0
    scores: dict[int, float] = field(default_factory=dict)
    quality: float = -1.0
    best: tuple[float, float, F32Array, bytes] | None = None  # time, confidence, box, crop
    path: list[PathPoint] = field(default_factory=list)
    every_s: float = _EACH_S

    def walk(self, t_s: float, box: F32Array) -> None:
        """Add a point to the path, which grows coarser instead of longer."""
        if self.path and t_s - self.path[-1][0] < self.every_s:
            return
        x1, y1, x2, y2 = box.tolist()
        self.path.append((t_s, x1, y1, x2, y2))
        if len(self.path) > _MOST_POINTS:
            self.path, self.every_s = self.path[::2], 2 * self.every_s


class Gatherer:
    """Gathers the tracks of one source; belongs to the search thread.

    Args:
        source: its name, fit for a path.
        wanted: (classes,) bool, which are remembered.
        thumb_px: longer side of the crops, px.
        numbers: gives each track a number that no other one has.
    """

    def __init__(self, source: str, wanted: NDArray[np.bool_], thumb_px: int, numbers: Iterator[int]) -> None:
        self._source = source
        self._wanted = wanted
        self._thumb_px = thumb_px
        self._numbers = numbers
        self._visits: dict[int, _Visit] = {}  # by track
        self._begun_s: float | None = None
        self._last_s = -np.inf
        self._wh = (0, 0)
        self._picture = ""

    def see(self, frame: Frame, found: Detections, now_ns: int) -> list[Entry]:
        """Take in a frame; return the entries that are complete.

        Args:
            frame: whoever must not be recognised is made unrecognisable in it already.
            found: its objects with their tracks; vectors are whole descriptions.
            now_ns: wall clock at the frame, nanoseconds since 1970.
        """
        t_s = self._time(frame)
        # A film or a camera that begins again goes back in time: a track would end before it began.
        done = self.finish() if frame.name != self._picture or t_s < self._last_s else []
        self._last_s, self._picture, self._wh = t_s, frame.name, (frame.bgr.shape[1], frame.bgr.shape[0])
        kept = np.flatnonzero((found.label >= 0) & self._wanted[np.maximum(found.label, 0)])
        for i in kept.tolist():
            self._look(frame.bgr, found, i, (t_s, now_ns))
        for track, visit in list(self._visits.items()):
            if not 0 <= t_s - visit.times_s[1] <= _LOST_S:
                done += self._ended(self._visits.pop(track))
            elif visit.times_s[1] - visit.times_s[0] >= _ENTRY_S:
                done += self._ended(visit)
                self._visits[track] = _begun(visit.number, t_s, now_ns, visit.total.shape[0])
        return done

    def finish(self) -> list[Entry]:
        """End all tracks; return their entries."""
        visits, self._visits = self._visits, {}
        return [entry for visit in visits.values() for entry in self._ended(visit)]

    def _time(self, frame: Frame) -> float:
        """Return the time of a frame in its source, as records have it, s."""
        if self._begun_s is None:
            self._begun_s = frame.captured_s
        return frame.captured_s - self._begun_s if frame.pts_s is None else frame.pts_s

    def _look(self, bgr: U8Array, found: Detections, i: int, now: tuple[float, int]) -> None:
        t_s, now_ns = now
        track = int(found.track[i])
        visit = self._visits.get(track)
        if visit is None:
            visit = self._visits[track] = _begun(next(self._numbers), t_s, now_ns, found.vector.shape[1])
        visit.frames += 1
        visit.times_s, visit.seen_ns = (visit.times_s[0], t_s), (visit.seen_ns[0], now_ns)
        if t_s - visit.looked_s < _EACH_S:
            return
        box, score, label = found.xyxy[i], float(found.score[i]), int(found.label[i])
        visit.looked_s = t_s
        visit.total += found.vector[i]
        visit.looks += 1
        visit.scores[label] = visit.scores.get(label, 0.0) + score
        visit.walk(t_s, box)
        quality = crop_quality(bgr, box, score)
        if quality > visit.quality:
            visit.quality = quality
            visit.best = t_s, score, box, encode_crop(bgr, box, self._thumb_px)

    def _ended(self, visit: _Visit) -> list[Entry]:
        """Return the entry of a track; none of one that flickered."""
        if visit.best is None or visit.frames < _LEAST_FRAMES:
            return []
        t_s, score, box, jpeg = visit.best
        first_ns, last_ns = visit.seen_ns
        entry = Entry(
            source=self._source,
            visit=visit.number,
            label=surest_label(visit.scores),
            score=score,
            xyxy=box,
            vector=visit.total / np.float32(visit.looks),
            jpeg=with_path(jpeg, visit.path),
            wh=self._wh,
            times_s=(t_s, *visit.times_s),
            seen_ns=(min(first_ns, last_ns), last_ns),  # a clock may have been set back meanwhile
        )
        return [entry]


def _begun(number: int, t_s: float, now_ns: int, dim: int) -> _Visit:
    return _Visit(number, (t_s, t_s), (now_ns, now_ns), np.zeros(dim, np.float32))
