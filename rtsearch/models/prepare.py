"""The last step of every preparation: name the outputs, describe the model inside the file."""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper

from rtsearch.models.spec import METADATA_KEY, ModelSpec

__all__ = ["RECIPE", "finish"]

RECIPE = 1  # raise it whenever a change here or in the converters changes what comes out of a network


def finish(
    model: onnx.ModelProto,
    image: str,
    taps: dict[str, str],
    spec: ModelSpec,
    sizes: tuple[int | str, int | str],
) -> onnx.ModelProto:
    """The prepared model.

    Args:
        model: a graph that makes tensors ``boxes`` and ``scores``.
        image: name of its input; becomes ``images``.
        taps: tensor of the graph for each tap's name.
        spec: what the file will say about itself.
        sizes: height and width of the input: numbers, or names of dimensions.
    """
    graph = model.graph
    nodes = [*graph.node, *(helper.make_node("Identity", [t], [name], name=name) for name, t in taps.items())]
    nodes = _needed(nodes, ["boxes", "scores", *taps])
    if image != "images":
        for node in nodes:
            node.input[:] = ["images" if name == image else name for name in node.input]
    used = {name for node in nodes for name in node.input}
    batch: int | str = spec.batch or "batch"
    outputs = [
        _tensor("boxes", [batch, None, 4]),
        _tensor("scores", [batch, None, len(spec.classes)]),
        *(_tensor(tap.name, [batch, tap.channels, None, None]) for tap in spec.taps),
    ]
    finished = helper.make_model(
        helper.make_graph(
            nodes,
            spec.name,
            [_tensor("images", [batch, 3, *sizes])],
            outputs,
            [tensor for tensor in graph.initializer if tensor.name in used],
        ),
        opset_imports=list(model.opset_import),
        ir_version=max(model.ir_version, 8),
        producer_name="rtsearch",
    )
    helper.set_model_props(finished, {METADATA_KEY: spec.to_json()})
    return finished


def _needed(nodes: list[onnx.NodeProto], outputs: list[str]) -> list[onnx.NodeProto]:
    wanted = set(outputs)
    kept = []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            kept.append(node)
    return kept[::-1]


def _tensor(name: str, shape: list[int | str | None]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
