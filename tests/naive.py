"""Slow, obvious references that the tests hold the real code against."""

import numpy as np
import onnx


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


def projected(description, matrix, offset, class_columns):
    """Where a description lies: its classes scaled to unit length, then all of it through the matrix."""
    row = [float(value) for value in description]
    length = sum(row[c] ** 2 for c in class_columns) ** 0.5
    for c in class_columns:
        row[c] = row[c] / length if length else 0.0
    return [
        float(offset[j]) + sum(row[d] * float(matrix[d, j]) for d in range(len(row)))
        for j in range(len(offset))
    ]


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


def overlapping_dropped(boxes, max_overlap, rule):
    """Rows that stay: by falling confidence, a box goes when it overlaps a kept one too much."""
    kept = []
    for i, box in enumerate(boxes):
        for j in kept:
            common = box_intersection(box, boxes[j])
            union = box_area(box) + box_area(boxes[j]) - common
            if common > max_overlap * (union if rule == "iou" else box_area(box)):
                break
        else:
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


def decoded_points(code, step):
    """The points that blocks (blocks, 16 w) of 7-bit codes stand for: (16 blocks, w) float64."""
    blocks, width = code.shape[0], code.shape[1] // 16
    points = np.zeros((16 * blocks, width))
    for point in range(16 * blocks):
        for e in range(width):
            value = code[point // 16, e // 4 * 64 + point % 16 * 4 + e % 4]
            points[point, e] = (int(value) - 64) * float(step)
    return points


def nearest_codes(points, step):
    """Where each point (n, w) lies once rounded to the grid of 7-bit codes."""
    return np.clip(np.floor(np.asarray(points, np.float64) / step + 0.5), -64, 63) * step


def code_scores(code, norm, query, scale):
    """norm - scale * dot for each of the 16 points of each block."""
    points = decoded_points(code, 1) + 64
    return np.asarray(norm, np.float64) - float(scale) * points @ np.asarray(query, np.float64)


def box_gaps(lower, upper, query):
    """Squared distance of a query (w,) uint8 from each of the boxes in blocks; 127 at most per dimension."""
    low, high = decoded_points(lower, 1) + 64, decoded_points(upper, 1) + 64
    query = np.asarray(query, np.float64)
    gap = np.maximum(np.maximum(low - query, query - high), 0)
    return (np.minimum(gap, 127) ** 2).sum(axis=1)


def median_split(points, rows, leaf_size):
    """Leaves of a KD-tree as lists of rows: split along the widest dimension, all leaves but one full."""
    if len(rows) <= leaf_size:
        return [sorted(rows)]
    middle = -(-len(rows) // leaf_size) // 2 * leaf_size
    widest = int(np.argmax(points[rows].var(axis=0)))
    ordered = sorted(rows, key=lambda row: points[row, widest])
    return median_split(points, ordered[:middle], leaf_size) + median_split(
        points, ordered[middle:], leaf_size
    )


def group_means(points, groups):
    """Mean of each list of rows."""
    return np.array([points[rows].mean(axis=0) for rows in groups])


def rounded_to_half(model):
    """A network in half precision as a GPU computes it, for a runtime that does not: onnxruntime leaves out
    the rounding between two nodes of float16 on most processors. All is computed in float32 here, and every
    tensor of float16 is rounded once it is made.
    """
    typed = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    entries = (*typed.input, *typed.value_info, *typed.output)
    half = {e.name for e in entries if e.type.tensor_type.elem_type == onnx.TensorProto.FLOAT16}
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph, nodes = made.graph, []
    del graph.value_info[:]
    for tensor in graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT16:
            value = onnx.numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(value, tensor.name))
    for entry in (*graph.input, *graph.output):
        if entry.name in half:
            entry.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.i == onnx.TensorProto.FLOAT16:
                attribute.i = onnx.TensorProto.FLOAT
        outputs = [name for name in node.output if name in half]
        node.output[:] = [f"{name}.exact" if name in half else name for name in node.output]
        nodes.append(node)
        for name in outputs:
            steps = ((f"{name}.exact", f"{name}.rounded", 10), (f"{name}.rounded", name, 1))
            nodes += [onnx.helper.make_node("Cast", [a], [b], to=to) for a, b, to in steps]
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)
    return made


def mean_of_cells_around(here, shape, reach):
    """Mean of the things at most so many lines and columns away; (n, d), in cells line after line."""
    lines, columns = shape
    means = np.empty_like(here)
    for cell in range(len(here)):
        near = [
            here[line * columns + column]
            for line in range(lines)
            for column in range(columns)
            if abs(line - cell // columns) <= reach
            and abs(column - cell % columns) <= reach
            and line * columns + column < len(here)
        ]
        means[cell] = np.mean(near, axis=0)
    return means


def leaders(vectors, looks, picture, whole, reach):
    """Return the row that stands for each row: the nearest leader before it within reach, or itself."""
    leader = np.arange(len(vectors), dtype=np.int32)
    for row in range(len(vectors)):
        apart = np.linalg.norm(vectors[:row] - vectors[row], axis=1)
        for other in np.argsort(apart, kind="stable").tolist():
            same_kind = picture[other] != picture[row] and whole[other] == whole[row]
            alike = np.linalg.norm(vectors[other, looks] - vectors[row, looks]) <= reach
            if alike and same_kind and leader[other] == other:
                leader[row] = other
                break
    return leader
