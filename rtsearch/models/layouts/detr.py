"""Decode networks of the DETR family: one box and C scores for each of Q queries, without suppression.

Three styles of export are told apart by their outputs:

    logits and boxes           (1, Q, C) and (1, Q, 4): Hugging Face, RF-DETR (labels and dets)
    labels, boxes, scores      chosen by a TopK; D-FINE, RT-DETR; boxes scaled to a second input with sizes
    one tensor                 RT-DETR of Ultralytics: (1, Q, 4 + C), or (1, K, 6) chosen by a TopK

Boxes are shares of the picture. Networks that choose their queries by TopK take pictures that are stretched
to the input; each class has a probability of its own. The older ones (DETR, YOLOS) keep the aspect, and
their last class means that a query found nothing. Those that number classes as COCO does, and RF-DETR, take
pictures less ImageNet's mean.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import onnx

from rtsearch.models.coco import COCO_CLASSES, COCO_NUMBERS
from rtsearch.models.layouts.common import Layout, Writer, cells
from rtsearch.models.view import GraphView

__all__ = ["detr"]

_NUMBERED = max(COCO_NUMBERS) + 1  # classes of networks that number them as COCO does, with gaps
_FEWEST_QUERIES = 10
_FLATTENING = ("Flatten", "ReduceMax", "Reshape")


class _Found(NamedTuple):
    """Tensors of the graph: (1, Q, 4) boxes as shares of the picture, and (1, Q, C) scores."""

    style: str
    boxes: str
    scores: str
    corners: bool = False


def detr(model: onnx.ModelProto, view: GraphView) -> Layout | None:
    """See ``layouts``."""
    found = _chosen(view) or _joined(view) or _raw(view)
    if found is None:
        return None
    chooses = "TopK" in view.kinds_before([found.boxes, found.scores])
    graph = Writer(model, view)
    probability, how = _probability(graph, view, found.scores, each=chooses)
    count = view.shape(found.scores)[2]
    kept = count if chooses or view.made_by(found.scores, "Sigmoid") else count - 1
    numbers = COCO_NUMBERS if kept == _NUMBERED else tuple(range(kept))
    if len(numbers) < count:
        probability = graph.op("Gather", probability, graph.constant(numbers, np.int64), axis=2)
    boxes = graph.single(found.boxes)
    if not found.corners:
        boxes = graph.corners(boxes)
    graph.finish(graph.op("Mul", boxes, graph.constant(view.wh * 2, np.float32)), probability)
    imagenet = not chooses or kept == _NUMBERED or {"dets", "labels"} <= set(view.outputs)
    fit = "stretched to the input" if chooses else "padded"
    scale = "less ImageNet's mean, by its deviation" if imagenet else "by 255"
    return Layout(
        family="detr",
        classes=len(numbers),
        needs_nms=False,
        imagenet=imagenet,
        stretch=chooses,
        one_size=True,
        class_names=COCO_CLASSES if kept == _NUMBERED else (),
        lines=(
            f"layout: DETR, {view.shape(found.boxes)[1]} queries, {found.style}",
            f"boxes: {found.boxes}, {'corners' if found.corners else 'centre and size'} as shares",
            f"scores: {found.scores}, {how}",
            f"pictures: {fit}; RGB {scale}",
            "suppression: not needed, one box per object",
        ),
    )


def _probability(graph: Writer, view: GraphView, scores: str, *, each: bool) -> tuple[str, str]:
    """Add the probabilities of (1, Q, C) scores; also return how they are computed."""
    values = graph.single(scores)
    if view.made_by(scores, "Sigmoid"):
        return values, "probabilities"
    if each:
        return graph.op("Sigmoid", values), "logits of each class"
    return graph.op("Softmax", values, axis=2), "logits; the last means nothing was found"


def _raw(view: GraphView) -> _Found | None:
    """Find logits and boxes among the outputs."""
    for boxes in view.outputs:
        for scores in view.outputs:
            # Of two outputs of four values each, the boxes say so in their name.
            named = "box" in boxes or "det" in boxes
            if boxes != scores and _pair(view, boxes, scores) and (named or view.shape(scores)[2] != 4):
                return _Found("logits and boxes", boxes, scores)
    return None


def _joined(view: GraphView) -> _Found | None:
    """Find one output of boxes and scores side by side."""
    for output in view.outputs:
        node = view.maker(output)
        parts = [] if node is None or view.kind(node) != "Concat" else view.inputs(node)
        if len(parts) == 2 and _pair(view, parts[0], parts[1]):
            return _Found("boxes and scores in one tensor", parts[0], parts[1])
    return None


def _chosen(view: GraphView) -> _Found | None:
    """Find what a TopK chose labels, boxes and scores from, in three outputs or side by side in one."""
    shapes = [view.shape(name) for name in view.outputs]
    apart = len(shapes) == 3 and sum(shape[-1:] == (4,) and len(shape) == 3 for shape in shapes) == 1
    if not apart and not (len(shapes) == 1 and shapes[0][-1:] == (6,)):
        return None
    scores = _ranked(view)
    # The boxes before they are chosen, and before they are scaled to the sizes of a second input.
    after = view.following({scores, *view.others})
    before = view.ancestors(view.outputs) & view.order.keys() - after
    for name in sorted(before, key=view.order.__getitem__, reverse=True):
        if scores and _pair(view, name, scores):
            style = "labels, boxes and scores" if apart else "boxes, scores and labels in one tensor"
            return _Found(f"{style}; the choice of the best is left out", name, scores, corners=apart)
    return None


def _ranked(view: GraphView) -> str:
    """Return the (1, Q, C) probabilities that the last TopK chooses from; "" where there are none."""
    for node in reversed(view.nodes):
        name = node.input[0] if node.op_type == "TopK" else ""
        while (maker := view.maker(name)) is not None and maker.op_type in _FLATTENING:
            name = maker.input[0]
        if name and view.made_by(name, "Sigmoid") and len(view.shape(name)) == 3:
            return name
    return ""


def _pair(view: GraphView, boxes: str, scores: str) -> bool:
    """Tell whether two tensors can be boxes and scores of the same queries, which are not cells of maps."""
    one, other = view.shape(boxes), view.shape(scores)
    if len(one) != 3 or len(other) != 3 or one[:2] != other[:2] or one[2] != 4 or other[2] < 1:
        return False
    return one[1] >= _FEWEST_QUERIES and one[1] != cells(view, [8, 16, 32])
