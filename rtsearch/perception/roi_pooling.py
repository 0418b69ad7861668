"""Average a map of the network over a box, weighted towards the middle of the box.

The weight of a cell is the part of it inside the box, so the mean changes smoothly with boxes of any size,
even of less than a cell. A bell around the middle of the box multiplies it, because the corners of a box are
mostly background.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rtsearch._util.jit import bare_kernel, inlined
from rtsearch.types import F32Array

__all__ = ["roi_means"]

_SIGMA = 0.5  # width of the bell in half sides; .35 to .7 score alike, no bell scores 1 to 5 points lower


def roi_means(tap: F32Array, xyxy: F32Array, input_wh: tuple[int, int]) -> F32Array:
    """Return the weighted means of a (c, h, w) map over (n, 4) boxes in input pixels, (n, c) float32."""
    channels, height, width = tap.shape
    boxes = xyxy.astype(np.float64) * np.tile([width / input_wh[0], height / input_wh[1]], 2)
    rows = _cell_weights(boxes[:, 1], boxes[:, 3], height)
    columns = _cell_weights(boxes[:, 0], boxes[:, 2], width)
    means = np.empty((len(boxes), channels), np.float32)
    _pool(np.ascontiguousarray(tap), rows, columns, means)
    return means


def _cell_weights(start: NDArray[np.float64], end: NDArray[np.float64], cells: int) -> F32Array:
    """Return the weight of each cell for intervals in cells, (n, cells); each row sums to 1.

    An interval shorter than a cell, or beside the map, is replaced by an interval of one cell around its
    middle.
    """
    start, end = np.clip(start, 0, cells), np.clip(end, 0, cells)
    middle = np.clip((start + end) / 2, 0.5, cells - 0.5)[:, None]
    half = np.maximum((end - start) / 2, 0.5)[:, None]
    edge = np.arange(cells)
    inside = np.clip(np.minimum(middle + half, edge + 1) - np.maximum(middle - half, edge), 0, None)
    weight = inside * np.exp(-0.5 * ((edge + 0.5 - middle) / half / _SIGMA) ** 2)
    weights: F32Array = (weight / weight.sum(1, keepdims=True)).astype(np.float32)
    return weights


# A matrix product would wake the threads of BLAS, which compete with the network for the cores.
@bare_kernel
def _pool(tap, rows, columns, means):
    """means[i, c] = sum of rows[i, y] * columns[i, x] * tap[c, y, x], where the weights are not 0."""
    for i in range(means.shape[0]):
        left, right = _span(columns[i])
        top, bottom = _span(rows[i])
        for c in range(means.shape[1]):
            total = np.float32(0)
            for y in range(top, bottom):
                along = np.float32(0)
                for x in range(left, right):
                    along += columns[i, x] * tap[c, y, x]
                total += rows[i, y] * along
            means[i, c] = total


@inlined
def _span(weights):
    """Return the first and one past the last place with a weight; at least one weight is not 0."""
    start, end = 0, weights.size
    while weights[start] == 0:
        start += 1
    while weights[end - 1] == 0:
        end -= 1
    return start, end
