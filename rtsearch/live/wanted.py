"""Protocols of what the stabilizer needs: the room of a picture, and an index."""

from __future__ import annotations

from typing import Protocol

from rtsearch.live.neighbour_hysteresis import Room
from rtsearch.types import Detections, F32Array, I32Array, Neighbours

__all__ = ["Searched", "Wanted"]


class Wanted(Protocol):
    """Grid and crops that a picture has room for."""

    @property
    def grid(self) -> tuple[int, int]:
        """Return the least and the largest number of strips."""
        ...

    @property
    def most_crops(self) -> int:
        """Return the largest number of crops of an object."""
        ...

    @property
    def stays_s(self) -> float:
        """Return the least time for which an object keeps its strip, s."""
        ...

    @property
    def still(self) -> int:
        """Return the number of strips up to which nothing else has another place."""
        ...

    def importance(self, found: Detections) -> F32Array:
        """Return the importance of n objects, (n,); a clearly more important one takes another's strip."""
        ...

    def ground(self, found: Detections) -> F32Array:
        """Return what is left of the importance of n objects that are the ground of others, (n,)."""
        ...

    def room(self, grid: int, lines: int, most_distance: float) -> Room:
        """Return the room of a strip of so many lines in a grid of so many strips."""
        ...


class Searched(Protocol):
    """Part of an index that is needed here."""

    def near(self, points: F32Array, k: int, /, *, exact: bool, recall: float) -> Neighbours:
        """Return the k nearest rows of each of (n, dim) points."""
        ...

    def points(self, rows: I32Array, /) -> F32Array:
        """Return the points of rows, (n, dim)."""
        ...

    def photos_of(self, rows: I32Array, /) -> I32Array:
        """Return the number of each row's photo, (n,)."""
        ...

    def shapes(self, rows: I32Array, /) -> F32Array:
        """Return the aspect ratio of each row's crop, (n,)."""
        ...
