"""Objects keep their number from frame to frame, and with it their strip.

    boxes of a frame -> Tracker: numbers -> Strips: places in the picture

Boxes are matched by overlap against where a Kalman filter expects each track (norfair). Classes are not
compared: a network that calls a cup a bowl now and then sees the same object. What is missed for a moment
stays alive, with its box moved along.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtsearch.types import WHOLE_IMAGE_TRACK, F32Array, I64Array

__all__ = ["STAYS_S", "Strips", "Tracker", "Tracks", "is_over", "preload"]

_LEAST_IOU = 0.3
_MOST_MISSES = 15  # frames; half a second of a camera. A track of m frames outlives m misses, up to this.
STAYS_S = 5.0
"""A strip that falls free waits for its object for so long, by the source's own time."""
_MAKES_WAY_AFTER = 8  # frames; of those that are thrown out sooner four of five are seen again within as many
_PATIENCE_S = 2.0
"""Time for which a strip that was left is for its object alone, s of the source."""
_SAME_S = 1e-6  # times are sums of floats


@dataclass(frozen=True, slots=True)
class Tracks:
    """Tracks after one frame: those that it shows, and those that it misses.

    Attributes:
        number: (n,) int64, of each box of the frame.
        step: (n, 4) float32, how far each box moves from one update to the next, px.
        missed: (m,) int64, tracks that are alive but not in this frame.
        missed_for: (m,) int64, frames since each was seen.
        missed_xyxy: (m, 4) float32, where they are expected, px.
    """

    number: I64Array
    step: F32Array
    missed: I64Array
    missed_for: I64Array
    missed_xyxy: F32Array


class Tracker:
    """Follows the objects of one source."""

    def __init__(self) -> None:
        self._tracker: Any = None  # made when first needed: a replay needs none

    def reset(self) -> None:
        """Forget all: the next picture has nothing to do with the last."""
        self._tracker = None

    def update(self, xyxy: F32Array, whole: NDArray[np.bool_]) -> Tracks:
        """Number the boxes of the next frame.

        Args:
            xyxy: (n, 4), px.
            whole: (n,), True for the object that covers the full frame, which needs no following.
        """
        import norfair

        self._tracker = self._tracker or _new_tracker()
        number = np.full(len(xyxy), WHOLE_IMAGE_TRACK, np.int64)
        step = np.zeros((len(xyxy), 4), np.float32)
        boxes = [
            norfair.Detection(xyxy[i].astype(np.float64).reshape(2, 2), data=i)
            for i in np.flatnonzero(~whole)
        ]
        missed, frames, expected = [], [], []
        for track in self._tracker.update(boxes):
            if track.last_detection.age == track.age:
                place = track.last_detection.data
                number[place] = track.global_id
                step[place] = track.estimate_velocity.ravel()
            else:
                missed.append(track.global_id)
                frames.append(track.age - track.last_detection.age)
                expected.append(track.estimate.ravel())
        return Tracks(
            number,
            step,
            np.array(missed, np.int64),
            np.array(frames, np.int64),
            np.array(expected, np.float32).reshape(-1, 4),
        )


def preload() -> None:
    """Import what follows objects: 1.2 s, nearly all of it scipy, that only a live source needs."""
    import norfair  # noqa: F401


def _new_tracker() -> Any:
    import norfair

    # It warns of boxes that it has moved until they are inside out; such a track is about to end.
    logging.getLogger("norfair").setLevel(logging.ERROR)
    return norfair.Tracker(
        "iou", 1 - _LEAST_IOU, hit_counter_max=_MOST_MISSES, initialization_delay=0, past_detections_length=0
    )


def is_over(since_s: float, at_s: float) -> bool:
    """Return True after ``STAYS_S``; a source that has gone back leaves nothing that could be waited for."""
    return not 0 <= at_s - since_s < STAYS_S - _SAME_S


class Strips:
    """Gives each track a strip, counted from the top, that it keeps while it lives.

    A strip that falls free waits for its object while others in sight are free, then it is taken by the next
    new track, or by one that is out of sight below. Those out of sight leave no gaps: whoever scrolls down to
    them sees strips, not holes. After ``_PATIENCE_S`` the strip above may continue in a free one until its
    object comes back. A gap in sight that nobody takes for ``STAYS_S`` is closed by the lowest strip.
    """

    def __init__(self) -> None:
        self._taken: dict[int, int] = {}  # track: strip
        self._free: dict[int, float] = {}  # strip above a taken one: since when it has been free
        self._left: dict[int, float] = {}  # strip that waits for its object: since when

    def place(
        self,
        tracks: Sequence[int],
        visible: int,
        at_s: float,
        missed: Sequence[int] = (),
        wishes: Mapping[int, int] | None = None,
        patient: Set[int] = frozenset(),
    ) -> list[int]:
        """Return the strip of each track; tracks that are not named any more give theirs back.

        Args:
            tracks: numbers, the most important first.
            visible: strips that fit into the picture.
            at_s: time of the frame.
            missed: frames since each track was seen, 0 for all unless given; what is missed for long makes
                way for what would be out of sight.
            wishes: strips that some new tracks had before they were lost.
            patient: tracks that leave strips in sight to the objects that they wait for, for a while.
        """
        wishes = wishes or {}
        before = set(self._taken.values())
        self._taken = {track: self._taken[track] for track in tracks if track in self._taken}
        taken = set(self._taken.values())
        self._left |= dict.fromkeys(before - taken, at_s)
        self._left = {
            strip: left_s
            for strip, left_s in self._left.items()
            if strip not in taken and not is_over(left_s, at_s)
        }
        new = [track for track in tracks if track not in self._taken]
        hidden = sorted((t for t in tracks if self._taken.get(t, -1) >= visible), key=self._taken.__getitem__)
        for track in sorted(new, key=lambda track: track not in wishes):
            if wishes.get(track, -1) in self._left:
                self._taken[track] = wishes[track]
                del self._left[wishes[track]]
        new = [track for track in new if track not in self._taken]
        for track in hidden + new:
            free = self._first_free(visible, at_s, patient=track in patient)
            if track not in self._taken or free < visible:
                self._taken[track] = free
        for track in hidden:
            if self._taken[track] >= len(self._taken):  # there are as many gaps as such strips
                waits = track in patient
                free = self._first_free(visible if waits else 0, at_s, patient=waits)
                self._taken[track] = min(free, self._taken[track])
        self._bring_up(dict(zip(tracks, missed or [0] * len(tracks), strict=True)), visible, patient)
        self._close_gap(at_s)
        return [self._taken[track] for track in tracks]

    def hand_on(self, old: int, new: int) -> None:
        """Give the strip of a track to another one, which leaves its own."""
        self._taken[new] = self._taken.pop(old)

    def free_below(self, strip: int, visible: int, at_s: float) -> int:
        """Return how many strips in sight right below one are free, and were not left just now."""
        taken, below = {*self._taken.values(), *self._just_left(at_s)}, strip + 1
        while below < visible and below not in taken:
            below += 1
        return below - strip - 1

    def _just_left(self, at_s: float) -> set[int]:
        """Return strips that are kept free for the objects that have left them."""
        return {strip for strip, left_s in self._left.items() if at_s - left_s < _PATIENCE_S - _SAME_S}

    def _bring_up(self, missed: dict[int, int], visible: int, patient: Set[int]) -> None:
        """Let tracks that are seen take strips in sight of missed ones, of the longest missed first."""
        below = [t for t in missed if not missed[t] and self._taken[t] >= visible and t not in patient]
        above = [t for t in missed if missed[t] > _MAKES_WAY_AFTER and self._taken[t] < visible]
        above.sort(key=missed.__getitem__, reverse=True)
        for up, down in zip(below, above, strict=False):
            self._taken[up], self._taken[down] = self._taken[down], self._taken[up]

    def _close_gap(self, at_s: float) -> None:
        """Close one gap at a time: a strip that moves is looked for."""
        taken = {strip: track for track, strip in self._taken.items()}
        lowest = max(taken, default=0)
        self._free = {gap: self._free.get(gap, at_s) for gap in range(lowest) if gap not in taken}
        due = [gap for gap, since_s in self._free.items() if is_over(since_s, at_s)]
        if due:
            self._taken[taken[lowest]] = due[0]

    def _first_free(self, visible: int = 0, at_s: float = 0.0, *, patient: bool = False) -> int:
        """Return a free strip: one in sight that waits for nobody, else one in sight, else the first."""
        taken = set(self._taken.values())
        if patient:
            taken |= {strip for strip in self._just_left(at_s) if strip < visible}
        free = [strip for strip in range(max(visible, len(taken) + 1)) if strip not in taken]
        return next((strip for strip in free if strip < visible and strip not in self._left), free[0])
