"""Look at the graph of a network at one input size: producers, shapes, and what quantised operators mean.

Shapes are not inferred but seen: the graph runs once on a grey picture and answers the shape of each tensor.
So they are known behind operators that shape inference gives up on, such as those of quantised networks and
the arithmetic on shapes in exports with free sides.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from rtsearch._util.wording import one_line
from rtsearch.errors import ModelError
from rtsearch.models.edit import reads
from rtsearch.models.trial import open_trial

__all__ = ["GraphView"]

# Operators that change the type or the scale of a tensor, not what it stands for.
_PASSING = frozenset(["Cast", "Identity", "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"])
# Behind these the shapes depend on what is seen in a picture, and some exports fail where nothing is.
_UNFORESEEN = frozenset(["NonMaxSuppression", "NonZero"])
# Operators that move quantised values without changing their scale.
_MOVING = frozenset(
    [
        "Gather",
        "Identity",
        "MaxPool",
        "Reshape",
        "Resize",
        "Slice",
        "Split",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    ]
)
# Place of the output's scale among the inputs, which the zero point follows; 3 for operators of one tensor.
_SCALE_AT = {
    "QuantizeLinear": 1,
    "QLinearAdd": 6,
    "QLinearConcat": 0,
    "QLinearConv": 6,
    "QLinearMatMul": 6,
    "QLinearMul": 6,
}
_MICROSOFT = "com.microsoft"
_TYPES = {
    "tensor(float)": TensorProto.FLOAT,
    "tensor(float16)": TensorProto.FLOAT16,
    "tensor(uint8)": TensorProto.UINT8,
    "tensor(int8)": TensorProto.INT8,
    "tensor(int32)": TensorProto.INT32,
    "tensor(int64)": TensorProto.INT64,
}
_GREY = 0.45
_MOST_VALUES = 1 << 27  # of an input; 11 pictures of 2048 x 2048 px


class GraphView:
    """Read-only view of a graph: producers, inputs, types and shapes of tensors at one input size.

    Args:
        model: sorted graph; it is not changed.
        image: name of the input that takes the picture.
        wh: width and height of the picture, px.

    Attributes:
        nodes: nodes of the graph, in order.
        outputs: names of the outputs.
        others: values of inputs beside the picture by name, ones.

    Raises:
        ModelError: the graph cannot be run.
    """

    def __init__(self, model: onnx.ModelProto, image: str, wh: tuple[int, int]) -> None:
        self.wh = wh
        self.image = image
        self.nodes = list(model.graph.node)
        self.outputs = [output.name for output in model.graph.output]
        self.producer = {name: node for node in self.nodes for name in node.output if name}
        self.order = {name: i for i, node in enumerate(self.nodes) for name in node.output if name}
        self._computed = _depending(self.nodes, {image})
        pinned = _pinned(model, image, wh)
        feeds = _feeds(pinned, image)
        self.others = {name: value for name, value in feeds.items() if name != image}
        self.shapes, self._types = _seen(pinned, feeds)
        self.shapes |= {name: value.shape for name, value in feeds.items()}
        if (batch := feeds[image].shape[0]) > 1:  # as if it took one picture
            for name in self._computed & self.shapes.keys():
                if self.shapes[name][:1] == (batch,):
                    self.shapes[name] = (1, *self.shapes[name][1:])
        for tensor in model.graph.initializer:
            self.shapes[tensor.name] = tuple(tensor.dims)
            self._types[tensor.name] = tensor.data_type

    def shape(self, tensor: str) -> tuple[int, ...]:
        """Return the shape of a tensor; () where it is not known."""
        return self.shapes.get(tensor, ())

    def type(self, tensor: str) -> int:
        """Return the element type of a tensor as in ``onnx.TensorProto``; 0 where it is not known."""
        return self._types.get(tensor, 0)

    def single(self, tensor: str) -> bool:
        """Tell whether a tensor is float32."""
        return self.type(tensor) == TensorProto.FLOAT

    def stride(self, tensor: str) -> int:
        """Return the number of input pixels per cell of a (1, c, h, w) map; 0 for any other tensor."""
        shape = self.shape(tensor)
        if len(shape) != 4 or shape[0] != 1 or not shape[2] or not shape[3]:
            return 0
        stride = self.wh[0] // shape[3]
        fits = shape[2] * stride == self.wh[1] and shape[3] * stride == self.wh[0]
        return stride if fits and stride & (stride - 1) == 0 else 0

    def kind(self, node: onnx.NodeProto) -> str:
        """Return the operator of a node; that of a quantised operator is named as in float32."""
        return str(node.op_type).removeprefix("QLinear").removesuffix("Integer")

    def maker(self, tensor: str) -> onnx.NodeProto | None:
        """Return the node that computes a tensor, ignoring changes of type and scale; None for inputs."""
        node = self.producer.get(tensor)
        while node is not None and node.op_type in _PASSING:
            node = self.producer.get(node.input[0])
        return node

    def made_by(self, tensor: str, kind: str) -> bool:
        """Tell whether a tensor is the output of an operator, ignoring changes of type and scale."""
        node = self.maker(tensor)
        return node is not None and self.kind(node) == kind

    def computed(self, tensor: str) -> bool:
        """Tell whether a tensor depends on the picture, except through its shape."""
        return tensor in self._computed

    def inputs(self, node: onnx.NodeProto) -> list[str]:
        """Return the inputs of a node that depend on the picture."""
        return [name for name in node.input if self.computed(name)]

    def quantisation(self, tensor: str) -> tuple[str, str]:
        """Return the tensors of scale and zero point of a quantised tensor.

        Raises:
            ModelError: the operator that makes it is not known.
        """
        node = self.producer.get(tensor)
        while node is not None and node.op_type in _MOVING:
            node = self.producer.get(node.input[0])
        if node is None or (node.op_type != "QuantizeLinear" and not node.op_type.startswith("QLinear")):
            kind = "an input" if node is None else node.op_type
            raise ModelError(f"the scale of {tensor}, which comes from {kind}, is not known")
        at = _SCALE_AT.get(node.op_type, 3)
        return node.input[at], node.input[at + 1]

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

    def following(self, tensors: set[str]) -> set[str]:
        """Return some tensors and all that are computed from them, except through shapes."""
        return _depending(self.nodes, tensors)

    def kinds_before(self, tensors: Iterable[str]) -> set[str]:
        """Return the operators that some tensors depend on."""
        before = self.ancestors(tensors)
        return {self.kind(self.producer[name]) for name in before if name in self.producer}

    def last_convolutions(self, tensors: Iterable[str]) -> list[onnx.NodeProto]:
        """Return the last convolutions over maps before some tensors, in the order of the graph."""
        return self._head(tensors)[0]

    def head_kinds(self, tensors: Iterable[str]) -> set[str]:
        """Return the operators between the last convolutions over maps and some tensors."""
        return {self.kind(node) for node in self._head(tensors)[1]}

    def _head(self, tensors: Iterable[str]) -> tuple[list[onnx.NodeProto], list[onnx.NodeProto]]:
        convolutions: dict[str, onnx.NodeProto] = {}
        others: dict[str, onnx.NodeProto] = {}
        waiting = list(tensors)
        while waiting:
            tensor = waiting.pop()
            node = self.producer.get(tensor)
            if node is None or tensor in convolutions or tensor in others or node.op_type == "Shape":
                continue
            if node.op_type == "DynamicQuantizeLinear" and tensor != node.output[0]:
                continue  # the scale of a map is no way to the map
            # The convolution that averages the distribution of a box is not over a map of the picture.
            if self.kind(node) == "Conv" and self.stride(tensor) >= 4:
                convolutions[tensor] = node
            else:
                others[tensor] = node
                waiting.extend(node.input)
        ordered = sorted(convolutions.values(), key=lambda node: self.order[node.output[0]])
        return ordered, list(others.values())


def _depending(nodes: Iterable[onnx.NodeProto], tensors: set[str], *, shapes: bool = False) -> set[str]:
    """Return some tensors and those that sorted nodes compute from them, or also from their shapes."""
    made = set(tensors)
    for node in nodes:
        if (shapes or node.op_type != "Shape") and not made.isdisjoint(reads(node)):
            made.update(name for name in node.output if name)
    return made


def _pinned(model: onnx.ModelProto, image: str, wh: tuple[int, int]) -> onnx.ModelProto:
    """Return a copy that takes pictures of one size and has only nodes whose shapes can be foreseen."""
    pinned = onnx.ModelProto()
    pinned.CopyFrom(model)
    pinned.ir_version = min(model.ir_version, 10)  # onnxruntime refuses versions that it does not know yet
    for entry in pinned.graph.input:
        dims = entry.type.tensor_type.shape.dim
        if entry.name == image:
            sides = [max(dims[0].dim_value, 1), 3, wh[1], wh[0]]
        else:  # a mask of pixels, or the sizes of pictures
            ends = [wh[1], wh[0]] if len(dims) > 2 else [dim.dim_value or 1 for dim in dims[1:]]
            sides = [1] * (len(dims) - len(ends)) + ends
        for dim, size in zip(dims, sides, strict=True):
            dim.dim_value = size
    lost = {name for node in pinned.graph.node if not _known(node, model) for name in node.output}
    after = _depending(pinned.graph.node, lost, shapes=True)
    kept = [node for node in pinned.graph.node if after.isdisjoint(node.output)]
    del pinned.graph.node[:]
    pinned.graph.node.extend(kept)
    del pinned.graph.value_info[:]
    del pinned.graph.output[:]
    return pinned


def _known(node: onnx.NodeProto, model: onnx.ModelProto) -> bool:
    """Tell whether onnxruntime can be expected to run a node, with a shape that can be foreseen."""
    if node.op_type in _UNFORESEEN:
        return False
    local = any(node.op_type == one.name and node.domain == one.domain for one in model.functions)
    return local or node.domain == _MICROSOFT or onnx.defs.has(node.op_type, node.domain)


def _seen(model: onnx.ModelProto, feeds: dict[str, Any]) -> tuple[dict[str, tuple[int, ...]], dict[str, int]]:
    """Return shapes and types of all tensors of a pinned graph.

    Types are read from a session whose outputs are all tensors; shapes come from a run of another one, so
    that no more than a few maps are in memory at a time.
    """
    names = [name for node in model.graph.node for name in node.output if name]
    if not names:
        return {}, {}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    entries = [entry for entry in _opened(model).get_outputs() if entry.type.startswith("tensor(")]
    types = {entry.name: _TYPES.get(entry.type, 0) for entry in entries}
    tensors = [name for name in names if name in types]
    del model.graph.output[:]
    for i, name in enumerate(tensors):
        model.graph.node.append(helper.make_node("Shape", [name], [f"rtsearch/shape{i}"]))
        model.graph.output.append(
            helper.make_tensor_value_info(f"rtsearch/shape{i}", TensorProto.INT64, None)
        )
    session = _opened(model)
    try:
        shapes = session.run(None, feeds)
    except Exception as error:  # onnxruntime's exceptions have no common base below Exception
        raise ModelError(f"the graph cannot be run: {one_line(error)}") from None
    seen = {name: tuple(shape.tolist()) for name, shape in zip(tensors, shapes, strict=True)}
    return seen, types


def _opened(model: onnx.ModelProto) -> Any:
    try:
        return open_trial(model, optimised=False)
    except Exception as error:
        raise ModelError(f"the graph contradicts itself: {one_line(error)}") from None


def _feeds(model: onnx.ModelProto, image: str) -> dict[str, Any]:
    """Return inputs for one run: a grey picture, and ones for everything else.

    Raises:
        ModelError: an input is larger than any picture.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    feeds = {}
    for entry in model.graph.input:
        if entry.name in weights:
            continue
        tensor = entry.type.tensor_type
        shape = [dim.dim_value for dim in tensor.shape.dim]
        if math.prod(shape) > _MOST_VALUES:  # before memory is taken
            raise ModelError(f"its input {entry.name} claims {math.prod(shape):,} values; export it again")
        value = _GREY if entry.name == image else 1
        feeds[entry.name] = np.full(shape, value, helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    return feeds
