"""Lay out the memory of a pass on the GPU, and the kernels over it.

The structures have the fields of those in kernels.cu. All arrays of a pass but the inputs and outputs of the
network share one piece of memory, so that a larger layout takes one allocation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from rtsearch.images.colour_bins import COLOUR_BINS
from rtsearch.runners.device import Shape3
from rtsearch.types import U8Array

__all__ = ["CANDIDATES", "MOST_MAPS", "PICTURE", "PLAN", "UPLOAD", "Layout", "MapLayout"]

CANDIDATES = 300
"""Number of boxes that enter suppression, as in ``detector``."""

MOST_MAPS = 8
"""Largest number of taps of a network."""

_ALIGN = 256  # alignment of every array, bytes, as in allocations of the driver

_MAP = np.dtype([("cells", "u8"), *((name, "i4") for name in ("channels", "width", "height", "half"))])
_NETWORK = ("planes", "boxes", "scores")
_SCRATCH = (
    "keys",
    "labels",
    "order",
    "counts",
    "boxes_chosen",
    "rows_chosen",
    "weights",
    "spans",
    "means",
    "raw",
)
_AFTER = ("matrix", "offset", "result")
_NUMBERS = ("batch", "width", "height", "rows", "classes", "map_count", "slots", "raw_dim", "dim", "header")
_SWITCHES = ("swap", "pad_value", "needs_nms", "planes_half", "boxes_half", "scores_half")

PLAN = np.dtype(
    [(name, "u8") for name in (*_NETWORK, *_SCRATCH, *_AFTER)]
    + [("maps", _MAP, (MOST_MAPS,))]
    + [(name, "i4") for name in (*_NUMBERS, *_SWITCHES)]
    + [("pixel_scale", "f4"), ("unit_classes", "i4")]
)
PICTURE = np.dtype(
    [("offset", "u8")]
    + [(name, "i4") for name in ("width", "height", "fitted_width", "fitted_height")]
    + [(name, "f4") for name in ("scale_x", "scale_y", "limit_x", "limit_y")]
)
UPLOAD = np.dtype(
    [(name, "f4") for name in ("threshold", "max_overlap", "nms_iou", "min_px")]
    + [(name, "i4") for name in ("max_objects", "whole_image", "pictures", "wanted", "overlap_iou", "unused")]
)


@dataclass(frozen=True)
class MapLayout:
    """Layout of the map of one tap.

    Attributes:
        channels: number of channels.
        width: width, cells.
        height: height, cells.
        half: the map is float16 instead of float32.
    """

    channels: int
    width: int
    height: int
    half: bool = False


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Sizes that decide the memory of a pass.

    Attributes:
        batch: number of pictures per pass.
        input_wh: width and height of the network's input, px.
        rows: number of candidates that the network gives per picture.
        classes: number of scores per candidate.
        maps: layouts of the taps.
        slots: largest number of objects per picture.
        projected: length of a projected vector, or None where descriptions are not projected.
        unit_classes: class blocks are scaled to unit length, as a projection may need them.
        swap: the network takes RGB, and the channels of BGR are swapped.
        pad_value: grey level of the padding, 0..255.
        stretch: pictures are stretched to the input instead of padded.
        pixel_scale: factor from a grey level to the network's input.
        needs_nms: the network reports an object several times, so non-maximum suppression is needed.
        planes_half: the input is float16 instead of float32.
        boxes_half: the boxes are float16 instead of float32.
        scores_half: the scores are float16 instead of float32.
    """

    batch: int
    input_wh: tuple[int, int]
    rows: int
    classes: int
    maps: tuple[MapLayout, ...]
    slots: int
    projected: int | None
    swap: bool
    pad_value: int
    pixel_scale: float
    needs_nms: bool
    planes_half: bool = False
    boxes_half: bool = False
    scores_half: bool = False
    unit_classes: bool = False
    stretch: bool = False

    @property
    def channels(self) -> int:
        """Sum of the channels of all maps."""
        return sum(one.channels for one in self.maps)

    @property
    def raw_dim(self) -> int:
        """Length of a description."""
        return self.channels + COLOUR_BINS + self.classes

    @property
    def dim(self) -> int:
        """Length of a downloaded vector."""
        return self.raw_dim if self.projected is None else self.projected

    @property
    def header_bytes(self) -> int:
        """Size of the counts before the rows of the result, bytes."""
        return -(-self.batch * 4 // 16) * 16

    @cached_property
    def row(self) -> np.dtype[Any]:
        """Record type of one object of the result."""
        return np.dtype(
            [("xyxy", "f4", (4,)), ("score", "f4"), ("label", "i4"), ("vector", "f4", (self.dim,))]
        )

    @cached_property
    def result_bytes(self) -> int:
        """Size of the download, bytes."""
        return self.header_bytes + self.batch * self.slots * self.row.itemsize

    @property
    def cleared_bytes(self) -> int:
        """Size of the counts that are set to 0 when a pass begins, bytes."""
        return 4 * self.batch

    def arrays(self) -> dict[str, tuple[int, int]]:
        """Return offset and size of every array in the memory, bytes; the key "" has those of the whole."""
        objects = self.batch * self.slots
        cells = sum(one.width + one.height for one in self.maps)
        sizes = {
            "keys": 8 * self.batch * self.rows,
            "labels": 4 * self.batch * self.rows,
            "order": 4 * self.batch * CANDIDATES,
            "counts": 8 * self.batch,
            "boxes_chosen": 16 * objects,
            "rows_chosen": 4 * objects,
            "weights": 4 * objects * cells,
            "spans": 16 * objects * len(self.maps),
            "means": 4 * objects * self.channels,
            "raw": 4 * objects * self.raw_dim,
            "result": self.result_bytes,
            "plan": PLAN.itemsize,
        }
        if self.projected is not None:
            sizes |= {"matrix": 4 * self.raw_dim * self.projected, "offset": 4 * self.projected}
        places, end = {}, 0
        for name, size in sizes.items():
            places[name] = (end, size)
            end += -(-max(size, 1) // _ALIGN) * _ALIGN
        return places | {"": (0, end)}

    def plan(self, network: Mapping[str, int], maps: tuple[int, ...], memory: int) -> U8Array:
        """Return the bytes of the structure ``Plan``.

        Args:
            network: addresses of ``planes``, ``boxes`` and ``scores``, by name.
            maps: addresses of the taps.
            memory: address of the memory that ``arrays`` lays out.
        """
        plan = np.zeros(1, PLAN)
        for name, address in network.items():
            plan[name] = address
        for name, (offset, _) in self.arrays().items():
            if name in (*_SCRATCH, *_AFTER):
                plan[name] = memory + offset
        for place, (one, address) in enumerate(zip(self.maps, maps, strict=True)):
            plan["maps"][0, place] = (address, one.channels, one.width, one.height, one.half)
        plan["width"], plan["height"] = self.input_wh
        plan["map_count"], plan["header"] = len(self.maps), self.header_bytes
        numbers = ("batch", "rows", "classes", "slots", "raw_dim", "dim", "pixel_scale", "unit_classes")
        for name in (*numbers, *_SWITCHES):
            plan[name] = getattr(self, name)
        return plan.view(np.uint8)

    @cached_property
    def wanted_start(self) -> int:
        """Offset of the class mask in an upload, bytes; it has one byte per class, 1 for wanted ones."""
        return UPLOAD.itemsize + self.batch * PICTURE.itemsize

    @cached_property
    def head_bytes(self) -> int:
        """Size of an upload before its first pixel, bytes."""
        return -(-(self.wanted_start + self.classes) // _ALIGN) * _ALIGN

    def launches(self) -> Iterator[tuple[str, Shape3, Shape3]]:
        """Yield name, grid and block of each kernel in the order in which they run.

        The network runs after the first kernel.
        """
        width, height = self.input_wh
        yield "letterbox", (_parts(width, 32), _parts(height, 8), self.batch), (32, 8, 1)
        yield "candidates", (_parts(self.rows, 8), self.batch, 1), (32, 8, 1)
        yield "rank", (_parts(self.rows, 256), self.batch, 1), (256, 1, 1)
        yield "choose", (self.batch, 1, 1), (320, 1, 1)
        if self.maps:
            yield "weigh", (self.slots, self.batch, 1), (32, 4, 1)
            yield "pool", (self.slots, _parts(self.channels, 8), self.batch), (32, 8, 1)
        yield "describe", (self.slots, self.batch, 1), (256, 1, 1)
        if self.projected is not None:
            yield "project", (_parts(self.projected, 32), self.slots, self.batch), (32, 8, 1)


def _parts(size: int, part: int) -> int:
    return -(-size // part)
