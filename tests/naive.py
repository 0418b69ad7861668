"""Slow, obvious references that the tests hold the real code against."""

import numpy as np


def roi_mean(tap_map, box, input_wh, sigma):
    """Mean of a (c, h, w) map over a box in input pixels: covered share of a cell times a bell."""
    _, height, width = tap_map.shape
    x_middle, x_half = _interval(box[0] * width / input_wh[0], box[2] * width / input_wh[0], width)
    y_middle, y_half = _interval(box[1] * height / input_wh[1], box[3] * height / input_wh[1], height)
    total, weight = 0.0, 0.0
    for y in range(height):
        for x in range(width):
            here = _cell(x, x_middle, x_half, sigma) * _cell(y, y_middle, y_half, sigma)
            total = total + here * tap_map[:, y, x].astype(np.float64)
            weight += here
    return total / weight


def _interval(start, end, cells):
    """Middle and half length of the part on the map, at least a cell long."""
    start, end = min(max(start, 0), cells), min(max(end, 0), cells)
    return min(max((start + end) / 2, 0.5), cells - 0.5), max((end - start) / 2, 0.5)


def _cell(cell, middle, half, sigma):
    covered = max(0.0, min(middle + half, cell + 1) - max(middle - half, cell))
    return covered * np.exp(-0.5 * ((cell + 0.5 - middle) / half / sigma) ** 2)


def colour_histogram(bgr, box, points, bins, low, high, sigma):
    """Cube roots of the shares of colours in a box, pixel by pixel, scaled to unit length."""
    height, width = bgr.shape[:2]
    shares = np.zeros(bins)
    for row in range(points):
        for column in range(points):
            down, right = (row + 0.5) / points, (column + 0.5) / points
            y = min(max(int(np.floor(box[1] + (box[3] - box[1]) * down)), 0), height - 1)
            x = min(max(int(np.floor(box[0] + (box[2] - box[0]) * right)), 0), width - 1)
            blue, green, red = np.log(bgr[y, x].astype(float) + 8)
            weight = np.exp(-0.5 * ((2 * down - 1) ** 2 + (2 * right - 1) ** 2) / sigma**2)
            place = [
                (value - lowest) / (highest - lowest) * n - 0.5
                for value, lowest, highest, n in zip(
                    (blue + green + red, red - green, blue - green), low, high, bins, strict=True
                )
            ]
            for corner in np.ndindex(2, 2, 2):
                part = weight
                at = []
                for axis in range(3):
                    floor = np.floor(place[axis])
                    part *= place[axis] - floor if corner[axis] else 1 - (place[axis] - floor)
                    at.append(int(min(max(floor + corner[axis], 0), bins[axis] - 1)))
                shares[tuple(at)] += part
    roots = np.cbrt(shares.ravel() / shares.sum())
    return roots / np.linalg.norm(roots)


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


def box_area(box):
    return max(0.0, float(box[2]) - float(box[0])) * max(0.0, float(box[3]) - float(box[1]))


def box_intersection(a, b):
    low, high = (max(a[0], b[0]), max(a[1], b[1])), (min(a[2], b[2]), min(a[3], b[3]))
    return box_area((*low, *high))


def overlapping_dropped(boxes, max_overlap):
    """Rows that stay: by falling confidence, a box goes when a kept one covers too much of its own area."""
    kept = []
    for i, box in enumerate(boxes):
        if all(box_intersection(box, boxes[j]) <= max_overlap * box_area(box) for j in kept):
            kept.append(i)
    return kept


def class_suppressed(boxes, labels, max_iou):
    """Rows that stay: by falling confidence, a box goes when a kept one of its class is much the same."""
    kept = []
    for i, box in enumerate(boxes):
        for j in kept:
            common = box_intersection(box, boxes[j])
            union = box_area(box) + box_area(boxes[j]) - common
            if labels[i] == labels[j] and common > max_iou * union:
                break
        else:
            kept.append(i)
    return kept
