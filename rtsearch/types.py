"""Define the records that stages exchange: frozen, made of arrays, with shapes checked once.

n = 0 is valid everywhere. Boxes are ``xyxy`` in pixels of the frame: x to the right, y down, origin at the
outer corner of the top left pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "WHOLE_IMAGE_LABEL",
    "WHOLE_IMAGE_NAME",
    "WHOLE_IMAGE_TRACK",
    "Detections",
    "F32Array",
    "Frame",
    "I32Array",
    "I64Array",
    "Neighbours",
    "Outline",
    "Scene",
    "Stop",
    "U8Array",
    "class_name",
]

F32Array: TypeAlias = NDArray[np.float32]
I32Array: TypeAlias = NDArray[np.int32]
I64Array: TypeAlias = NDArray[np.int64]
U8Array: TypeAlias = NDArray[np.uint8]

WHOLE_IMAGE_LABEL = -1
"""Label of the object that covers the full frame."""
WHOLE_IMAGE_NAME = "whole image"
"""Class name of the object that covers the full frame."""
WHOLE_IMAGE_TRACK = 0
"""Track number of the object that covers the full frame; the other tracks start at 1."""


def class_name(class_names: Sequence[str], label: int) -> str:
    """Return the class name of a label, ``whole image`` for WHOLE_IMAGE_LABEL."""
    return WHOLE_IMAGE_NAME if label == WHOLE_IMAGE_LABEL else class_names[label]


def _expect(name: str, array: NDArray[np.generic], shape: tuple[int | None, ...], dtype: type) -> None:
    fits = array.ndim == len(shape) and all(
        e is None or e == s for e, s in zip(shape, array.shape, strict=False)
    )
    if not fits or array.dtype != dtype:
        wanted = tuple("any" if e is None else e for e in shape)
        raise ValueError(f"{name}: expected {np.dtype(dtype)} {wanted}, got {array.dtype} {array.shape}")


@dataclass(frozen=True, slots=True)
class Frame:
    """Picture of a source.

    Attributes:
        id: number of the frame within the source, from 0; dropped frames leave gaps.
        captured_s: value of ``time.monotonic()`` when the picture was complete in memory.
        pts_s: presentation time in the file, or None for a live source.
        bgr: (H, W, 3) uint8.
        name: name of the picture (the path of a photo), or "".
        torn: parts of the picture are missing or wrong, as the stream is damaged.
    """

    id: int
    captured_s: float
    pts_s: float | None
    bgr: U8Array
    name: str = ""
    torn: bool = False

    def __post_init__(self) -> None:
        _expect("Frame.bgr", self.bgr, (None, None, 3), np.uint8)

    @property
    def at_s(self) -> float:
        """Presentation time where the source has one, else the time of capture, s."""
        return self.captured_s if self.pts_s is None else self.pts_s


_NO_TRACKS: I64Array = np.zeros(0, np.int64)  # the default of Detections.track, known by its identity


@dataclass(frozen=True, slots=True)
class Detections:
    """Objects of one frame, best first.

    Attributes:
        xyxy: (n, 4) float32, frame pixels.
        score: (n,) float32, 0..1.
        label: (n,) int32, index into the network's class names; WHOLE_IMAGE_LABEL for a whole image.
        vector: (n, D) float32, description of each object (D = 0 before objects are described).
        track: (n,) int64, number of the track; -1, the default, where objects are not followed.
    """

    xyxy: F32Array
    score: F32Array
    label: I32Array
    vector: F32Array
    track: I64Array = field(default_factory=lambda: _NO_TRACKS)

    def __post_init__(self) -> None:
        n = len(self.xyxy)
        if self.track is _NO_TRACKS:
            object.__setattr__(self, "track", np.full(n, -1, np.int64))
        _expect("Detections.xyxy", self.xyxy, (n, 4), np.float32)
        _expect("Detections.score", self.score, (n,), np.float32)
        _expect("Detections.label", self.label, (n,), np.int32)
        _expect("Detections.vector", self.vector, (n, None), np.float32)
        _expect("Detections.track", self.track, (n,), np.int64)

    def __len__(self) -> int:
        return len(self.xyxy)

    def rows(self, places: Sequence[int] | NDArray[np.intp] | slice) -> Detections:
        """Return some of the objects."""
        return Detections(
            self.xyxy[places],
            self.score[places],
            self.label[places],
            self.vector[places],
            self.track[places],
        )


@dataclass(frozen=True, slots=True)
class Neighbours:
    """k nearest objects of the library for each of n queries.

    Attributes:
        row: (n, k) int32, row numbers of the library; -1 fills rows of fewer than k neighbours.
        distance: (n, k) float32, Euclidean, inf where row is -1. A search gives ascending distances; in a
            scene neighbours keep their places when distances change little.
    """

    row: I32Array
    distance: F32Array

    def __post_init__(self) -> None:
        _expect("Neighbours.row", self.row, (None, None), np.int32)
        _expect("Neighbours.distance", self.distance, self.row.shape, np.float32)

    def __len__(self) -> int:
        return len(self.row)


class Outline(NamedTuple):
    """Part of a frame.

    Attributes:
        corners: x and y of each, as shares of the frame's width and height.
        counts: objects in it count; else they do not.
        is_open: its corners are still being set, and it does nothing yet.
    """

    corners: tuple[tuple[float, float], ...]
    counts: bool
    is_open: bool = False


class Stop(NamedTuple):
    """Object of the library and those like it, shown while nothing is seen.

    Attributes:
        number: of the stop on a walk, from 0.
        name: class name of the object.
        rows: the object, then those like it.
        crops: of each, (h, w, 3) uint8 BGR, or None where it is not loaded yet.
        shapes: aspect ratio of the place of each.
        large: number of the first ones that are high enough for a wall's large places.
    """

    number: int
    name: str
    rows: tuple[int, ...]
    crops: tuple[U8Array | None, ...]
    shapes: tuple[float, ...]
    large: int


@dataclass(frozen=True, slots=True)
class Scene:
    """Contents of one picture: a frame, its objects and their neighbours.

    Attributes:
        frame: the query picture.
        detections: n objects of the frame.
        names: n class names.
        neighbours: k nearest neighbours of each object.
        thumb_height: height of the crops, px.
        thumbs: n tuples of up to k crops, (thumb_height, w, 3) uint8 BGR, or None where a
            crop is not loaded yet.
        notes: short lines about the run, shown beside the frame.
        strips: number of the strip of each object, counted from the top; () numbers them in order.
        held: indices of objects that are missed in this frame, but whose strip is kept for a moment; their
            boxes are drawn thin at the expected place.
        faint: indices of held objects that have been missed for longer; their boxes are not drawn.
        rows: number of strips of the grid; -1 counts up to the last strip of an object.
        first: number of the topmost visible strip.
        shapes: n tuples of the aspect ratio of each crop's place; () takes those of the crops.
        order: n tuples of the numbers of the crops in the order of a wall's places, the largest first; ()
            keeps the order of the neighbours.
        large: n numbers of the first of these that are high enough for a wall's large places; () for all.
        grid: number of strips that the picture is laid out for, a fraction while the grid changes; -1 takes
            ``rows``.
        now_s: time of the picture in the clock of its source, s; transitions follow it.
        drift: crops of the library that drift through bands without an object.
        about: words about the library, above these.
        walk: the stop of a walk through the library in each band; () while something is seen.
        lost_s: time for which the source has given no pictures, s.
        outlines: parts of the frame in which objects count, or do not.
        dims: all of the frame but its objects is dim.
        library: state of the library that the rows of the neighbours are of; "" where nobody asks.
        remembers: what is seen is kept, which the picture says.
        each: strips of an object, which have one colour.
        empty: why the strip of each object has no crops, "" where it has some or needs no words; () for none.
    """

    frame: Frame
    detections: Detections
    names: tuple[str, ...]
    neighbours: Neighbours
    thumb_height: int
    thumbs: tuple[tuple[U8Array | None, ...], ...]
    notes: tuple[str, ...] = ()
    strips: tuple[int, ...] = ()
    held: frozenset[int] = frozenset()
    faint: frozenset[int] = frozenset()
    rows: int = -1
    first: int = 0
    shapes: tuple[tuple[float, ...], ...] = ()
    order: tuple[tuple[int, ...], ...] = ()
    large: tuple[int, ...] = ()
    grid: float = -1.0
    now_s: float = 0.0
    drift: tuple[U8Array | None, ...] = ()
    about: str = ""
    walk: tuple[Stop, ...] = ()
    lost_s: float = 0.0
    outlines: tuple[Outline, ...] = ()
    dims: bool = False
    library: str = ""
    remembers: bool = False
    each: int = 1
    empty: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        n = len(self.detections)
        if not self.strips:
            object.__setattr__(self, "strips", tuple(range(n)))
        if self.rows < 0:
            object.__setattr__(self, "rows", max(self.strips, default=-1) + 1)
        if self.grid < 0:
            object.__setattr__(self, "grid", float(self.rows))
        if not self.shapes:
            shapes = tuple(tuple(map(_aspect, crops)) for crops in self.thumbs)
            object.__setattr__(self, "shapes", shapes)
        if not self.order:
            object.__setattr__(self, "order", tuple(tuple(range(len(shapes))) for shapes in self.shapes))
        if not self.large:
            object.__setattr__(self, "large", tuple(map(len, self.order)))
        if not self.empty:
            object.__setattr__(self, "empty", ("",) * n)
        for column in ("names", "neighbours", "thumbs", "strips", "shapes", "order", "large", "empty"):
            got = len(getattr(self, column))
            if got != n:
                raise ValueError(f"Scene.{column}: expected {n} entries, one for each object, got {got}")


def _aspect(crop: U8Array | None) -> float:
    return 1.0 if crop is None else crop.shape[1] / len(crop)
