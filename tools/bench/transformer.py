"""Write a transformer with random weights as ONNX: of CLIP's build, to time networks of that size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

__all__ = ["transformer"]

_PATCH_PX = 32
_HEAD = 64


def transformer(
    path: Path, *, width: int, layers: int, dim: int, pixels: int = 0, words: int = 0, tokens: int = 0
) -> None:
    """Write a network of pictures (n, 3, pixels, pixels) or, with ``words``, of texts (n, tokens).

    Args:
        path: file to write.
        width: length of the vector of a token; layers have heads of 64.
        layers: number of layers.
        dim: length of the vector that comes out.
        pixels: side of the pictures.
        words: words of the vocabulary.
        tokens: tokens of a text.
    """
    net = _Network(width)
    if words:
        net.add("Gather", [net.weights(words, width), "in"], "x0")
        given = helper.make_tensor_value_info("in", TensorProto.INT64, ["n", tokens])
    else:
        patches = net.add(
            "Conv", ["in", net.weights(width, 3, _PATCH_PX, _PATCH_PX)], strides=[_PATCH_PX] * 2
        )
        flat = net.add("Reshape", [patches, net.numbers(0, width, -1)])
        net.add("Transpose", [flat], "x0", perm=[0, 2, 1])
        given = helper.make_tensor_value_info("in", TensorProto.FLOAT, ["n", 3, pixels, pixels])
    for layer in range(layers):
        net.layer(f"x{layer}", f"x{layer + 1}")
    first = net.add("Gather", [f"x{layers}", net.numbers(0, scalar=True)], axis=1)
    net.add("MatMul", [first, net.weights(width, dim)], "out")
    result = helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", dim])
    graph = helper.make_graph(net.nodes, "transformer", [given], [result], net.constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


class _Network:
    """Collects the nodes and weights of a graph."""

    def __init__(self, width: int) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._width, self._rng = width, np.random.default_rng(0)

    def add(self, kind: str, inputs: list[str], output: str = "", **attributes: Any) -> str:
        output = output or f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def weights(self, *shape: int) -> str:
        return self._constant(self._rng.standard_normal(shape, np.float32) * np.float32(0.02))

    def numbers(self, *values: int, scalar: bool = False) -> str:
        return self._constant(np.array(values[0] if scalar else values, np.int64))

    def layer(self, given: str, output: str) -> None:
        width, heads = self._width, self._width // _HEAD
        normed = self._norm(given)
        q, k, v = (
            self._heads(self.add("MatMul", [normed, self.weights(width, width)]), heads) for _ in range(3)
        )
        scores = self.add("MatMul", [q, self.add("Transpose", [k], perm=[0, 1, 3, 2])])
        mixed = self.add("MatMul", [self.add("Softmax", [scores], axis=-1), v])
        joined = self.add(
            "Reshape", [self.add("Transpose", [mixed], perm=[0, 2, 1, 3]), self.numbers(0, -1, width)]
        )
        middle = self.add("Add", [given, self.add("MatMul", [joined, self.weights(width, width)])])
        wide = self.add("MatMul", [self._norm(middle), self.weights(width, 4 * width)])
        active = self.add("Mul", [wide, self.add("Sigmoid", [wide])])
        self.add("Add", [middle, self.add("MatMul", [active, self.weights(4 * width, width)])], output)

    def _heads(self, given: str, heads: int) -> str:
        split = self.add("Reshape", [given, self.numbers(0, -1, heads, _HEAD)])
        return self.add("Transpose", [split], perm=[0, 2, 1, 3])

    def _norm(self, given: str) -> str:
        return self.add("LayerNormalization", [given, self.weights(self._width)], axis=-1)

    def _constant(self, values: np.ndarray) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(values, name))
        return name
