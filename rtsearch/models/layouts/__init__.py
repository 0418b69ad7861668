"""Recognise detectors by their graph, independent of the exporter.

    yolox        per level, a concatenation of box (4), objectness (1) and class (C) maps
    ultralytics  one concatenation of decoded boxes (4, N) and class probabilities (C, N)
    rows         YOLOv5, v6, v7: one row of box, objectness and classes per cell and anchor, (N, 5 + C)
    detr         one box and C scores for each of Q queries: RT-DETR, D-FINE, RF-DETR, DETR and others

Each decoder adds tensors ``boxes`` (batch, N, 4) xyxy in input px and ``scores`` (batch, N, C) to the graph.
Suppression that an export has built in is dropped, so that the scores of all classes are available and the
thresholds of the settings apply.
"""

from __future__ import annotations

import onnx

from rtsearch.models.layouts.common import Layout, Writer
from rtsearch.models.layouts.detr import detr
from rtsearch.models.layouts.guesses import EXPECTED, guess
from rtsearch.models.layouts.rows import rows
from rtsearch.models.layouts.ultralytics import ultralytics
from rtsearch.models.layouts.yolox import yolox
from rtsearch.models.view import GraphView

__all__ = ["EXPECTED", "Layout", "Writer", "guess", "recognise"]

# A layout further down also fits some networks of those above it.
_DECODERS = (yolox, ultralytics, rows, detr)


def recognise(model: onnx.ModelProto, view: GraphView) -> Layout | None:
    """Find the boxes and scores of a graph and name them; return None if the layout is not known."""
    for decoder in _DECODERS:
        if layout := decoder(model, view):
            return layout
    return None
