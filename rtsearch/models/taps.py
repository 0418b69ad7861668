"""Find the maps in a network's graph that describe objects.

A role names a map by what it is to the network, so one rule finds it in every family:

    early4    the last map of stride 4 on the way in, before it is halved (also 2, 8, 16) or pooled (32)
    deep32    the end of the way in: the map that is enlarged first
    neck8     what the box and the class branch of the level with stride 8 both start from
    class8    what the last convolution of the class branch reads
    box8      what the last convolution of the box branch reads
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import onnx

from rtsearch.errors import ModelError

__all__ = ["TAPS", "Found", "GraphView", "find_taps"]

_DEEP = ("deep32",)
TAPS: dict[str, tuple[str, ...]] = {"yolo26": _DEEP, "yolox": _DEEP, "ultralytics": _DEEP}


@dataclass(frozen=True)
class Found:
    """A tensor of the graph that plays a role; ``single`` tells float32 from half precision."""

    role: str
    tensor: str
    stride: int
    channels: int
    single: bool = True


class GraphView:
    """A graph to look at: who makes a tensor, from what, and of what shape at one input size."""

    def __init__(self, model: onnx.ModelProto, image: str, wh: tuple[int, int]) -> None:
        pinned = onnx.ModelProto()
        pinned.CopyFrom(model)
        for entry in pinned.graph.input:
            if entry.name == image:
                dims = entry.type.tensor_type.shape.dim
                for dim, size in zip(dims, (1, 3, wh[1], wh[0]), strict=True):
                    dim.dim_value = size
        # Declared outputs may carry sizes of their own; inference tells them anew.
        for entry in pinned.graph.output:
            entry.type.tensor_type.ClearField("shape")
        del pinned.graph.value_info[:]
        try:
            graph = onnx.shape_inference.infer_shapes(pinned, data_prop=True).graph
        except (onnx.shape_inference.InferenceError, RuntimeError, ValueError) as error:
            raise ModelError(f"the graph contradicts itself: {' '.join(str(error).split())[:200]}") from None
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
        """Shape of a tensor; () where it is not known, 0 for a side that is not known."""
        if tensor in self.initializers:
            return tuple(self.initializers[tensor].dims)
        known = self._types.get(tensor)
        return tuple(dim.dim_value for dim in known.shape.dim) if known else ()

    def single(self, tensor: str) -> bool:
        """Tell whether a tensor is float32."""
        known = self._types.get(tensor)
        return known is not None and known.elem_type == onnx.TensorProto.FLOAT

    def stride(self, tensor: str) -> int:
        """Input pixels per cell of a (1, c, h, w) map; 0 for any other tensor."""
        shape = self.shape(tensor)
        if len(shape) != 4 or shape[0] != 1 or not shape[2] or not shape[3]:
            return 0
        stride = self.wh[0] // shape[3]
        fits = shape[2] * stride == self.wh[1] and shape[3] * stride == self.wh[0]
        return stride if fits and stride & (stride - 1) == 0 else 0

    def made_by(self, tensor: str, kind: str) -> bool:
        """Tell whether a tensor comes straight from an operator, but for a change of type."""
        node = self.producer.get(tensor)
        while node is not None and node.op_type == "Cast":
            node = self.producer.get(node.input[0])
        return node is not None and node.op_type == kind

    def computed(self, tensor: str) -> bool:
        """Tell whether a tensor depends on the picture."""
        return self.image in self.ancestors([tensor])

    def ancestors(self, tensors: Iterable[str]) -> set[str]:
        """The tensors and all that they are made from, except by way of shapes."""
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
        """The convolutions over maps that are met first when walking back, in the order of the graph."""
        found: dict[str, onnx.NodeProto] = {}
        seen: set[str] = set()
        waiting = list(tensors)
        while waiting:
            tensor = waiting.pop()
            node = self.producer.get(tensor)
            if tensor in seen or node is None or node.op_type == "Shape":
                continue
            seen.add(tensor)
            # The convolution that sums a box's distribution is none: its input is no map of the picture.
            if node.op_type == "Conv" and self.stride(tensor) >= 4:
                found[tensor] = node
            else:
                waiting.extend(node.input)
        return sorted(found.values(), key=lambda node: self.order[node.output[0]])


def find_taps(
    view: GraphView, boxes: Iterable[str], scores: Iterable[str], classes: int, roles: Iterable[str]
) -> list[Found]:
    """The tensors that play the roles, in the order asked for; those that the graph lacks are left out.

    Args:
        view: the graph.
        boxes: tensors that all boxes come from.
        scores: tensors that all scores come from.
        classes: how many there are; tells the class branch from the box branch.
        roles: names as in the head of this file.
    """
    levels: dict[int, list[onnx.NodeProto]] = {}
    for node in view.last_convolutions([*boxes, *scores]):
        levels.setdefault(view.stride(node.output[0]), []).append(node)
    found = []
    for role in roles:
        match = re.fullmatch(r"(early|deep|neck|class|box)(\d+)", role)
        if match is None:
            raise ValueError(f"no such role of a map: {role}")
        kind, stride = match[1], int(match[2])
        tensor = (
            _on_the_way_in(view, kind, stride)
            if kind in ("early", "deep")
            else _of_level(view, kind, levels.get(stride, []), classes)
        )
        if tensor and view.stride(tensor):
            found.append(Found(role, tensor, view.stride(tensor), view.shape(tensor)[1], view.single(tensor)))
    return found


def _on_the_way_in(view: GraphView, kind: str, stride: int) -> str:
    for node in view.nodes:
        if not node.input or view.stride(node.input[0]) != stride:
            continue
        halved = node.op_type == "Conv" and view.stride(node.output[0]) == 2 * stride
        enlarged = node.op_type in ("Resize", "Upsample")
        if (kind == "early" and halved) or (kind == "deep" and enlarged):
            return str(node.input[0])
        if kind == "early" and node.op_type == "MaxPool":
            return str(view.last_convolutions(node.input[:1])[-1].input[0])
    return ""


def _of_level(view: GraphView, kind: str, last: list[onnx.NodeProto], classes: int) -> str:
    if len(last) < 2:
        return ""
    if kind == "neck":
        shared = set.intersection(*(view.ancestors(node.input[:1]) for node in last))
        maps = [t for t in shared if view.stride(t) == view.stride(last[0].output[0]) and t in view.order]
        return max(maps, key=view.order.__getitem__, default="")
    wanted = classes if kind == "class" else view.shape(last[0].output[0])[1]
    fitting = [node for node in last if view.shape(node.output[0])[1] == wanted]
    if kind == "box":
        fitting = [node for node in last if view.shape(node.output[0])[1] not in (1, classes)] or last
    return str(fitting[-1].input[0]) if fitting else ""
