"""Decode YOLOX: per level, a concatenation of box (4), objectness (1) and class (C) maps."""

from __future__ import annotations

import numpy as np
import onnx

from rtsearch.errors import ModelError
from rtsearch.models.graph import OPSET, cell_centres
from rtsearch.models.layouts.common import SELECTIONS, Layout, Writer, listed, opset_of
from rtsearch.models.view import GraphView

__all__ = ["yolox"]

# Operators that work at every picture size, with the same meaning from opset 11 on.
# fmt: off
_SIZE_FREE = frozenset([
    "Add", "AveragePool", "BatchNormalization", "Cast", "Clip", "Concat", "Constant", "Conv",
    "DequantizeLinear", "DynamicQuantizeLinear", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu",
    "MaxPool", "Mul", "QuantizeLinear", "Relu", "Resize", "Sigmoid", "Slice", "Tanh",
])
# fmt: on


def yolox(model: onnx.ModelProto, view: GraphView) -> Layout | None:
    """See ``layouts``; the file may be made for any size and serves all."""
    levels = {}
    for node in view.nodes:
        parts = view.inputs(node)
        stride = view.stride(node.output[0]) if view.kind(node) == "Concat" and len(parts) == 3 else 0
        if not stride:
            continue
        channels = [view.shape(name)[1] for name in parts]
        if channels[:2] == [4, 1] and all(view.made_by(name, "Sigmoid") for name in parts[1:]):
            levels[stride] = parts
    if not levels:
        return None
    strides = sorted(levels)
    boxes, objectness, scores = ([levels[s][i] for s in strides] for i in range(3))
    size_free = _size_free(view, [*boxes, *objectness, *scores])
    _raise_opset(model, size_free)
    graph = Writer(model, view)
    classes = view.shape(scores[0])[1]
    flat = []
    for group, count in ((boxes, 4), (objectness, 1), (scores, classes)):
        shape = graph.constant((0, count, -1), np.int64)
        parts = [graph.op("Reshape", graph.single(name), shape) for name in group]
        flat.append(graph.op("Concat", *parts, axis=2))
    raw, certain, likely = flat
    points, sizes = cell_centres(graph, boxes, strides, offset=0)
    centre = graph.op("Add", graph.op("Mul", graph.rows(raw, 0, 2), sizes), points)
    size = graph.op("Mul", graph.op("Exp", graph.rows(raw, 2, 4)), sizes)
    decoded = graph.op("Transpose", graph.op("Concat", centre, size, axis=1), perm=(0, 2, 1))
    probability = graph.op("Transpose", graph.op("Mul", certain, likely), perm=(0, 2, 1))
    graph.finish(graph.corners(decoded), probability)
    return Layout(
        family="yolox",
        classes=classes,
        needs_nms=True,
        pixel_order="bgr",
        pixel_scale=1.0,
        size_free=size_free,
        multiple=max(32, *strides),
        lines=(
            f"layout: YOLOX, maps of boxes, objectness and classes at strides {listed(strides)}",
            "boxes: decoded from centre and size",
            "scores: objectness x class",
            f"suppression: {SELECTIONS['']}",
        ),
    )


def _size_free(view: GraphView, tensors: list[str]) -> bool:
    computed = [name for name in view.ancestors(tensors) if view.computed(name) and name != view.image]
    nodes = [view.producer[name] for name in computed]
    resized_to = [
        node for node in nodes if node.op_type == "Resize" and len(node.input) > 3 and node.input[3]
    ]
    return not resized_to and all(view.kind(node) in _SIZE_FREE for node in nodes)


def _raise_opset(model: onnx.ModelProto, size_free: bool) -> None:
    """Raise the version of the operators to the oldest one that the decoding can be written in."""
    version = opset_of(model)
    if version >= OPSET:
        return
    if version < 11 or not size_free:
        raise ModelError(f"written for opset {version}; export it again with opset {OPSET}")
    next(entry for entry in model.opset_import if entry.domain in ("", "ai.onnx")).version = OPSET
