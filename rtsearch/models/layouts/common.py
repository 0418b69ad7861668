"""Share what the decoders of all layouts need: their result, and the writer of the nodes that they add."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx
from onnx import TensorProto

from rtsearch.models.graph import GraphWriter
from rtsearch.models.view import GraphView

__all__ = ["SELECTIONS", "Layout", "Writer", "cells", "listed", "opset_of", "selection", "strides_of"]

# (centre x, centre y, width, height) times this matrix gives (x1, y1, x2, y2).
_CORNERS = np.array([[1, 0, 1, 0], [0, 1, 0, 1], [-0.5, 0, 0.5, 0], [0, -0.5, 0, 0.5]], np.float32)

SELECTIONS = {
    "nms": "needed; the one built in is left out, so that thresholds can be changed",
    "top": "not needed, one box per object; the built-in choice of the best is left out",
    "": "needed, none in the file",
}
"""Sentence about suppression for each result of ``selection``."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Parts of a detector that were found in a graph.

    Attributes:
        family: family of networks.
        classes: number of classes.
        needs_nms: objects are reported several times, so non-maximum suppression is needed.
        lines: the findings as lines for the user.
        pixel_order: order of the input planes.
        pixel_scale: factor from a pixel 0..255 to the input.
        imagenet: the network takes planes less ImageNet's mean, divided by its deviation.
        stretch: pictures are stretched to the input instead of padded.
        size_free: everything before the boxes and scores works at any picture size.
        one_size: the boxes are right at the size of this view only.
        multiple: divisor of the input's sides, px.
        class_names: names of the classes where the layout decides them; otherwise ().
    """

    family: str
    classes: int
    needs_nms: bool
    lines: tuple[str, ...]
    pixel_order: Literal["rgb", "bgr"] = "rgb"
    pixel_scale: float = 1 / 255
    imagenet: bool = False
    stretch: bool = False
    size_free: bool = False
    one_size: bool = False
    multiple: int = 32
    class_names: tuple[str, ...] = ()


class Writer(GraphWriter):
    """Writer of nodes behind those of a graph.

    Args:
        model: model that the nodes are added to.
        view: view of it.
        prefix: prefix of all names.
    """

    def __init__(self, model: onnx.ModelProto, view: GraphView, prefix: str = "rtsearch/") -> None:
        super().__init__(prefix, opset_of(model))
        self._model = model
        self._view = view

    def single(self, tensor: str) -> str:
        """Return a tensor of the graph as float32, after adding a conversion where it is needed."""
        kind = self._view.type(tensor)
        if kind == TensorProto.FLOAT:
            return tensor
        if kind in (TensorProto.UINT8, TensorProto.INT8):
            return self.op("DequantizeLinear", tensor, *self._view.quantisation(tensor))
        return self.op("Cast", tensor, to=TensorProto.FLOAT)

    def corners(self, boxes: str) -> str:
        """Add the corners of (batch, N, 4) boxes given by centre and size."""
        return self.op("MatMul", boxes, self.constant(_CORNERS))

    def finish(self, boxes: str, scores: str) -> None:
        """Name (batch, N, 4) boxes and (batch, N, C) scores, and add all nodes to the model."""
        self.output("boxes", boxes)
        self.output("scores", scores)
        self.add_to_model()

    def add_to_model(self) -> None:
        """Add all nodes to the model."""
        self._model.graph.node.extend(self.nodes)
        self._model.graph.initializer.extend(self.initializers)


def opset_of(model: onnx.ModelProto) -> int:
    """Return the version of the standard operators of a model."""
    return next((int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 1)


def strides_of(view: GraphView, tensors: list[str]) -> list[int]:
    """Return the strides of the last convolutions before some tensors, finest first."""
    return sorted({view.stride(last.output[0]) for last in view.last_convolutions(tensors)})


def cells(view: GraphView, strides: list[int]) -> int:
    """Return the number of cells of maps with some strides."""
    return sum((view.wh[0] // stride) * (view.wh[1] // stride) for stride in strides)


def selection(view: GraphView, predictions: str) -> str:
    """Return the last step of an export: ``nms``, ``top`` (choice of the best boxes), or ""."""
    made = {predictions}
    kinds = set()
    for node in view.nodes:
        if made.intersection(node.input):
            made.update(node.output)
            kinds.add(node.op_type)
    if any("NMS" in kind or kind == "NonMaxSuppression" for kind in kinds):
        return "nms"
    return "top" if "TopK" in kinds else ""


def listed(numbers: list[int]) -> str:
    """Return numbers as text with commas between them."""
    return ", ".join(str(number) for number in numbers)
