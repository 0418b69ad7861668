"""A strip of its own for what is remembered of each object, below that of the library.

    objects with their strips -> each gets a second one: entries of the memory, kept while they are near

The grid has twice as many strips, so half as many objects have theirs in sight.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from rtsearch.config import SearchSettings
from rtsearch.live.neighbour_hysteresis import CANDIDATES, Candidates, Room, Shown
from rtsearch.live.stabilizer import Steadied
from rtsearch.live.wanted import Wanted
from rtsearch.memory.mixed_index import MixedIndex
from rtsearch.types import Detections, F32Array, Neighbours

__all__ = ["HalfOfTheStrips", "SeenBefore"]

_NO_BOX = 1000  # frames missed; the box of such an object is not drawn, for it is drawn already


@dataclass(frozen=True, slots=True)
class HalfOfTheStrips:
    """Room of a picture in which every object has two strips.

    Attributes:
        whole: the room of the picture.
    """

    whole: Wanted

    @property
    def grid(self) -> tuple[int, int]:
        """Return the least and the largest number of strips for the library's crops."""
        least, most = self.whole.grid
        return max(1, least // 2), max(1, most // 2)

    @property
    def most_crops(self) -> int:
        """Return the largest number of crops of an object."""
        return self.whole.most_crops

    @property
    def stays_s(self) -> float:
        """Return the least time for which an object keeps its strips, s."""
        return self.whole.stays_s

    @property
    def still(self) -> int:
        """Return the number of strips for the library's crops up to which the frame keeps its place."""
        return max(1, self.whole.still // 2)

    def importance(self, found: Detections) -> F32Array:
        """Return the importance of n objects, (n,)."""
        return self.whole.importance(found)

    def ground(self, found: Detections) -> F32Array:
        """Return what is left of the importance of n objects that are the ground of others, (n,)."""
        return self.whole.ground(found)

    def room(self, grid: int, lines: int, most_distance: float) -> Room:
        """Return the room of a strip, which never goes on in the one below: that is the memory's."""
        return self.whole.room(2 * grid, 1, most_distance)


class SeenBefore:
    """Keeps the remembered neighbours of one source's objects; belongs to the search thread.

    Args:
        search: how to search.

    Attributes:
        most_distance: largest distance of a crop that is shown.
    """

    def __init__(self, search: SearchSettings) -> None:
        self.most_distance = np.inf
        self._search = search
        self._shown: dict[int, Shown] = {}  # by track
        self._index: MixedIndex | None = None

    def search_again(self) -> None:
        """Search for all objects once more: more is remembered by now."""
        for shown in self._shown.values():
            shown.doubt()

    def beside(self, objects: Steadied, index: MixedIndex, room: Wanted) -> Steadied:
        """Return the objects with a second strip each where something like them is remembered.

        Args:
            objects: with the strips of the library.
            index: whose memory is searched.
            room: of the picture.
        """
        if index is not self._index:
            self._index = index
            self._shown.clear()
        found = objects.detections
        tracks = found.track.tolist()
        self._shown = {
            track: self._shown.get(track) or Shown(found.vector.shape[1]) for track in dict.fromkeys(tracks)
        }
        self._look(objects, index, room.most_crops)
        strip = room.room(2 * objects.rows, 1, self.most_distance)
        for track in tracks:
            self._shown[track].settle(strip, changes=1)
        some = [i for i, track in enumerate(tracks) if len(self._shown[track].row)]
        return _doubled(objects, some, [self._shown[tracks[i]] for i in some], index)

    def _look(self, objects: Steadied, index: MixedIndex, most: int) -> None:
        found, wanted, queries = objects.detections, [], []
        for i, frames in enumerate(objects.missed):
            if frames:  # missed: the last vector has been looked at
                continue
            shown = self._shown[int(found.track[i])]
            query = shown.look(found.vector[i], int(found.label[i]), most)
            if query is not None:
                wanted.append(shown)
                queries.append(query)
        if not wanted:
            return
        exact, recall = self._search.exact, self._search.recall
        near = index.remembered(np.stack(queries), CANDIDATES * most, exact=exact, recall=recall)
        for shown, rows, distance in zip(wanted, near.row, near.distance, strict=True):
            there = rows[rows >= 0]
            places = index.points(there), float(distance[-1]), index.photos_of(there), index.shapes(there)
            shown.renew(Candidates(there, *places))


def _doubled(objects: Steadied, some: list[int], shown: list[Shown], index: MixedIndex) -> Steadied:
    """Return objects of which all have the strips 0, 2, 4, ... and some the one below, too."""
    found = objects.detections
    more = replace(found.rows(some), track=-1 - found.track[some])  # each strip has a number of its own
    columns = ("xyxy", "score", "label", "vector", "track")
    both = Detections(*(np.concatenate([getattr(found, name), getattr(more, name)]) for name in columns))
    lines = [*objects.neighbours.row, *(one.row for one in shown)]
    far = [*objects.neighbours.distance, *(one.distance for one in shown)]
    width = max((len(line) for line in lines), default=0)
    row = np.full((len(lines), width), -1, np.int32)
    distance = np.full(row.shape, np.inf, np.float32)
    for i, line in enumerate(lines):
        row[i, : len(line)], distance[i, : len(line)] = line, far[i]
    return replace(
        objects,
        detections=both,
        neighbours=Neighbours(row, distance),
        strips=(*(2 * strip for strip in objects.strips), *(2 * objects.strips[i] + 1 for i in some)),
        missed=(*objects.missed, *(_NO_BOX for _ in some)),
        step=np.concatenate([objects.step, objects.step[some]]),
        rows=2 * objects.rows,
        each=2,
        words=(*("" for _ in objects.strips), *(f"seen {index.time_mark(int(one.row[0]))}" for one in shown)),
    )
