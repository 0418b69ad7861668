"""Turn a YOLO26 checkpoint into an ONNX graph, layer by layer.

``yolo26`` walks the checkpoint's modules in order. Each kind of layer is one method of ``_Layers`` that adds
its operators and returns its output; batch normalisation is folded into the convolutions. The head used is
the one-to-one one, which gives one box per object and needs no suppression.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtsearch.errors import CheckpointError
from rtsearch.models.checkpoint import Module
from rtsearch.models.graph import GraphWriter, cell_centres, fold_batchnorm

__all__ = ["IMAGES", "yolo26"]

IMAGES = "images"
_STRIDES = (8, 16, 32)
_ALL = slice(None)


def yolo26(checkpoint: dict[str, Any]) -> tuple[GraphWriter, tuple[str, ...]]:
    """Return the graph of a YOLO26 detector, from input ``images`` to outputs ``boxes`` and ``scores``.

    Args:
        checkpoint: result of ``read_checkpoint``.

    Returns:
        the graph and the names of its classes.

    Raises:
        CheckpointError: the checkpoint is another kind of network, or has an unknown layer.
    """
    model = checkpoint.get("ema") or checkpoint.get("model")
    if not isinstance(model, Module) or model.kind != "DetectionModel":
        kind = model.kind if isinstance(model, Module) else type(model).__name__
        raise CheckpointError(f"expected a DetectionModel, got {kind}; export it to ONNX and import that")
    try:
        return _convert(model)
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError) as error:
        raise CheckpointError(f"its layers are not what their names say: {error}") from None


def _convert(model: Module) -> tuple[GraphWriter, tuple[str, ...]]:
    *trunk, head = model.child("model").children.values()
    layers = _Layers()
    _head(layers, head, _trunk(layers, trunk, head.value("f")))
    names = model.value("names")
    count = head.value("nc")
    if not isinstance(names, dict) or set(names) != set(range(count)):
        raise CheckpointError(f"it does not name the {count} classes of its head")
    return layers.graph, tuple(str(names[i]) for i in range(count))


def _trunk(layers: _Layers, modules: list[Module], wanted: list[int]) -> list[str]:
    outputs: list[str] = []
    for module in modules:
        source = module.value("f", -1)
        inputs = [
            (outputs[i] if outputs else IMAGES) for i in (source if isinstance(source, list) else [source])
        ]
        outputs.append(layers.concat(inputs) if module.kind == "Concat" else layers.add(module, inputs[0]))
    return [outputs[i] for i in wanted]


def _head(layers: _Layers, head: Module, features: list[str]) -> None:
    strides = tuple(head.value("stride", ()))
    if head.kind != "Detect" or head.value("reg_max") != 1 or strides != _STRIDES:
        raise CheckpointError("not a YOLO26 detection head; export the model to ONNX and import that")
    graph = layers.graph
    boxes, scores = [], []
    for level, (feature, stride) in enumerate(zip(features, _STRIDES, strict=True)):
        *first, last = head.child("one2one_cv2").child(str(level)).children.values()
        # The last convolution gives distances left, top, right, bottom in cells. Its weights take the stride
        # and the signs, so that decoding is one addition.
        signs = np.array([-1, -1, 1, 1], np.float32) * stride
        distance = layers.convolution(last, layers.sequence(first, feature), scale=signs)
        boxes.append(graph.op("Reshape", distance, graph.constant((0, 4, -1), np.int64)))
        logit = layers.add(head.child("one2one_cv3").child(str(level)), feature)
        scores.append(graph.op("Reshape", logit, graph.constant((0, int(head.value("nc")), -1), np.int64)))
    centres, _ = cell_centres(graph, features, _STRIDES, offset=0.5)
    corners = graph.op(
        "Add", graph.op("Concat", *boxes, axis=2), graph.op("Concat", centres, centres, axis=1)
    )
    graph.output("boxes", corners, "Transpose", perm=(0, 2, 1))
    graph.output(
        "scores", graph.op("Sigmoid", graph.op("Concat", *scores, axis=2)), "Transpose", perm=(0, 2, 1)
    )


class _Layers:
    """Converter with one method per kind of layer, which takes the module and the name of its input."""

    def __init__(self) -> None:
        self.graph = GraphWriter()
        self._known: dict[str, Callable[[Module, str], str]] = {
            "Conv": self._conv,
            "DWConv": self._conv,
            "Conv2d": self.convolution,
            "Sequential": lambda module, x: self.sequence(list(module.children.values()), x),
            "Bottleneck": self._bottleneck,
            "C3k2": self._c2f,
            "C2f": self._c2f,
            "C3k": self._c3,
            "C3": self._c3,
            "SPPF": self._sppf,
            "C2PSA": self._c2psa,
            "PSABlock": self._psa_block,
            "Attention": self._attention,
            "Upsample": self._upsample,
        }

    def add(self, module: Module, x: str) -> str:
        """Add a layer of any known kind."""
        if module.kind not in self._known:
            raise CheckpointError(
                f"layer {module.kind} is not known; export the model to ONNX and import that"
            )
        return self._known[module.kind](module, x)

    def sequence(self, modules: list[Module], x: str) -> str:
        """Add layers one after the other."""
        for module in modules:
            x = self.add(module, x)
        return x

    def concat(self, inputs: list[str]) -> str:
        """Add a concatenation of maps along their channels."""
        return self.graph.op("Concat", *inputs, axis=1)

    def convolution(
        self,
        module: Module,
        x: str,
        *,
        scale: NDArray[np.float32] | None = None,
        shift: NDArray[np.float32] | None = None,
        channels: slice = _ALL,
    ) -> str:
        """Add some output channels of a convolution, with ``scale * y + shift`` folded into it."""
        if module.kind != "Conv2d" or module.value("padding_mode") != "zeros" or module.value("transposed"):
            raise CheckpointError(f"convolution {module.kind} is of a kind not known here")
        weight = module.tensor("weight")
        bias = module.tensor("bias") if module.has("bias") else np.zeros(len(weight), np.float32)
        if scale is not None:
            weight, bias = fold_batchnorm(
                weight, bias, scale, np.zeros_like(scale) if shift is None else shift
            )
        pads = tuple(module.value("padding"))
        return self.graph.op(
            "Conv",
            x,
            self.graph.constant(weight[channels]),
            self.graph.constant(bias[channels]),
            kernel_shape=tuple(module.value("kernel_size")),
            strides=tuple(module.value("stride")),
            pads=pads + pads,
            dilations=tuple(module.value("dilation")),
            group=int(module.value("groups")),
        )

    def _conv(self, module: Module, x: str, channels: slice = _ALL) -> str:
        norm = module.child("bn")
        scale = norm.tensor("weight") / np.sqrt(norm.tensor("running_var") + np.float32(norm.value("eps")))
        shift = norm.tensor("bias") - norm.tensor("running_mean") * scale
        y = self.convolution(module.child("conv"), x, scale=scale, shift=shift, channels=channels)
        activation = module.child("act").kind
        if activation == "SiLU":
            return self.graph.op("Mul", y, self.graph.op("Sigmoid", y))
        if activation != "Identity":
            raise CheckpointError(f"activation {activation} is not known")
        return y

    def _bottleneck(self, module: Module, x: str) -> str:
        y = self.add(module.child("cv2"), self.add(module.child("cv1"), x))
        return self.graph.op("Add", x, y) if module.value("add") else y

    def _c2f(self, module: Module, x: str) -> str:
        parts = self._halves(module, x)
        for block in module.child("m").children.values():
            parts.append(self.add(block, parts[-1]))
        return self.add(module.child("cv2"), self.concat(parts))

    def _c3(self, module: Module, x: str) -> str:
        deep = self.add(module.child("m"), self.add(module.child("cv1"), x))
        return self.add(module.child("cv3"), self.concat([deep, self.add(module.child("cv2"), x)]))

    def _sppf(self, module: Module, x: str) -> str:
        parts = [self.add(module.child("cv1"), x)]
        pool = module.child("m")
        kernel, pad = int(pool.value("kernel_size")), int(pool.value("padding"))
        for _ in range(int(module.value("n", 3))):
            window = {"kernel_shape": (kernel, kernel), "strides": (1, 1), "pads": (pad,) * 4}
            parts.append(self.graph.op("MaxPool", parts[-1], **window))
        y = self.add(module.child("cv2"), self.concat(parts))
        return self.graph.op("Add", y, x) if module.value("add") else y

    def _c2psa(self, module: Module, x: str) -> str:
        kept, attended = self._halves(module, x)
        return self.add(module.child("cv2"), self.concat([kept, self.add(module.child("m"), attended)]))

    def _psa_block(self, module: Module, x: str) -> str:
        for name in ("attn", "ffn"):
            y = self.add(module.child(name), x)
            x = self.graph.op("Add", x, y) if module.value("add") else y
        return x

    def _attention(self, module: Module, x: str) -> str:
        graph = self.graph
        heads, key, value = (int(module.value(name)) for name in ("num_heads", "key_dim", "head_dim"))
        joined = graph.op(
            "Reshape",
            self.add(module.child("qkv"), x),
            graph.constant((0, heads, 2 * key + value, -1), np.int64),
        )
        q, k, v = graph.ops("Split", (joined, graph.constant((key, key, value), np.int64)), 3, axis=2)
        weight = graph.op("MatMul", graph.op("Transpose", q, perm=(0, 1, 3, 2)), k)
        weight = graph.op("Mul", weight, graph.constant(module.value("scale"), np.float32))
        weight = graph.op("Transpose", graph.op("Softmax", weight, axis=-1), perm=(0, 1, 3, 2))
        shape = graph.op("Concat", graph.constant((0, heads * value), np.int64), *graph.size_of(x), axis=0)
        mixed = graph.op("Reshape", graph.op("MatMul", v, weight), shape)
        place = self.add(module.child("pe"), graph.op("Reshape", v, shape))
        return self.add(module.child("proj"), graph.op("Add", mixed, place))

    def _upsample(self, module: Module, x: str) -> str:
        factor = module.value("scale_factor")
        if module.value("mode") != "nearest" or factor != 2:
            raise CheckpointError("only upsampling to the nearest pixel by 2 is known")
        return self.graph.op(
            "Resize",
            x,
            "",
            self.graph.constant((1, 1, 2, 2), np.float32),
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )

    def _halves(self, module: Module, x: str) -> list[str]:
        """Add the two halves of the first convolution of a block.

        They are two convolutions instead of one and a split: around a split onnxruntime converts the layout
            of
        the maps back and forth, which takes 4 % of the whole network's time.
        """
        width = int(module.value("c"))
        return [self._conv(module.child("cv1"), x, part) for part in (slice(width), slice(width, None))]
