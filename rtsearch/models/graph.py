"""Write ONNX graphs: operators, constants, and the decoding of boxes at the end of prepared models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike, NDArray
from onnx import TensorProto, helper, numpy_helper

__all__ = ["OPSET", "GraphWriter", "cell_centres", "fold_batchnorm"]

OPSET = 17  # Shape with start and end (opset 15) lets a runtime fold the grid once the input size is fixed

_AXES_ARE_INPUT = 18  # opset from which ReduceMax takes its axes as a tensor


class GraphWriter:
    """Collects nodes and constants; methods return the names of the tensors that they add.

    Args:
        prefix: prefix of all names.
        opset: version of the operators.
    """

    def __init__(self, prefix: str = "", opset: int = OPSET) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self._prefix = prefix
        self._opset = opset

    def constant(self, value: ArrayLike, dtype: type[np.generic] | None = None) -> str:
        """Add a constant array."""
        name = f"{self._prefix}c{len(self.initializers)}"
        # ascontiguousarray would turn scalars into vectors.
        self.initializers.append(numpy_helper.from_array(np.array(value, dtype, order="C"), name))
        return name

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add an operator with one output."""
        return self.ops(kind, inputs, 1, **attributes)[0]

    def ops(self, kind: str, inputs: Sequence[str], count: int, **attributes: Any) -> list[str]:
        """Add an operator with several outputs."""
        stem = f"{self._prefix}{kind}{len(self.nodes)}"
        outputs = [stem if count == 1 else f"{stem}_{i}" for i in range(count)]
        self.nodes.append(helper.make_node(kind, list(inputs), outputs, name=stem, **attributes))
        return outputs

    def output(self, name: str, source: str, kind: str = "Identity", **attributes: Any) -> None:
        """Add an operator whose output has a given name."""
        self.nodes.append(
            helper.make_node(kind, [source], [name], name=f"{self._prefix}{name}", **attributes)
        )

    def rows(self, x: str, start: int, end: int) -> str:
        """Add a slice of channels ``start`` to ``end`` of a (batch, c, N) tensor."""
        bounds = (self.constant([value], np.int64) for value in (start, end, 1))
        return self.op("Slice", x, *bounds)

    def size_of(self, image: str) -> tuple[str, str]:
        """Add height and width of a (batch, c, h, w) tensor, each an int64 vector of one element."""
        # onnxruntime folds the shape of a tensor only when all its sides are known, and the batch is not.
        # So the batch is sliced off first, and the folded shape takes no time at run time.
        if self._opset < _AXES_ARE_INPUT:
            flat = self.op("ReduceMax", image, axes=(0, 1))
        else:
            flat = self.op("ReduceMax", image, self.constant((0, 1), np.int64))
        return self.op("Shape", flat, start=2, end=3), self.op("Shape", flat, start=3, end=4)


def cell_centres(
    graph: GraphWriter, maps: Sequence[str], strides: Sequence[int], *, offset: float
) -> tuple[str, str]:
    """Add the reference points of boxes, one per cell of each map, and the strides of the cells.

    They are computed inside the graph, so that one file serves every input size; a runtime that knows the
    size folds them into constants.

    Args:
        graph: graph that they are added to.
        maps: (batch, c, h, w) tensors, one per level.
        strides: stride of each map, input px per cell.
        offset: place of the point within its cell, in cells.

    Returns:
        points (1, 2, N) and strides (1, 1, N) float32; points in input px.
    """
    points, sizes = [], []
    for feature, stride in zip(maps, strides, strict=True):
        height, width = graph.size_of(feature)
        shape = graph.op("Concat", height, width, axis=0)
        axes = []
        for count, along in ((width, (1, -1)), (height, (-1, 1))):
            steps = _range(graph, count)
            steps = graph.op("Mul", steps, graph.constant(stride, np.float32))
            steps = graph.op("Add", steps, graph.constant(offset * stride, np.float32))
            column = graph.op("Reshape", steps, graph.constant(along, np.int64))
            grid = graph.op("Expand", column, shape)
            axes.append(graph.op("Reshape", grid, graph.constant((1, 1, -1), np.int64)))
        points.append(graph.op("Concat", *axes, axis=1))
        cells = graph.op("Reshape", graph.op("Mul", height, width), graph.constant([1], np.int64))
        size_shape = graph.op("Concat", graph.constant([1, 1], np.int64), cells, axis=0)
        sizes.append(graph.op("Expand", graph.constant(stride, np.float32), size_shape))
    return graph.op("Concat", *points, axis=2), graph.op("Concat", *sizes, axis=2)


def _range(graph: GraphWriter, count: str) -> str:
    scalar = graph.op("Squeeze", count)
    steps = graph.op("Range", graph.constant(0, np.int64), scalar, graph.constant(1, np.int64))
    return graph.op("Cast", steps, to=TensorProto.FLOAT)


def fold_batchnorm(
    weight: NDArray[np.float32],
    bias: NDArray[np.float32],
    scale: NDArray[np.float32],
    shift: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return weights and bias of a convolution with ``scale * x + shift`` per channel folded into it."""
    return weight * scale[:, None, None, None], bias * scale + shift
