"""The record that the stages hand over, and the value that several threads share.

captured: place, epoch, frame -> detected: detections -> searched: objects, own, crops, every, behind
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

import numpy as np

from rtsearch.library.index import SearchIndex
from rtsearch.live.stabilizer import Steadied
from rtsearch.live.walk import Walked
from rtsearch.types import Detections, F32Array, Frame, Neighbours, U8Array

__all__ = ["Crops", "Latest", "LiveFrame"]

T = TypeVar("T")

Crops: TypeAlias = tuple[tuple[U8Array | None, ...], ...]

_NO_BOXES = np.zeros((0, 4), np.float32)
_NOTHING = Detections(_NO_BOXES, np.zeros(0, np.float32), np.zeros(0, np.int32), np.zeros((0, 0), np.float32))
_NO_NEIGHBOURS = Neighbours(np.zeros((0, 0), np.int32), np.zeros((0, 0), np.float32))
_NO_WALK = Walked()
_NO_OBJECTS = Steadied(_NOTHING, _NO_NEIGHBOURS, (), (), _NO_BOXES, 0)


@dataclass(frozen=True, slots=True)
class LiveFrame:
    """One frame on its way through the stages; each stage hands on a copy that knows more.

    Attributes:
        place: number of its source.
        epoch: places that the user had gone to in the source before this frame was read; frames of another
            epoch than the one shown are left out.
        frame: the picture.
        mirrored: left and right were changed.
        detections: objects of the frame, with track numbers once they are searched.
        described: (n, D) float32, their whole descriptions where they are remembered; None elsewhere.
        objects: these and the held ones, with strips and neighbours, as they are shown.
        own: neighbours for records, where any are kept.
        index: is searched with the vectors of the detections; None before.
        walk: through the library, while nothing is seen.
        crops: of all neighbours; None where they are fetched beside the drawing.
        every: frames from the last one that was detected to this one.
        behind: detection gets so few frames done that the ones between are shown too.
        asked: objects of the source so far that neighbours were wanted for.
        searched: those of them that needed a search.
    """

    place: int
    epoch: int
    frame: Frame
    mirrored: bool = False
    detections: Detections = _NOTHING
    described: F32Array | None = None
    objects: Steadied = _NO_OBJECTS
    own: Neighbours | None = None
    index: SearchIndex | None = None
    walk: Walked = _NO_WALK
    crops: Crops | None = None
    every: int = 1
    behind: bool = False
    asked: int = 0
    searched: int = 0


class Latest(Generic[T]):
    """Holds the newest value that one thread gives and others look at."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._value: T | None = None

    def put(self, value: T) -> None:
        """Replace the value."""
        with self._lock:
            self._value = value

    def peek(self) -> T | None:
        """Return the value, or None where there was none yet."""
        with self._lock:
            return self._value
