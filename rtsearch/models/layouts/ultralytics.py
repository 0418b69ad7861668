"""Decode Ultralytics v8 to v12 and 26: one concatenation of decoded boxes (4, N) and probabilities (C, N).

Heads for poses, masks and rotated boxes have the same two tensors; what else they find is left out. Of a
rotated box the upright box around it is kept.
"""

from __future__ import annotations

import numpy as np
import onnx

from rtsearch.errors import ModelError
from rtsearch.models.layouts.common import SELECTIONS, Layout, Writer, cells, listed, selection, strides_of
from rtsearch.models.view import GraphView

__all__ = ["ultralytics"]


def ultralytics(model: onnx.ModelProto, view: GraphView) -> Layout | None:
    """See ``layouts``."""
    found = _predictions(view)
    if found is None:
        return None
    joined, boxes, scores, strides = found
    angle = _angle(view, boxes)
    corners = not angle and _tells_corners(view, boxes)
    ending = selection(view, joined)
    graph = Writer(model, view)
    decoded = graph.op("Transpose", graph.single(boxes), perm=(0, 2, 1))
    if angle:
        decoded = _upright(graph, decoded, graph.op("Transpose", graph.single(angle), perm=(0, 2, 1)))
    if not corners:
        decoded = graph.corners(decoded)
    graph.finish(decoded, graph.op("Transpose", graph.single(scores), perm=(0, 2, 1)))
    told = "corners" if corners else "centre and size"
    return Layout(
        family="ultralytics",
        classes=view.shape(scores)[1],
        needs_nms=ending != "top",
        multiple=max(32, *strides),
        lines=(
            f"layout: Ultralytics, decoded boxes and class probabilities at strides {listed(strides)}",
            f"boxes: {boxes}, {'rotated; the upright box around each is taken' if angle else told}",
            f"scores: {scores}",
            *_more(view, joined, boxes, scores, angle),
            f"suppression: {SELECTIONS[ending]}",
        ),
    )


def _predictions(view: GraphView) -> tuple[str, str, str, list[int]] | None:
    """Return the concatenation of boxes and scores, the boxes, the scores, and the strides of the cells."""
    outputs = view.ancestors(view.outputs)
    for node in reversed(view.nodes):
        parts = view.inputs(node)
        if view.kind(node) != "Concat" or len(parts) < 2 or node.output[0] not in outputs:
            continue
        boxes, scores = parts[:2]
        shape, other = view.shape(boxes), view.shape(scores)
        if len(shape) != 3 or len(other) != 3 or shape[1] != 4 or not shape[2] or shape[2] != other[2]:
            continue
        strides = strides_of(view, [boxes, scores])
        if cells(view, strides) == shape[2] and view.made_by(scores, "Sigmoid"):
            return node.output[0], boxes, scores, strides
    return None


def _tells_corners(view: GraphView, boxes: str) -> bool:
    """Tell whether boxes are given by corners (point - distance, point + distance) or by centre and size."""
    node = view.maker(boxes)
    while node is not None and view.kind(node) == "Mul":  # the boxes are scaled by the strides
        node = view.maker(view.inputs(node)[0])
    makers = [] if node is None else [view.maker(name) for name in view.inputs(node)]
    halves = [view.kind(maker) for maker in makers if maker is not None]
    if node is not None and view.kind(node) == "Concat" and len(halves) == 2:
        if halves == ["Sub", "Add"]:
            return True
        if halves[0] in ("Div", "Mul") and halves[1] == "Sub":
            return False
    kind = "an input" if node is None else node.op_type
    raise ModelError(f"boxes come from {kind} of {', '.join(halves)}: neither corners nor centre and size")


def _angle(view: GraphView, boxes: str) -> str:
    """Return the angles (1, 1, N) that rotated boxes are decoded with; "" for upright boxes."""
    rotated = (1, 1, view.shape(boxes)[2])
    for name in view.ancestors([boxes]):
        node = view.producer.get(name)
        if node is not None and node.op_type == "Cos" and view.shape(name) == rotated:
            return str(node.input[0])
    return ""


def _upright(graph: Writer, boxes: str, angle: str) -> str:
    """Add the upright boxes around (batch, N, 4) boxes rotated by (batch, N, 1) radians, centre and size."""
    cos, sin = (graph.op("Abs", graph.op(kind, angle)) for kind in ("Cos", "Sin"))
    width, height = (_columns(graph, boxes, place, place + 1) for place in (2, 3))
    sides = [
        graph.op("Add", graph.op("Mul", width, along), graph.op("Mul", height, across))
        for along, across in ((cos, sin), (sin, cos))
    ]
    return graph.op("Concat", _columns(graph, boxes, 0, 2), *sides, axis=2)


def _columns(graph: Writer, boxes: str, start: int, end: int) -> str:
    bounds = (graph.constant([value], np.int64) for value in (start, end, 2))
    return graph.op("Slice", boxes, *bounds)


def _more(view: GraphView, joined: str, boxes: str, scores: str, angle: str) -> list[str]:
    """Return a line about what the network also finds and the import leaves out."""
    count = view.shape(boxes)[2]
    first = view.shape(boxes)[1] + view.shape(scores)[1]
    widest = max(
        (
            view.shape(name)[1]
            for name in _following(view, joined)
            if len(view.shape(name)) == 3 and view.shape(name)[2] == count
        ),
        default=first,
    )
    extra = widest - first - bool(angle)
    return [f"left out: {extra} more values per box (a pose or a mask)"] if extra > 0 else []


def _following(view: GraphView, joined: str) -> list[str]:
    """Return a concatenation and those that it is an input of."""
    found = [joined]
    for node in view.nodes:
        if view.kind(node) == "Concat" and found[-1] in node.input:
            found.append(node.output[0])
    return found
