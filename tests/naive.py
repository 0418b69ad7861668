"""Slow, obvious references that the tests hold the real code against."""

import numpy as np


def roi_mean(tap_map, box, input_wh):
    """Mean of a (c, h, w) map over a box in input pixels, cells counting by the share that is covered."""
    _, height, width = tap_map.shape
    x1, x2 = _interval(box[0] * width / input_wh[0], box[2] * width / input_wh[0], width)
    y1, y2 = _interval(box[1] * height / input_wh[1], box[3] * height / input_wh[1], height)
    total, weight = 0.0, 0.0
    for y in range(height):
        for x in range(width):
            covered = max(0.0, min(x2, x + 1) - max(x1, x)) * max(0.0, min(y2, y + 1) - max(y1, y))
            total = total + covered * tap_map[:, y, x].astype(np.float64)
            weight += covered
    return total / weight


def _interval(start, end, cells):
    """The part of an interval that lies on the map; one cell around its middle where nothing does."""
    if min(end, cells) - max(start, 0) > 1e-3:
        return start, end
    middle = min(max((start + end) / 2, 0.5), cells - 0.5)
    return middle - 0.5, middle + 0.5


def nearest_rows(vectors, queries, k):
    """Distances and rows of the k nearest, by float64 differences and a stable sort; inf and -1 beyond."""
    distance = np.full((len(queries), k), np.inf, np.float32)
    row = np.full((len(queries), k), -1, np.int32)
    for i, query in enumerate(np.asarray(queries, np.float64)):
        apart = np.sqrt(((np.asarray(vectors, np.float64) - query) ** 2).sum(axis=1))
        first = np.argsort(apart, kind="stable")[:k]
        distance[i, : len(first)] = apart[first]
        row[i, : len(first)] = first
    return distance, row
