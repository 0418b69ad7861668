"""Write half precision into a network: TensorRT takes the type of every tensor from the ONNX file.

Operators of ``_HALF`` work in float16. All other nodes stay in float32, and so do

- the nodes between the last convolutions of the heads and ``boxes`` and ``scores``: coordinates up to 1280 px
  would be rounded to whole pixels, and small differences count in the sigmoid of the scores; for ``boxes``
  also these convolutions, which have four channels, some of them exponents;
- the softmax of attention;
- ``images`` and all nodes up to the sixth convolution: their rounding errors pass through the whole network.
  In YOLO26n rounding the pixels alone moved scores as far as rounding all weights;
- nodes with weights beyond the range of float16, or with values near its limit on sample pictures.

A bias beyond 2 is split: the convolution gets the nearest float16, and the rest is added in float32 behind
it; the activation follows in float32 too. The error of a rounded bias is the same in every cell, so it adds
up where other errors cancel out. The split costs no multiply-adds, while keeping such convolutions in float32
would cost half of them.

A Cast is inserted between float16 and float32. The taps may become float16; ``boxes`` and ``scores`` stay
float32.

onnxconverter-common 1.16 and onnxruntime.transformers.float16 were tried on YOLO26n: the first writes graphs
that do not load, the second rounds to float16 between any two nodes that are kept in float32, which spoils
the decoding of boxes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from rtsearch._util.cpu import usable_cores
from rtsearch._util.wording import one_line
from rtsearch.errors import ModelError
from rtsearch.types import F32Array

__all__ = ["halved", "near_the_limit"]

# Operators that are as good in float16; nodes of other operators stay in float32.
# fmt: off
_HALF = frozenset([
    "Add", "AveragePool", "Clip", "Concat", "Conv", "ConvTranspose", "DepthToSpace", "Expand", "Flatten",
    "Gather", "Gemm", "GlobalAveragePool", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "MatMul",
    "MaxPool", "Mul", "PRelu", "Pad", "ReduceMax", "Relu", "Reshape", "Resize", "Sigmoid", "Slice",
    "SpaceToDepth", "Split", "Squeeze", "Sub", "Tanh", "Tile", "Transpose", "Unsqueeze",
])
# fmt: on
_ACTIVATIONS = frozenset(
    ["Clip", "HardSigmoid", "HardSwish", "LeakyRelu", "Mul", "PRelu", "Relu", "Sigmoid", "Tanh"]
)
_STEM = 6  # number of layers that stay in float32
_LARGE_BIAS = 2.0
_LAYERS = frozenset(["Conv", "ConvTranspose"])
_SHAPES = frozenset(["Concat", "Flatten", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"])
_FLOAT32_INPUTS = {"Resize": (1, 2)}  # places of the inputs for region and scales, which are always float32
_LARGEST = 65504.0
_MARGIN = 8.0  # factor by which other pictures may exceed the samples


def near_the_limit(model: onnx.ModelProto, images: F32Array) -> set[str]:
    """Return the tensors that come near the largest float16 when a float32 network runs on sample pictures.

    Args:
        model: network with a fixed input size.
        images: (batch, 3, height, width) float32, input of the network.

    Raises:
        ModelError: onnxruntime cannot run the network.
    """
    candidates = [node for node in model.graph.node if node.op_type in _HALF]
    kinds = _kinds(model)
    names = [name for node in candidates for name in node.output if kinds.get(name) == TensorProto.FLOAT]
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    probe.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = usable_cores()
    try:
        session = ort.InferenceSession(probe.SerializeToString(), options, providers=["CPUExecutionProvider"])
        values = session.run(names, {"images": images})
    except Exception as error:  # onnxruntime's exceptions have no common base below Exception
        raise ModelError(f"the network cannot be run: {one_line(error)}") from None
    limit = _LARGEST / _MARGIN
    return {name for name, array in zip(names, values, strict=True) if not _within(array, limit)}


def halved(model: onnx.ModelProto, keep: Collection[str] = ()) -> onnx.ModelProto:
    """Return a copy of a network in half precision, except for the nodes that need float32.

    Args:
        model: a prepared model in float32; it is not changed.
        keep: tensors that stay in float32, with the nodes that write and read them.

    Raises:
        ModelError: the model is not in float32, or has branches or loops.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    del made.graph.value_info[:]
    _constants_to_initializers(made.graph)
    writer = _Writer(made, keep)
    writer.rewrite()
    return made


class _Writer:
    """Converts the graph of one model in place."""

    def __init__(self, model: onnx.ModelProto, keep: Collection[str]) -> None:
        self.graph = model.graph
        self.kinds = _kinds(model)
        self.weights = {tensor.name: tensor for tensor in self.graph.initializer}
        large = _large_biases(self.graph, self.weights)
        half = _half_nodes(self.graph, self.kinds, self.weights, keep, large)
        self.half_nodes, self.in_parts = half, half & large
        self.in_half = {
            name
            for i in half - self.in_parts
            for name in self.graph.node[i].output
            if self.kinds.get(name) == TensorProto.FLOAT
        }
        self.nodes: list[onnx.NodeProto] = []
        self.casts: dict[tuple[str, bool], str] = {}

    def rewrite(self) -> None:
        for i, node in enumerate(self.graph.node):
            half = i in self.half_nodes
            single = _FLOAT32_INPUTS.get(node.op_type, ()) if half else ()
            parts = tuple(node.input[1:3]) if i in self.in_parts else ()
            # Casts come before the node, so that the graph stays sorted.
            node.input[:] = [self._as(name, half and at not in single) for at, name in enumerate(node.input)]
            self.nodes.append(node)
            if parts:
                self._add_rest(node, *parts)
        del self.graph.node[:]
        self.graph.node.extend(self.nodes)
        used = {name for node in self.nodes for name in node.input}
        kept = [tensor for tensor in self.graph.initializer if tensor.name in used]
        del self.graph.initializer[:]
        self.graph.initializer.extend(kept)
        for entry in (*self.graph.input, *self.graph.output):
            if entry.name in self.in_half:
                entry.type.tensor_type.elem_type = TensorProto.FLOAT16

    def _add_rest(self, node: onnx.NodeProto, kernel: str, bias: str) -> None:
        """Add a node that adds, in float32, the part of a bias that float16 loses."""
        made, rest = node.output[0], f"{bias}.rest"
        if rest not in self.weights:
            exact = numpy_helper.to_array(self.weights[bias])
            each = (-1, *[1] * (len(self.weights[kernel].dims) - 2))  # shape with one value per channel
            value = (exact - exact.astype(np.float16)).reshape(each)
            self.weights[rest] = numpy_helper.from_array(value, rest)
            self.graph.initializer.append(self.weights[rest])
        node.output[0], wide = f"{made}.rounded", f"{made}.wide"
        self.nodes += [
            helper.make_node("Cast", [node.output[0]], [wide], name=wide, to=TensorProto.FLOAT),
            helper.make_node("Add", [wide, rest], [made], name=f"{made}.exact"),
        ]

    def _as(self, name: str, half: bool) -> str:
        """Return the name of a tensor in float16 or float32, adding a Cast where needed."""
        if self.kinds.get(name) != TensorProto.FLOAT or (name in self.in_half) == half:
            return name
        if (name, half) not in self.casts:
            other = f"{name}{'.half' if half else '.single'}"
            self.casts[name, half] = other
            if name in self.weights:
                value = numpy_helper.to_array(self.weights[name]).astype(np.float16)
                self.graph.initializer.append(numpy_helper.from_array(value, other))
            else:
                to = TensorProto.FLOAT16 if half else TensorProto.FLOAT
                self.nodes.append(helper.make_node("Cast", [name], [other], name=other, to=to))
        return self.casts[name, half]


def _half_nodes(
    graph: onnx.GraphProto,
    kinds: dict[str, int],
    weights: dict[str, onnx.TensorProto],
    keep: Collection[str],
    large: set[int],
) -> set[int]:
    """Return the places of the nodes that will work in float16.

    Args:
        graph: the graph of a float32 model.
        kinds: element type of every tensor.
        weights: initializers by name.
        keep: tensors that stay in float32.
        large: places of layers whose bias is too large to be rounded.
    """
    too_large = {
        name
        for name, tensor in weights.items()
        if tensor.data_type == TensorProto.FLOAT and not _within(numpy_helper.to_array(tensor), _LARGEST)
    }
    spared = _decoding(graph, kinds) | _stem_and_activations(graph, kinds, weights, large)
    chosen = set()
    for i, node in enumerate(graph.node):
        single = _FLOAT32_INPUTS.get(node.op_type, ())
        reads = [name for at, name in enumerate(node.input) if at not in single]
        floats = any(kinds.get(name) == TensorProto.FLOAT for name in (*reads, *node.output))
        if (
            node.op_type in _HALF
            and not node.domain
            and floats
            and i not in spared
            and not too_large.intersection(reads)
            and not set(keep).intersection((*reads, *node.output))
        ):
            chosen.add(i)
    return chosen


def _large_biases(graph: onnx.GraphProto, weights: dict[str, onnx.TensorProto]) -> set[int]:
    """Return the places of the layers whose bias must not be rounded."""
    found = set()
    for i, node in enumerate(graph.node):
        if node.op_type in _LAYERS and len(node.input) > 2 and weights.keys() >= set(node.input[1:3]):
            bias = numpy_helper.to_array(weights[node.input[2]])
            if not _within(bias, _LARGE_BIAS) and _within(bias, _LARGEST):
                found.add(i)
    return found


def _stem_and_activations(
    graph: onnx.GraphProto,
    kinds: dict[str, int],
    weights: dict[str, onnx.TensorProto],
    large: set[int],
) -> set[int]:
    """Return the places of the stem's nodes, and of activations that only read tensors in float32."""
    layers = [i for i, node in enumerate(graph.node) if node.op_type in _LAYERS]
    last = layers[:_STEM][-1] if layers else -1
    found: set[int] = set()
    single: set[str] = set()
    for i, node in enumerate(graph.node):
        read = [name for name in node.input if kinds.get(name) == TensorProto.FLOAT and name not in weights]
        if i <= last or (node.op_type in _ACTIVATIONS and read and single.issuperset(read)):
            found.add(i)
            single.update(node.output)
        elif i in large:
            single.update(node.output)
    return found


def _decoding(graph: onnx.GraphProto, kinds: dict[str, int]) -> set[int]:
    """Return the places of nodes after the heads' last layers, and of the last layers of the boxes."""
    makers = {name: i for i, node in enumerate(graph.node) for name in node.output if name}

    def feeding(i: int) -> list[int]:
        # Integer inputs are sizes of maps; following them would lead back into the network.
        floats = (name for name in graph.node[i].input if kinds.get(name) == TensorProto.FLOAT)
        return [makers[name] for name in floats if name in makers]

    def is_layer(i: int) -> bool:
        return graph.node[i].op_type in _LAYERS and not averages(i)

    def averages(i: int) -> bool:
        """Tell whether a layer turns a distribution into its mean, the last step of some box decodings."""
        ahead = feeding(i)
        while any(graph.node[j].op_type in _SHAPES for j in ahead):
            ahead = [k for j in ahead for k in (feeding(j) if graph.node[j].op_type in _SHAPES else [j])]
        return any(graph.node[j].op_type == "Softmax" for j in ahead)

    found: set[int] = set()
    for name in ("boxes", "scores"):
        seen: set[int] = set()
        ahead = [makers[name]] if name in makers else []
        while ahead:
            i = ahead.pop()
            if i not in seen:
                seen.add(i)
                ahead += [j for j in feeding(i) if not is_layer(j)]
                if name == "boxes":
                    found.update(j for j in feeding(i) if is_layer(j))
        found |= seen
    return found


def _kinds(model: onnx.ModelProto) -> dict[str, int]:
    """Return the element type of every tensor."""
    for node in model.graph.node:
        if any(entry.HasField("g") or entry.graphs for entry in node.attribute):
            raise ModelError(
                f"half precision: {node.name or node.output[0]} ({node.op_type}) has graphs inside; "
                "build with --precision fp32"
            )
    try:
        graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    except onnx.shape_inference.InferenceError as error:
        raise ModelError(f"not a valid network: {one_line(error)}") from None
    kinds: dict[str, int] = {tensor.name: tensor.data_type for tensor in graph.initializer}
    typed: Iterable[onnx.ValueInfoProto] = (*graph.input, *graph.value_info, *graph.output)
    kinds |= {entry.name: entry.type.tensor_type.elem_type for entry in typed}
    if kinds.get("images") != TensorProto.FLOAT:
        raise ModelError("half precision is made of a prepared model, whose input is float32")
    return kinds


def _constants_to_initializers(graph: onnx.GraphProto) -> None:
    """Turn Constant nodes into initializers."""
    kept = []
    for node in graph.node:
        value = next((entry.t for entry in node.attribute if entry.name == "value"), None)
        if node.op_type == "Constant" and value is not None:
            tensor = graph.initializer.add()
            tensor.CopyFrom(value)
            tensor.name = node.output[0]
        else:
            kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)


def _within(array: F32Array, limit: float) -> bool:
    return bool(np.isfinite(array).all() and (not array.size or np.abs(array).max() <= limit))
