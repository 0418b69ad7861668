"""Find the maps in a network's graph that describe objects.

A role names a map by its place in the network, so one rule finds it in every family: ``deep32`` is the map of
stride 32 that is enlarged first, where the backbone ends and the neck begins.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import onnx

from rtsearch._util.wording import one_line
from rtsearch.errors import ModelError

__all__ = ["TAPS", "Found", "GraphView", "find_taps"]

_DEEP = ("deep32",)
TAPS: dict[str, tuple[str, ...]] = {"yolo26": _DEEP, "yolox": _DEEP, "ultralytics": _DEEP}


@dataclass(frozen=True)
class Found:
    """Tensor of the graph that has a role.

    Attributes:
        role: name of the role.
        tensor: name of the tensor.
        stride: number of input pixels per cell.
        channels: number of values per cell.
        single: the tensor is float32, not half precision.
    """

    role: str
    tensor: str
    stride: int
    channels: int
    single: bool = True


class GraphView:
    """Read-only view of a graph: producers, inputs and shapes of tensors at one input size."""

    def __init__(self, model: onnx.ModelProto, image: str, wh: tuple[int, int]) -> None:
        pinned = onnx.ModelProto()
        pinned.CopyFrom(model)
        for entry in pinned.graph.input:
            if entry.name == image:
                dims = entry.type.tensor_type.shape.dim
                for dim, size in zip(dims, (1, 3, wh[1], wh[0]), strict=True):
                    dim.dim_value = size
        # Declared sizes of outputs may differ from those at this input size, so they are inferred again.
        for entry in pinned.graph.output:
            entry.type.tensor_type.ClearField("shape")
        del pinned.graph.value_info[:]
        try:
            graph = onnx.shape_inference.infer_shapes(pinned, data_prop=True).graph
        except (onnx.shape_inference.InferenceError, RuntimeError, ValueError) as error:
            raise ModelError(f"the graph contradicts itself: {one_line(error)}") from None
        self.wh = wh
        self.image = image
        self.nodes = list(graph.node)
        self.initializers = {tensor.name: tensor for tensor in graph.initializer}
        self.producer = {name: node for node in self.nodes for name in node.output if name}
        self.order = {name: i for i, node in enumerate(self.nodes) for name in node.output if name}
        self._types = {
            entry.name: entry.type.tensor_type for entry in (*graph.value_info, *graph.input, *graph.output)
        }

    def shape(self, tensor: str) -> tuple[int, ...]:
        """Return the shape of a tensor; () where it is not known, with 0 for unknown sides."""
        if tensor in self.initializers:
            return tuple(self.initializers[tensor].dims)
        known = self._types.get(tensor)
        return tuple(dim.dim_value for dim in known.shape.dim) if known else ()

    def single(self, tensor: str) -> bool:
        """Tell whether a tensor is float32."""
        known = self._types.get(tensor)
        return known is not None and known.elem_type == onnx.TensorProto.FLOAT

    def stride(self, tensor: str) -> int:
        """Return the number of input pixels per cell of a (1, c, h, w) map; 0 for any other tensor."""
        shape = self.shape(tensor)
        if len(shape) != 4 or shape[0] != 1 or not shape[2] or not shape[3]:
            return 0
        stride = self.wh[0] // shape[3]
        fits = shape[2] * stride == self.wh[1] and shape[3] * stride == self.wh[0]
        return stride if fits and stride & (stride - 1) == 0 else 0

    def made_by(self, tensor: str, kind: str) -> bool:
        """Tell whether a tensor is the output of an operator, ignoring casts."""
        node = self.producer.get(tensor)
        while node is not None and node.op_type == "Cast":
            node = self.producer.get(node.input[0])
        return node is not None and node.op_type == kind

    def computed(self, tensor: str) -> bool:
        """Tell whether a tensor depends on the picture."""
        return self.image in self.ancestors([tensor])

    def ancestors(self, tensors: Iterable[str]) -> set[str]:
        """Return the tensors and all tensors that they depend on, except through shapes."""
        seen: set[str] = set()
        waiting = list(tensors)
        while waiting:
            tensor = waiting.pop()
            if tensor in seen or not tensor:
                continue
            seen.add(tensor)
            node = self.producer.get(tensor)
            if node is not None and node.op_type != "Shape":
                waiting.extend(node.input)
        return seen

    def last_convolutions(self, tensors: Iterable[str]) -> list[onnx.NodeProto]:
        """Return the last convolutions over maps before some tensors, in the order of the graph."""
        found: dict[str, onnx.NodeProto] = {}
        seen: set[str] = set()
        waiting = list(tensors)
        while waiting:
            tensor = waiting.pop()
            node = self.producer.get(tensor)
            if tensor in seen or node is None or node.op_type == "Shape":
                continue
            seen.add(tensor)
            # The convolution that averages the distribution of a box is not over a map of the picture.
            if node.op_type == "Conv" and self.stride(tensor) >= 4:
                found[tensor] = node
            else:
                waiting.extend(node.input)
        return sorted(found.values(), key=lambda node: self.order[node.output[0]])


def find_taps(view: GraphView, roles: Iterable[str]) -> list[Found]:
    """Return the tensors that have the roles, in the same order; roles that the graph lacks are left out.

    Args:
        view: the graph.
        roles: names as in the docstring of this module, ``deep`` and a stride.

    Raises:
        ValueError: no role has that name.
    """
    found = []
    for role in roles:
        match = re.fullmatch(r"deep(\d+)", role)
        if match is None:
            raise ValueError(f"no such role of a map: {role}")
        stride = int(match[1])
        if tensor := _first_enlarged(view, stride):
            found.append(Found(role, tensor, stride, view.shape(tensor)[1], view.single(tensor)))
    return found


def _first_enlarged(view: GraphView, stride: int) -> str:
    """Return the first map of a stride that is enlarged; "" where none is."""
    for node in view.nodes:
        if node.op_type in ("Resize", "Upsample") and view.stride(node.input[0]) == stride:
            return str(node.input[0])
    return ""
