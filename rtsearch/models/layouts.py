"""Recognise detectors by their graph, independent of the exporter.

    YOLOX        per level, a concatenation of box (4), objectness (1) and class (C) maps
    Ultralytics  one concatenation of decoded boxes (4, N) and class probabilities (C, N)

Each recogniser adds tensors ``boxes`` (batch, N, 4) xyxy in input px and ``scores`` (batch, N, C) to the
graph. Suppression that an export has built in is dropped, so that the scores of all classes are available and
the thresholds of the settings apply.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx
from onnx import TensorProto

from rtsearch.errors import ModelError
from rtsearch.models.graph import OPSET, GraphWriter, cell_centres
from rtsearch.models.taps import GraphView

__all__ = ["Layout", "recognise"]

# (centre x, centre y, width, height) times this matrix gives (x1, y1, x2, y2).
_CORNERS = np.array([[1, 0, 1, 0], [0, 1, 0, 1], [-0.5, 0, 0.5, 0], [0, -0.5, 0, 0.5]], np.float32)
# Operators that work at every picture size, with the same meaning from opset 11 to 17.
_SIZE_FREE = """
    Add AveragePool BatchNormalization Clip Concat Constant Conv HardSigmoid HardSwish Identity LeakyRelu
    MaxPool Mul Relu Resize Sigmoid Slice Tanh
"""

_SELECTIONS = {
    "nms": "needed; the one built in is left out, so that thresholds can be changed",
    "top": "not needed, one box per object; the built-in choice of the best is left out",
    "": "needed, none in the file",
}


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Parts of a detector that were found in a graph.

    Attributes:
        family: key of ``TAPS``.
        classes: number of classes.
        needs_nms: objects are reported several times, so non-maximum suppression is needed.
        pixel_order: order of the input planes.
        pixel_scale: factor from a pixel 0..255 to the input.
        size_free: everything before the boxes and scores works at any picture size.
        lines: the findings as lines for the user.
    """

    family: str
    classes: int
    needs_nms: bool
    pixel_order: Literal["rgb", "bgr"]
    pixel_scale: float
    size_free: bool
    lines: tuple[str, ...]


def recognise(model: onnx.ModelProto, view: GraphView) -> Layout | None:
    """Find the boxes and scores of a graph and name them; return None if the layout is not known."""
    return _yolox(model, view) or _ultralytics(model, view)


def _yolox(model: onnx.ModelProto, view: GraphView) -> Layout | None:
    levels = {}
    for node in view.nodes:
        stride = view.stride(node.output[0]) if node.op_type == "Concat" and len(node.input) == 3 else 0
        if not stride:
            continue
        channels = [view.shape(name)[1] for name in node.input]
        sigmoids = [view.made_by(name, "Sigmoid") for name in node.input[1:]]
        if channels[:2] == [4, 1] and all(sigmoids):
            levels[stride] = list(node.input)
    if not levels:
        return None
    strides = sorted(levels)
    boxes, objectness, scores = ([levels[s][i] for s in strides] for i in range(3))
    if not view.single(boxes[0]):
        raise ModelError("a YOLOX of half precision; export it again in single precision")
    size_free = _size_free(view, [*boxes, *objectness, *scores])
    _raise_opset(model, size_free)
    graph = GraphWriter("rtsearch/")
    flat = [
        [graph.op("Reshape", name, graph.constant((0, channels, -1), np.int64)) for name in group]
        for group, channels in ((boxes, 4), (objectness, 1), (scores, view.shape(scores[0])[1]))
    ]
    raw, certain, likely = (graph.op("Concat", *group, axis=2) for group in flat)
    points, cells = cell_centres(graph, boxes, strides, offset=0)
    centre = graph.op("Add", graph.op("Mul", graph.rows(raw, 0, 2), cells), points)
    size = graph.op("Mul", graph.op("Exp", graph.rows(raw, 2, 4)), cells)
    decoded = graph.op("Concat", centre, size, axis=1)
    _add_outputs(model, graph, decoded, graph.op("Mul", certain, likely), centres=True)
    return Layout(
        family="yolox",
        classes=view.shape(scores[0])[1],
        needs_nms=True,
        pixel_order="bgr",
        pixel_scale=1.0,
        size_free=size_free,
        lines=(
            f"layout: YOLOX, maps of boxes, objectness and classes at strides {_listed(strides)}",
            "boxes: decoded from centre and size",
            "scores: objectness x class",
            f"suppression: {_SELECTIONS['']}",
        ),
    )


def _ultralytics(model: onnx.ModelProto, view: GraphView) -> Layout | None:
    outputs = view.ancestors(output.name for output in model.graph.output)
    for node in reversed(view.nodes):
        if node.op_type != "Concat" or len(node.input) < 2 or node.output[0] not in outputs:
            continue
        boxes, scores = node.input[:2]
        shape, other = view.shape(boxes), view.shape(scores)
        if len(shape) != 3 or len(other) != 3 or shape[1] != 4 or not shape[2] or shape[2] != other[2]:
            continue
        strides = sorted({view.stride(last.output[0]) for last in view.last_convolutions([boxes, scores])})
        cells = sum((view.wh[0] // stride) * (view.wh[1] // stride) for stride in strides)
        if cells == shape[2] and view.made_by(scores, "Sigmoid"):
            break
    else:
        return None
    corners = _tells_corners(view, boxes)
    selection = _selection(view, node.output[0])
    graph = GraphWriter("rtsearch/")
    as_floats = (
        name if view.single(name) else graph.op("Cast", name, to=TensorProto.FLOAT)
        for name in (boxes, scores)
    )
    _add_outputs(model, graph, *as_floats, centres=not corners)
    return Layout(
        family="ultralytics",
        classes=other[1],
        needs_nms=selection != "top",
        pixel_order="rgb",
        pixel_scale=1 / 255,
        size_free=False,
        lines=(
            f"layout: Ultralytics, decoded boxes and class probabilities at strides {_listed(strides)}",
            f"boxes: {boxes}, {'corners' if corners else 'centre and size'}",
            f"scores: {scores}",
            f"suppression: {_SELECTIONS[selection]}",
        ),
    )


def _add_outputs(
    model: onnx.ModelProto, graph: GraphWriter, boxes: str, scores: str, *, centres: bool
) -> None:
    """Add the outputs ``boxes`` and ``scores`` from (batch, 4, N) boxes and (batch, C, N) scores."""
    boxes = graph.op("Transpose", boxes, perm=(0, 2, 1))
    if centres:
        boxes = graph.op("MatMul", boxes, graph.constant(_CORNERS))
    graph.output("boxes", boxes)
    graph.output("scores", scores, "Transpose", perm=(0, 2, 1))
    model.graph.node.extend(graph.nodes)
    model.graph.initializer.extend(graph.initializers)


def _tells_corners(view: GraphView, boxes: str) -> bool:
    """Tell whether boxes are given by corners (point - distance, point + distance) or by centre and size."""
    node = view.producer[boxes]
    while node.op_type in ("Mul", "Cast"):  # the boxes are scaled by the strides
        node = next(view.producer[name] for name in node.input if view.computed(name))
    halves = [view.producer[name].op_type for name in node.input if view.computed(name)]
    if node.op_type == "Concat" and halves == ["Sub", "Add"]:
        return True
    if node.op_type == "Concat" and len(halves) == 2 and halves[0] in ("Div", "Mul") and halves[1] == "Sub":
        return False
    raise ModelError(
        f"boxes come from {node.op_type} of {', '.join(halves)}: neither corners nor centre and size"
    )


def _selection(view: GraphView, predictions: str) -> str:
    """Return the last step of an export: ``nms``, ``top`` (choice of the best boxes), or ""."""
    made = {predictions}
    kinds = set()
    for node in view.nodes:
        if made.intersection(node.input):
            made.update(node.output)
            kinds.add(node.op_type)
    if "NonMaxSuppression" in kinds:
        return "nms"
    return "top" if "TopK" in kinds else ""


def _size_free(view: GraphView, tensors: list[str]) -> bool:
    known = frozenset(_SIZE_FREE.split())
    nodes = [view.producer[name] for name in view.ancestors(tensors) if name in view.producer]
    resized_to = [
        node for node in nodes if node.op_type == "Resize" and len(node.input) > 3 and node.input[3]
    ]
    return not resized_to and all(node.op_type in known for node in nodes)


def _raise_opset(model: onnx.ModelProto, size_free: bool) -> None:
    entry = next(entry for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if entry.version >= OPSET:
        return
    if entry.version < 11 or not size_free:
        raise ModelError(f"written for opset {entry.version}; export it again with opset {OPSET}")
    entry.version = OPSET


def _listed(numbers: list[int]) -> str:
    return ", ".join(str(number) for number in numbers)
