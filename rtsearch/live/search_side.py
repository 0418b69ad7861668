"""The search thread's part of a source: tracks, neighbours that stay, and the lag of detection."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from math import inf

import numpy as np

from rtsearch.config import SearchSettings
from rtsearch.errors import ServiceError
from rtsearch.library.likeness import largest_distance
from rtsearch.live.controls import ControlState
from rtsearch.live.live_frame import LiveFrame
from rtsearch.live.live_index import LiveIndex
from rtsearch.live.room import PictureRoom, WallRoom, room_of
from rtsearch.live.seen_before import HalfOfTheStrips, SeenBefore
from rtsearch.live.stabilizer import Stabilizer, Steadied
from rtsearch.live.walk import Walk, Walked
from rtsearch.live.wanted import Wanted
from rtsearch.memory.mixed_index import MixedIndex
from rtsearch.render.layout import canvas_of
from rtsearch.types import Detections, Frame, Neighbours

__all__ = ["SearchSide"]

_BEHIND = (0.15, 0.35)  # share of frames without detection below which it is not behind, above which it is
_RENEWED_S = 0.5  # least time between two searches for the same objects because there is more to be found
_MEMORY = 0.1  # weight of the newest frame in that share


class SearchSide:
    """Finds the neighbours of one source's objects; belongs to the search thread.

    Args:
        index: is searched.
        search: exactly, or with which recall.
        live: frames are left out where detection takes longer than they come.
    """

    def __init__(self, index: LiveIndex, search: SearchSettings, *, live: bool) -> None:
        self._live_index = index
        self._search = search
        self._index = index.begun
        self._findable, self._renewed_s = 0, -inf  # entries of the memory that the last searches could find
        self._stabilizer = Stabilizer(self._index, search)
        self._before = SeenBefore(search)
        self._walk = Walk(search)
        self._lag = _Lag() if live else None
        self._epoch = 0

    def search(self, detected: LiveFrame, state: ControlState, *, own: bool) -> LiveFrame:
        """Return the frame with the neighbours to be shown.

        Args:
            detected: a frame whose vectors are projected for its index.
            state: settings, laid out for the cell of the source.
            own: find the neighbours of the objects as the frame shows them too, for records.
        """
        index = self._live_index.of(state) if detected.index is None else detected.index
        if index is not self._index:
            if index.library is not self._index.library:
                self._walk = Walk(self._search)
            self._index = index
            self._stabilizer.search_in(index)
        if detected.epoch != self._epoch:
            self._epoch = detected.epoch
            self.begin_anew()
        self._look_again()
        most_distance = largest_distance(index, state.show.max_distance)
        self._stabilizer.most_distance = self._walk.most_distance = most_distance
        self._before.most_distance = most_distance
        frame, found = detected.frame, detected.detections
        room = room_of(canvas_of(state.show), frame.bgr.shape[1::-1])
        objects = self._update(frame, found, room, state)
        if self._lag is not None:
            self._lag = self._lag.after(detected)
        return replace(
            detected,
            detections=replace(found, track=objects.detections.track[: len(found)]),
            objects=objects,
            own=self._own(detected, state.show.results) if own else None,
            index=index,
            walk=self._walked(frame, room, state.show.attract_s, seen=len(objects.detections) > 0),
            every=1 if self._lag is None else self._lag.every,
            behind=self._lag is not None and self._lag.behind,
            asked=self._stabilizer.asked,
            searched=self._stabilizer.searched,
        )

    def begin_anew(self) -> None:
        """Forget all objects: the next frame has nothing to do with the last."""
        self._stabilizer.begin_anew()

    def _update(self, frame: Frame, found: Detections, room: Wanted, state: ControlState) -> Steadied:
        """Return the objects with their strips; what is remembered may have strips of its own."""
        index, most = self._index, state.detect.max_objects
        if not (isinstance(index, MixedIndex) and index.apart):
            return self._stabilizer.update(frame, found, room, most)
        objects = self._stabilizer.update(frame, found, HalfOfTheStrips(room), most)
        return self._before.beside(objects, index, room)

    def _look_again(self) -> None:
        """Search for all objects again, once a second at most, where the memory has grown."""
        memory = self._live_index.memory
        if memory is None or time.monotonic() - self._renewed_s < _RENEWED_S:
            return
        findable = memory.recall.findable
        if findable != self._findable:
            self._findable, self._renewed_s = findable, time.monotonic()
            self._stabilizer.search_again()
            self._before.search_again()

    def _walked(self, frame: Frame, room: PictureRoom, after_s: float, *, seen: bool) -> Walked:
        """Return the walk through the library that a wall shows while nothing is seen."""
        after_s = after_s if isinstance(room, WallRoom) else 0.0
        try:
            return self._walk.at(frame.at_s, self._index, after_s, seen=seen)
        except ServiceError:  # it goes on when the server answers again
            return Walked()

    def _own(self, detected: LiveFrame, results: int) -> Neighbours:
        exact, recall = self._search.exact, self._search.recall
        points = detected.detections.vector
        try:
            return self._index.near(points, results, exact=exact, recall=recall)
        except ServiceError:  # a record says that nothing is known, and the frames go on
            nothing = len(points), results
            return Neighbours(np.full(nothing, -1, np.int32), np.full(nothing, np.inf, np.float32))


@dataclass(frozen=True, slots=True)
class _Lag:
    """Lag of detection behind a live source.

    Attributes:
        last: epoch and number of the last frame that was detected.
        every: frames from the one before to that one.
        missing: share of frames without detection, lately.
        behind: it is so large that the frames between are shown too.
    """

    last: tuple[int, int] | None = None
    every: int = 1
    missing: float = 0.0
    behind: bool = False

    def after(self, item: LiveFrame) -> _Lag:
        """Return the lag after the next frame that was detected."""
        this = item.epoch, item.frame.id
        follows = self.last is not None and self.last[0] == item.epoch
        # A source that begins anew may give a number twice, or a smaller one.
        every = max(1, this[1] - self.last[1]) if follows and self.last is not None else 1
        missing = self.missing + _MEMORY * ((every - 1) / every - self.missing)
        return _Lag(this, every, missing, missing > _BEHIND[not self.behind])
