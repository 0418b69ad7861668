"""Stabilise what is shown of objects: tracks, pooled queries, neighbours kept while near, strips.

detections -> tracks -> pooled query each -> one search for those whose neighbours may have changed
           -> grid and strips -> crops for the room of each strip

No crop is shown twice, things alike share them, and at most two a second give way to better ones. An object
that comes back soon, as its vector tells, gets its strip and its crops again.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rtsearch.config import SearchSettings
from rtsearch.errors import ServiceError
from rtsearch.images.scene_cut import SceneCutDetector
from rtsearch.live.label_votes import LabelVotes
from rtsearch.live.neighbour_hysteresis import CANDIDATES, Candidates, Room, Shown
from rtsearch.live.strip_grid import GridChoice
from rtsearch.live.tracked import Lost, Tracked, freshest, joined, neighbour_table
from rtsearch.live.tracker import STAYS_S, Strips, Tracker, Tracks, is_over
from rtsearch.live.wanted import Searched, Wanted
from rtsearch.types import WHOLE_IMAGE_LABEL, Detections, F32Array, Frame, Neighbours

__all__ = ["Stabilizer", "Steadied"]

_HELD_S = 0.5
"""Time for which a missed object is shown, s of the source; ``tracker`` limits the number of frames."""
_LEFT = 1000  # frames that an object counts as missed that keeps its strip although it is lost
_OUTRANKED = 2000  # the same of one that makes way for a more important one
_CLEARLY_MORE = 1.5  # how much more important an object is that takes another's strip
_GLIMPSE = 3  # frames from which on an object is no glimpse, for which no strip stays and none makes way
_PATIENT = 0.5  # ground of which less is left makes way at once, and waits for what lies before it
_CHANGE_S = 0.5
"""Least time from one change of a crop to the next, s of the source."""


@dataclass(frozen=True, slots=True)
class Steadied:
    """Objects of a frame, and of those missed in it, as they are shown.

    Attributes:
        detections: of the frame, then what is held; with track numbers.
        neighbours: of each, in the order in which they are shown.
        strips: of each.
        missed: frames since each was seen; 0 for those of the frame.
        step: (n, 4) float32, how far each box moves from frame to frame, px.
        rows: strips of the grid.
        each: strips of an object.
        words: of each strip, in the place of its object's class where it is not ""; () for none.
    """

    detections: Detections
    neighbours: Neighbours
    strips: tuple[int, ...]
    missed: tuple[int, ...]
    step: F32Array
    rows: int
    each: int = 1
    words: tuple[str, ...] = ()

    @property
    def held(self) -> frozenset[int]:
        """Return the places in ``detections`` of objects that the frame does not show."""
        return frozenset(i for i, frames in enumerate(self.missed) if frames)

    @property
    def once(self) -> Steadied:
        """Return the same with the first strip of each object only, as records and other programs get it."""
        if self.each == 1:
            return self
        first = [i for i, strip in enumerate(self.strips) if strip % self.each == 0]
        neighbours = Neighbours(self.neighbours.row[first], self.neighbours.distance[first])
        strips = tuple(self.strips[i] // self.each for i in first)
        missed, rows = tuple(self.missed[i] for i in first), self.rows // self.each
        return Steadied(self.detections.rows(first), neighbours, strips, missed, self.step[first], rows)

    @property
    def seen(self) -> Detections:
        """Return the objects of the frame itself."""
        return self.detections.rows([i for i, frames in enumerate(self.missed) if not frames])


class Stabilizer:
    """Follows the objects of one source and their neighbours.

    Args:
        index: is searched.
        search: how.
        most_distance: largest distance of a crop that is shown.
        repeats: a crop may be in several strips, as each object's nearest are its own.

    Attributes:
        most_distance: as given; may be changed from frame to frame.
        asked: objects that neighbours were wanted for so far.
        searched: those that needed a search.
    """

    def __init__(
        self,
        index: Searched,
        search: SearchSettings,
        most_distance: float = np.inf,
        *,
        repeats: bool = False,
    ) -> None:
        self._repeats = repeats
        self.asked = self.searched = 0
        self.most_distance = most_distance
        self._index = index
        self._search = search
        self._tracker = Tracker()
        self._labels = LabelVotes()
        self._strips = Strips()
        self._grid = GridChoice()
        self._objects: dict[int, Tracked] = {}
        self._lost: list[Lost] = []
        self._strip_of: dict[int, int] = {}  # by track
        self._in_sight: set[int] = set()  # tracks
        self._grounds: dict[int, tuple[float, float]] = {}  # by track: when, and what was left of it
        self._since_s: dict[int, float] = {}  # by track in sight: since when
        self._changed_s = -np.inf  # when a crop gave way to a better one
        self._picture = ""
        self._cuts = SceneCutDetector()

    def update(self, frame: Frame, found: Detections, wanted: Wanted, most: int | None = None) -> Steadied:
        """Take in the next frame.

        Args:
            frame: a name other than the last one's begins anew, and so does a cut.
            found: n objects; their vectors say where they lie in the searched space.
            wanted: grid and crops of the picture.
            most: objects shown at most, held ones included, a whole image not counted; None for any number.
        """
        if self._cuts.is_cut(frame.bgr) or frame.name != self._picture:
            self.begin_anew()
        if frame.name != self._picture:
            self._picture = frame.name
            self._grid.clear()
        tracks = self._tracker.update(found.xyxy, found.label == WHOLE_IMAGE_LABEL)
        found = replace(found, track=tracks.number)
        called, found = found.label, replace(found, label=self._labels.add(found))
        wishes = self._look(found, called != found.label, frame.at_s, wanted)
        held = self._held(tracks, frame)
        kept = [*found.track.tolist(), *(int(objects.track[0]) for _, objects in held)]
        for track in self._in_sight - set(kept):
            if track in self._objects and 0 <= frame.at_s - self._since_s[track] < wanted.stays_s:
                held.append((_LEFT, self._objects[track].seen))
                kept.append(track)
        self._let_go(set(kept), frame.at_s)
        self._labels.keep(set(kept))
        if most is not None:
            held = freshest(held, most - int((found.label != WHOLE_IMAGE_LABEL).sum()))
        missed = [0] * len(found) + [frames for frames, _ in held]
        shown = joined([found, *(objects for _, objects in held)])
        alive = shown.track.tolist()
        visible = self._grid.keep(len(alive), *wanted.grid, frame.at_s, wanted.still)
        ground = self._ground(shown, wanted, frame.at_s)
        importance = ground * wanted.importance(shown)
        order = np.argsort(-importance, kind="stable").tolist()
        ranked = [alive[i] for i in order]
        since = [self._missed_for(alive[i], missed[i], wanted.stays_s, frame.at_s) for i in order]
        patient = {alive[i] for i in np.flatnonzero(ground < _PATIENT)}
        outranked = self._outranked(ranked, importance[order], visible, wanted, frame.at_s, patient)
        if outranked is not None:
            since[outranked] = _OUTRANKED
        placed = self._strips.place(ranked, visible, frame.at_s, since, wishes, patient)
        self._strip_of = dict(zip(ranked, placed, strict=True))
        strips = tuple(self._strip_of[track] for track in alive)
        self._settle(found.track.tolist(), visible, wanted, frame.at_s)
        return Steadied(
            detections=shown,
            neighbours=neighbour_table([self._objects[track].shown for track in alive]),
            strips=strips,
            missed=tuple(missed),
            step=np.concatenate([tracks.step, np.zeros((len(held), 4), np.float32)]),
            rows=visible,
        )

    def search_in(self, index: Searched) -> None:
        """Search another index from now on; objects keep their tracks and lose their neighbours."""
        self._index = index
        self._lost.clear()
        for known in self._objects.values():
            known.shown.forget()

    def search_again(self) -> None:
        """Search for all objects once more: there may be more to be found. They keep their neighbours."""
        for known in self._objects.values():
            known.shown.doubt()

    def begin_anew(self) -> None:
        """Forget all objects: the next picture has nothing to do with the last."""
        self._tracker.reset()
        self._labels = LabelVotes()
        self._objects.clear()
        self._lost.clear()
        self._strip_of.clear()
        self._in_sight.clear()
        self._strips = Strips()

    def query_of(self, track: int) -> F32Array:
        """(dim,) the pooled query of a track that is alive."""
        return self._objects[track].shown.query

    def _look(
        self, found: Detections, misnamed: NDArray[np.bool_], at_s: float, wanted: Wanted
    ) -> dict[int, int]:
        """Renew the candidates of each object, with one search for all that need one.

        Args:
            found: n objects.
            misnamed: (n,), True where this frame calls it something else.
            at_s: time of the frame.
            wanted: crops of the picture.

        Returns:
            The strip that an object had, by its track, where it has come back.
        """
        due: list[Shown] = []
        queries: list[F32Array] = []
        wishes: dict[int, int] = {}
        seen = set(found.track.tolist())
        for i, (track, label) in enumerate(zip(found.track.tolist(), found.label.tolist(), strict=True)):
            point, known = found.vector[i], self._objects.get(track)
            if wanted.stays_s and track not in self._in_sight:
                known = self._go_on(track, point, label, seen, at_s) or known
            if known is not None:
                shown = known.shown
            elif (back := self._come_back(point, label, at_s)) is not None:
                shown, wishes[track] = back.shown, back.strip
            else:
                shown = Shown(found.vector.shape[1])
            frames = 1 if known is None else known.frames + 1
            self._objects[track] = Tracked(shown, found.rows([i]), at_s, frames)
            query = shown.look(point, label, wanted.most_crops, misnamed=bool(misnamed[i]))
            if query is not None:
                due.append(shown)
                queries.append(query)
        if due:
            try:
                self._renew(due, np.stack(queries), CANDIDATES * wanted.most_crops)
            except ServiceError:  # its strips stay as they are until the server answers again
                for shown in due:
                    shown.doubt()
        self.asked += len(found)
        self.searched += len(due)
        return wishes

    def _renew(self, wanted: list[Shown], queries: F32Array, k: int) -> None:
        """Search for objects, and give each its candidates."""
        index, exact, recall = self._index, self._search.exact, self._search.recall
        near = index.near(queries, k, exact=exact, recall=recall)
        for shown, rows, distance in zip(wanted, near.row, near.distance, strict=True):
            there = rows[rows >= 0]
            photo, shape = index.photos_of(there), index.shapes(there)
            shown.renew(Candidates(there, index.points(there), float(distance[-1]), photo, shape))

    def _come_back(self, point: F32Array, label: int, at_s: float) -> Lost | None:
        """Take out the lost object that a new one may be: of its class, and nearest to it."""
        self._lost = [lost for lost in self._lost if 0 <= at_s - lost.lost_s <= STAYS_S]
        like = [lost for lost in self._lost if lost.shown.is_like(point, label)]
        if not like:
            return None
        back = min(like, key=lambda lost: lost.shown.distance_to(point))
        self._lost.remove(back)
        return back

    def _go_on(self, track: int, point: F32Array, label: int, seen: Set[int], at_s: float) -> Tracked | None:
        """Let a track go on in the strip of the nearest object of its class that is lost; returns that."""
        kept = {old: self._objects[old] for old in self._in_sight - seen}
        gone = [old for old, one in kept.items() if at_s - one.seen_s > _HELD_S and one.label == label]
        if not gone:
            return None
        old = min(gone, key=lambda old: kept[old].shown.distance_to(point))
        self._in_sight = self._in_sight - {old} | {track}
        self._since_s[track] = self._since_s.pop(old)
        self._strips.hand_on(old, track)
        return self._objects.pop(old)

    def _ground(self, shown: Detections, wanted: Wanted, at_s: float) -> F32Array:
        """Return what is left of the importance of n objects, (n,); the ground of others stays it a while."""
        tracks, weights = shown.track.tolist(), wanted.ground(shown).tolist()
        now = {track: (at_s, weight) for track, weight in zip(tracks, weights, strict=True) if weight < 1}
        self._grounds = {t: was for t, was in self._grounds.items() if not is_over(was[0], at_s)} | now
        return np.array([self._grounds.get(track, (0, 1))[1] for track in tracks], np.float32)

    def _missed_for(self, track: int, frames: int, stays_s: float, at_s: float) -> int:
        """Return for how many frames a track counts as missed: for few, while its strip stays."""
        new = track not in self._in_sight or self._objects[track].frames < _GLIMPSE
        return frames if new or at_s - self._since_s[track] >= stays_s else min(frames, 1)

    def _outranked(
        self,
        ranked: list[int],
        importance: F32Array,
        visible: int,
        wanted: Wanted,
        at_s: float,
        patient: Set[int],
    ) -> int | None:
        """Return the least important object in sight if it is to make way for one out of sight."""
        hidden = [i for i, track in enumerate(ranked) if track not in self._in_sight]
        if len(ranked) - len(hidden) < visible:  # there is a strip for it
            return None
        due = [
            i
            for i, track in enumerate(ranked)
            if track in self._in_sight and (track in patient or at_s - self._since_s[track] >= wanted.stays_s)
        ]
        if due and wanted.stays_s:  # few strips, for all kinds of things
            hidden = [i for i in hidden if self._adds(ranked[i], ranked[due[-1]])]
        if not hidden or not due or importance[hidden[0]] <= _CLEARLY_MORE * importance[due[-1]]:
            return None
        return due[-1]

    def _adds(self, track: int, other: int) -> bool:
        """Tell whether a track that takes the place of another one is no glimpse, and no second of a kind."""
        label, others = self._objects[track].label, self._in_sight - {other}
        twice = label in {self._objects[one].label for one in others} and label != self._objects[other].label
        return not twice and self._objects[track].frames >= _GLIMPSE

    def _let_go(self, kept: set[int], at_s: float) -> None:
        """Remember objects that are lost for as long as they may come back."""
        for track in self._objects.keys() - kept:
            shown = self._objects.pop(track).shown
            if track in self._strip_of:
                self._lost.append(Lost(shown, self._strip_of[track], at_s))

    def _settle(self, tracks: list[int], visible: int, wanted: Wanted, at_s: float) -> None:
        """Decide which crops each object's strip shows; no other shows those of a strip that was in sight."""
        before, self._in_sight = self._in_sight, {t for t, strip in self._strip_of.items() if strip < visible}
        self._since_s = {track: self._since_s.get(track, at_s) for track in self._in_sight}
        rows = {track: set(self._objects[track].shown.row.tolist()) for track in self._in_sight & before}
        if at_s < self._changed_s:  # the source has gone back
            self._changed_s = -np.inf
        for track in sorted(tracks, key=lambda track: (track not in before, track)):
            lines = 1 + self._strips.free_below(self._strip_of[track], visible, at_s)
            room = wanted.room(visible, lines, self.most_distance)
            rows.pop(track, None)
            taken = frozenset[int]().union(*rows.values())
            due = int(at_s - self._changed_s >= _CHANGE_S)
            shown = self._objects[track].shown
            changed = shown.settle(room, taken, due) > 0
            if track in self._in_sight and not self._repeats:
                changed |= self._share(shown, room, rows)
                rows[track] = set(shown.row.tolist())
            if changed:
                self._changed_s = at_s

    def _share(self, shown: Shown, room: Room, rows: dict[int, set[int]]) -> bool:
        """Give an object half of the crops that it lacks and another one has, if it has far fewer itself.

        Args:
            shown: neighbours of the object.
            room: for its crops.
            rows: crops of the others, by track; those of the one that gives are renewed.

        Returns:
            Whether it was given any.
        """
        lacks = shown.lacks(room)
        giver = max(rows, key=lambda track: len(rows[track] & lacks), default=None)
        if giver is None or len(rows[giver] & lacks) <= max(1, 2 * len(shown.row)):
            return False
        self._objects[giver].shown.give_half(lacks)
        rows[giver] = set(self._objects[giver].shown.row.tolist())
        shown.settle(room, frozenset[int]().union(*rows.values()))
        return True

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
