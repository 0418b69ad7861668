"""Find when and where something like an object was seen: every moment in a memory, the newest first.

    point of an object -> distances to all entries -> limit -> entries that touch in time -> moments

The limit comes from the memory: of pairs of entries of a class that were in sight at the same time, and so
show different things, a hundredth lies as near.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rtsearch.library.duplicates import looks_of
from rtsearch.library.hit_limit import SAMPLE, hit_limit
from rtsearch.memory.entry import PathPoint, path_in
from rtsearch.memory.open_rows import OpenRows
from rtsearch.memory.recall import Part, Recollection
from rtsearch.types import F32Array, I32Array, class_name

__all__ = ["SeenMoment", "Sightings", "find_sightings"]

_NEXT = 8  # entries after one, in the order of their times, that are looked at for one in sight with it
_BEYOND = 5  # entries that are named where none lies within the limit
_MERGED_NS = 2_000_000_000  # entries of a source that are no farther apart are one moment


@dataclass(frozen=True, slots=True)
class SeenMoment:
    """Time in which something like the object was seen by a source.

    Attributes:
        name: entry that is the most similar.
        row: its number in the recollection.
        source, label: of that entry.
        xyxy: its box, px of the frame.
        t_s: time of its crop in the source, s.
        from_ns, to_ns: first and last seen by the wall clock, nanoseconds since 1970.
        distance: of that entry.
        entries: that are merged.
        path: of its box.
    """

    name: str
    row: int
    source: str
    label: str
    xyxy: tuple[float, ...]
    t_s: float
    from_ns: int
    to_ns: int
    distance: float
    entries: int
    path: tuple[PathPoint, ...]


class Sightings(NamedTuple):
    """Moments, the newest first.

    Attributes:
        limit: largest distance of a hit.
        pairs: number of pairs that the limit was taken from; 0 where there are too few of the class.
        moments: the hits.
        beyond: where there is none, moments of the nearest entries, which lie farther, the nearest first.
    """

    limit: float
    pairs: int
    moments: tuple[SeenMoment, ...]
    beyond: tuple[SeenMoment, ...]


class _Columns(NamedTuple):
    """All entries of a recollection that are not removed."""

    row: I32Array
    label: I32Array
    visit: I32Array
    seen_ns: NDArray[np.int64]
    points: F32Array


def find_sightings(recall: Recollection, point: F32Array, label: int) -> Sightings:
    """Find the moments in which something like an object was seen.

    Args:
        recall: the memory.
        point: (dim,) the object, projected.
        label: its class, whose entries the limit is taken from.
    """
    every = _columns(recall)
    limit, pairs = _limit(recall, every, label)
    distance = np.linalg.norm(every.points - point, axis=1)
    near = np.flatnonzero(distance <= limit)
    if len(near):
        return Sightings(limit, pairs, _moments(recall, every, distance, near), ())
    nearest = np.argsort(distance, kind="stable")[:_BEYOND]
    beyond = sorted(_moments(recall, every, distance, nearest), key=lambda moment: moment.distance)
    return Sightings(limit, pairs, (), tuple(beyond))


def _moments(
    recall: Recollection, every: _Columns, distance: F32Array, near: NDArray[np.int64]
) -> tuple[SeenMoment, ...]:
    """Return the moments of some entries, the newest first."""
    facts = recall.hits(every.row[near])
    places = [
        (fact["photo"].partition("/")[0], *fact["seen_ns"], i)
        for fact, i in zip(facts, near.tolist(), strict=True)
    ]
    groups = _merged(sorted(places))
    moments = [_moment(recall, every, distance, group) for group in groups]
    return tuple(sorted(moments, key=lambda moment: -moment.to_ns))


def _columns(recall: Recollection) -> _Columns:
    row, label, visit, seen_ns, points = [], [], [], [], []
    for part, numbers in recall.numbered():
        own = _alive(part)
        row.append(numbers(own))
        label.append(part.rows.columns["label"][own])
        visit.append(part.rows.columns["visit"][own])
        seen_ns.append(part.rows.columns["seen_ns"][own])
        points.append(part.points(own))
    dim = recall.projection.dim
    return _Columns(
        np.concatenate([np.zeros(0, np.int32), *row]),
        np.concatenate([np.zeros(0, np.int32), *label]),
        np.concatenate([np.zeros(0, np.int32), *visit]),
        np.concatenate([np.zeros((0, 2), np.int64), *seen_ns]),
        np.concatenate([np.zeros((0, dim), np.float32), *points]),
    )


def _alive(part: Part) -> I32Array:
    if isinstance(part, OpenRows):
        return np.arange(len(part), dtype=np.int32)
    return np.flatnonzero(part.alive()).astype(np.int32)


def _limit(recall: Recollection, every: _Columns, label: int) -> tuple[float, int]:
    """Return the limit, and the number of pairs that it comes from; 0 where there are too few."""
    unlike = _unlike_pairs(every, np.flatnonzero(every.label == label))

    def looks() -> F32Array:
        some = np.random.default_rng(0).choice(len(every.row), min(len(every.row), SAMPLE), replace=False)
        return looks_of(every.points[some], recall.projection.looks)

    return hit_limit(unlike, looks)


def _unlike_pairs(every: _Columns, places: NDArray[np.intp]) -> F32Array:
    """Return the distances of pairs of entries of different tracks that were in sight at the same time."""
    places = places[np.argsort(every.seen_ns[places, 0], kind="stable")]
    found = [np.zeros(0, np.float32)]
    for step in range(1, _NEXT + 1):
        a, b = places[:-step], places[step:]
        together = every.seen_ns[a, 1] >= every.seen_ns[b, 0]
        unlike = together & (every.visit[a] != every.visit[b])
        found.append(np.linalg.norm(every.points[a[unlike]] - every.points[b[unlike]], axis=1))
    return np.concatenate(found)


def _merged(places: list[tuple[str, int, int, int]]) -> list[list[int]]:
    """Return the places of entries that touch in time, from (source, first, last, place) in order."""
    groups: list[list[int]] = []
    source, until_ns = "", 0
    for own, first_ns, last_ns, place in places:
        if not groups or own != source or first_ns > until_ns + _MERGED_NS:
            groups.append([])
            source, until_ns = own, last_ns
        groups[-1].append(place)
        until_ns = max(until_ns, last_ns)
    return groups


def _moment(recall: Recollection, every: _Columns, distance: F32Array, group: list[int]) -> SeenMoment:
    best = min(group, key=lambda place: float(distance[place]))
    row = int(every.row[best])
    fact: dict[str, Any] = recall.hits(every.row[best : best + 1])[0]
    return SeenMoment(
        name=fact["photo"],
        row=row,
        source=fact["photo"].partition("/")[0],
        label=class_name(recall.memory.space.class_names, int(every.label[best])),
        xyxy=tuple(round(side, 1) for side in fact["xyxy"]),
        t_s=fact["t_s"],
        from_ns=int(every.seen_ns[group, 0].min()),
        to_ns=int(every.seen_ns[group, 1].max()),
        distance=round(float(distance[best]), 5),
        entries=len(group),
        path=tuple(path_in(recall.jpeg(row) or b"")),
    )
