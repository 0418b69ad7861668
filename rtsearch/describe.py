"""One vector per object, from the pass that found it.

Each tap of the network is averaged over the object's box: a cell counts by the share of it that the box
covers, so a box of any size, even one smaller than a cell, has a mean that moves smoothly with it. Each tap's
mean is scaled to unit length; the log-odds of the classes follow. The description is a row of blocks whose
mutual scale means nothing yet: centring, scaling and weighting happen where a library is indexed.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtsearch.models.spec import ModelSpec
from rtsearch.records import F32Array, U8Array

__all__ = ["Describer"]

_log = logging.getLogger(__name__)


class Describer:
    """Describes the objects of one picture.

    Args:
        spec: the network that finds them; its taps and classes decide the layout of the vector.

    Attributes:
        dim: numbers per object.
        recipe: name, version and layout, fit for JSON; vectors of two recipes never compare.
    """

    def __init__(self, spec: ModelSpec) -> None:
        self._blocks = [(f"tap{i}", tap.channels) for i, tap in enumerate(spec.taps)]
        self._blocks.append(("class", len(spec.classes)))
        if not spec.taps:
            _log.warning("%s has no taps: objects are described by class scores alone", spec.name)
        self.dim = sum(width for _, width in self._blocks)
        self.recipe: dict[str, Any] = {
            "name": "taps-and-class",
            "version": 1,
            "blocks": [{"name": name, "width": width} for name, width in self._blocks],
        }

    def describe(self, bgr: U8Array, found: Any) -> F32Array:
        """(n, dim) float32, one row per object of ``found``, every number finite.

        Args:
            bgr: (H, W, 3) uint8, the picture the objects were found in.
            found: what the detector says of it.
        """
        with np.errstate(invalid="ignore", over="ignore"):  # a broken network; repaired below
            blocks = [_unit(roi_means(tap, found.input_xyxy, found.input_wh)) for tap in found.maps]
            description: F32Array = np.concatenate([*blocks, found.logits], axis=1)
        return np.nan_to_num(description, copy=False, nan=0.0, posinf=0.0, neginf=0.0)


def roi_means(tap_map: F32Array, xyxy: F32Array, input_wh: tuple[int, int]) -> F32Array:
    """(n, c) float32: the mean of a (c, h, w) map over each of (n, 4) boxes in input pixels."""
    _, height, width = tap_map.shape
    boxes = xyxy.astype(np.float64) * np.tile([width / input_wh[0], height / input_wh[1]], 2)
    columns = _coverage(boxes[:, 0], boxes[:, 2], width)
    rows = _coverage(boxes[:, 1], boxes[:, 3], height)
    means: F32Array = np.einsum("chn,nh->nc", tap_map @ columns.T, rows, optimize=True)
    return means


def _coverage(start: NDArray[np.float64], end: NDArray[np.float64], cells: int) -> F32Array:
    """(n, cells) float32: how much of each cell lies between start and end, summing to 1 per row.

    An empty interval stands for the cell it lies in; one beyond the map for the nearest cell.
    """
    centre = np.clip((start + end) / 2, 0.5, cells - 0.5)
    tiny = ~(np.clip(end, 0, cells) - np.clip(start, 0, cells) > 1e-3)
    start, end = np.where(tiny, centre - 0.5, start), np.where(tiny, centre + 0.5, end)
    edge = np.arange(cells)
    share = np.minimum(end[:, None], edge + 1) - np.maximum(start[:, None], edge)
    share = np.clip(share, 0, None)
    normalised: F32Array = (share / share.sum(1, keepdims=True)).astype(np.float32)
    return normalised


def _unit(vectors: F32Array) -> F32Array:
    unit: F32Array = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.float32(1e-6))
    return unit
