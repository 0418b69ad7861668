"""Guess what a graph is that no decoder recognises, and say how to export it again."""

from __future__ import annotations

from collections.abc import Callable

from rtsearch.models.view import GraphView

__all__ = ["EXPECTED", "guess"]

EXPECTED = (
    "expected an export of YOLOX, Ultralytics (v8 to v12, 26), YOLOv5, v6, v7, RT-DETR, D-FINE, RF-DETR, "
    "DETR or YOLOS"
)


def guess(view: GraphView) -> str:
    """Return a likely reason why a graph was not recognised, with the way out."""
    for fits, text in _GUESSES:
        if fits(view):
            return text
    return "if it is a detector, export it with its own project's script, without suppression"


def _maps_of_anchors(view: GraphView) -> bool:
    shapes = [view.shape(name) for name in view.outputs]
    anchors = [len(shape) == 5 and shape[1] == 3 for shape in shapes]
    flat = [len(shape) == 4 and shape[1] % 3 == 0 and shape[1] >= 18 for shape in shapes]
    return len(shapes) > 1 and (all(anchors) or all(flat))


def _one_row(view: GraphView) -> bool:
    return all(len(view.shape(name)) == 2 and view.shape(name)[0] == 1 for name in view.outputs)


def _one_map(view: GraphView) -> bool:
    shapes = [view.shape(name) for name in view.outputs]
    return len(shapes) == 1 and len(shapes[0]) == 4 and shapes[0][2] > 8


def _ready_boxes(view: GraphView) -> bool:
    return any(len(shape := view.shape(name)) in (2, 3) and shape[-1] in (6, 7) for name in view.outputs)


_GUESSES: tuple[tuple[Callable[[GraphView], bool], str], ...] = (
    (
        _maps_of_anchors,
        "its outputs look like YOLOv5 or v7 without grid and anchors: export it again with the grid inside "
        "(YOLOv7: export.py --grid; YOLOv5: export.py without --train)",
    ),
    (_ready_boxes, "its outputs look like boxes after suppression: export it again without suppression"),
    (_one_row, "its output is one vector per picture, as of a classifier; only detectors can be imported"),
    (
        _one_map,
        "its output is one map, as of a segmentation network; only detectors can be imported",
    ),
)
