"""Objects that are followed, with their crops, and the tables that are made of several of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rtsearch.live.neighbour_hysteresis import Shown
from rtsearch.types import Detections, Neighbours

__all__ = ["Lost", "Tracked", "freshest", "joined", "neighbour_table"]


@dataclass(slots=True)
class Tracked:
    """Track with its neighbours, and its object as it was last seen, after so many frames that show it."""

    shown: Shown
    seen: Detections
    seen_s: float
    frames: int

    @property
    def label(self) -> int:
        """Return the class of the object."""
        return int(self.seen.label[0])


@dataclass(slots=True)
class Lost:
    """Object that was lost, which may come back: its neighbours, its strip, and when it was lost."""

    shown: Shown
    strip: int
    lost_s: float


def freshest(held: list[tuple[int, Detections]], room: int) -> list[tuple[int, Detections]]:
    """Return those that were missed for the fewest frames, at most ``room``, in their order."""
    first = sorted(range(len(held)), key=lambda i: held[i][0])[: max(0, room)]
    return [held[i] for i in sorted(first)]


def joined(parts: list[Detections]) -> Detections:
    if len(parts) == 1:
        return parts[0]
    return Detections(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("xyxy", "score", "label", "vector", "track")
        )
    )


def neighbour_table(near: list[Shown]) -> Neighbours:
    """Return the rows of several objects, filled up with -1."""
    row = np.full((len(near), max((len(shown.row) for shown in near), default=0)), -1, np.int32)
    distance = np.full(row.shape, np.inf, np.float32)
    for i, shown in enumerate(near):
        row[i, : len(shown.row)], distance[i, : len(shown.row)] = shown.row, shown.distance
    return Neighbours(row, distance)
