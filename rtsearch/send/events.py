"""Find what is new, has changed and has ended between scenes.

Receivers of signals drown in updates, so a track has at most one a second, and only where it has changed:
another nearest photo, another label, or a box that has moved by more than 2 % of the frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from rtsearch.recording import EventKind, event_record
from rtsearch.send.scene import SentScene
from rtsearch.types import F32Array

__all__ = ["EventFinder"]

_UPDATE_S = 1.0  # least time between two events of a track
_MOVED = 0.02  # share of the frame


@dataclass(slots=True)
class _Told:
    """Object as its last event told it."""

    at_s: float
    label: int
    row: int
    share: F32Array
    item: dict[str, Any]


class EventFinder:
    """Finder of the events of tracks; belongs to one outlet.

    An object that is missed for a moment goes on as it was.
    """

    def __init__(self) -> None:
        self._told: dict[int, _Told] = {}

    def events(self, scene: SentScene) -> Iterator[dict[str, Any]]:
        """Yield the events of a scene; one counts as told when the next is asked for.

        So an event whose sending fails is found again in the next scene.
        """
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        alive = set(scene.tracks)
        for track in [track for track in self._told if track not in alive]:
            yield event_record("end", time, scene.head, self._told[track].item)
            del self._told[track]
        for i, track in enumerate(scene.tracks):
            kind = self._kind(scene, i, self._told.get(track))
            if kind is None:
                continue
            item = scene.item(i)
            yield event_record(kind, time, scene.head, item)
            label, row = int(scene.detections.label[i]), _row(scene, i)
            self._told[track] = _Told(scene.at_s, label, row, scene.shares[i], item)

    def _kind(self, scene: SentScene, i: int, told: _Told | None) -> EventKind | None:
        if told is None:
            return "new"
        if i >= scene.seen or scene.at_s - told.at_s < _UPDATE_S:
            return None
        same = told.label == scene.detections.label[i] and told.row == _row(scene, i)
        if same and np.abs(scene.shares[i] - told.share).max() <= _MOVED:
            return None
        return "update"


def _row(scene: SentScene, i: int) -> int:
    """Return the row of the first neighbour of an object; -1 for none."""
    rows = scene.neighbours.row[i]
    return int(rows[0]) if len(rows) else -1
