"""Decode YOLOv5, v6 and v7: rows of box, objectness and class probabilities, (N, 5 + C), in input px."""

from __future__ import annotations

import numpy as np
import onnx

from rtsearch.models.layouts.common import SELECTIONS, Layout, Writer, cells, listed, selection, strides_of
from rtsearch.models.view import GraphView

__all__ = ["rows"]

_DECODING = {"Add", "Concat", "Mul", "Sigmoid"}  # operators that rows of features, as of RT-DETR, do not have
_ANCHORS = (3, 1)  # boxes per cell: v5 and v7 have three, v6 has one


def rows(model: onnx.ModelProto, view: GraphView) -> Layout | None:
    """See ``layouts``; the grid and the anchors must be in the file, as the exporters put them there."""
    found = _rows(view)
    if found is None:
        return None
    joined, strides, anchors = found
    classes = view.shape(joined)[2] - 5
    graph = Writer(model, view)
    values = graph.single(joined)
    box, certain, likely = (
        graph.op("Slice", values, *(graph.constant([bound], np.int64) for bound in (start, end, 2)))
        for start, end in ((0, 4), (4, 5), (5, 5 + classes))
    )
    graph.finish(graph.corners(box), graph.op("Mul", certain, likely))
    return Layout(
        family="yolov5",
        classes=classes,
        needs_nms=True,
        multiple=max(32, *strides),
        lines=(
            f"layout: YOLOv5 or v7, rows of box, objectness and classes, {anchors} per cell "
            f"at strides {listed(strides)}",
            f"boxes: {joined}, centre and size",
            "scores: objectness x class",
            f"suppression: {SELECTIONS[selection(view, joined)]}",
        ),
    )


def _rows(view: GraphView) -> tuple[str, list[int], int] | None:
    """Return the concatenated rows of all levels, their strides, and the number of boxes per cell."""
    outputs = view.ancestors(view.outputs)
    for node in reversed(view.nodes):
        shape = view.shape(node.output[0])
        if len(shape) != 3 or shape[2] < 6 or node.output[0] not in outputs or view.kind(node) != "Concat":
            continue
        if not _DECODING.issubset(view.head_kinds(node.input)):
            continue
        strides = strides_of(view, [node.output[0]])
        for anchors in _ANCHORS:
            if shape[1] == anchors * cells(view, strides) and len(strides) > 1:
                return node.output[0], strides, anchors
    return None
