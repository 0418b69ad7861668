"""Finish a prepared model: name the outputs, store the specification in the file, run it once."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper

from rtsearch._util.wording import one_line
from rtsearch.errors import ModelError
from rtsearch.models.edit import needed, reads, rename
from rtsearch.models.spec import METADATA_KEY, ModelSpec, Tap
from rtsearch.models.taps import Found
from rtsearch.models.trial import open_trial

__all__ = ["RECIPE", "finish"]

_IR = (8, 10)  # versions of the file format: oldest for our operators, newest that all runtimes read
RECIPE = 2  # raised whenever a change here or in the converters changes the outputs of a network


def finish(model: onnx.ModelProto, image: str, found: list[Found], spec: ModelSpec) -> onnx.ModelProto:
    """Return the prepared model of a graph.

    Args:
        model: model whose graph has tensors ``boxes`` and ``scores``.
        image: name of its input, which is renamed to ``images``.
        found: the maps that become taps.
        spec: specification without the taps.

    Raises:
        ModelError: the outputs are not boxes and scores.
    """
    taps = tuple(Tap(f"tap{i}", tap.role, tap.stride, tap.channels) for i, tap in enumerate(found))
    spec = dataclasses.replace(spec, taps=taps)
    _name_outputs(model.graph, image, found)
    nodes = needed(model.graph, ["boxes", "scores", *(tap.name for tap in taps)])
    used = {name for node in nodes for name in reads(node)}
    finished = helper.make_model(
        helper.make_graph(
            nodes,
            spec.name,
            [_tensor("images", [spec.batch or "batch", 3, *_sizes(spec)])],
            _outputs(spec),
            [tensor for tensor in model.graph.initializer if tensor.name in used],
        ),
        opset_imports=list(model.opset_import),
        ir_version=min(max(model.ir_version, _IR[0]), _IR[1]),
        producer_name="rtsearch",
        functions=list(model.functions),
    )
    helper.set_model_props(finished, {METADATA_KEY: spec.to_json()})
    _try(finished, spec)
    return finished


def _name_outputs(graph: onnx.GraphProto, image: str, found: list[Found]) -> None:
    """Rename tensors in place, as the runtime would copy the outputs of added Identity nodes."""
    names = {image: "images"}
    for i, tap in enumerate(found):
        tensor = names.get(tap.tensor, tap.tensor)
        if tensor == tap.tensor:
            names[tensor] = f"tap{i}"
        else:  # a map in two roles needs a node of its own
            graph.node.append(helper.make_node("Cast", [tap.tensor], [f"tap{i}"], to=TensorProto.FLOAT))
    rename(graph, names)


def _sizes(spec: ModelSpec) -> tuple[int | str, int | str]:
    return ("height", "width") if spec.flexible else (spec.input_wh[1], spec.input_wh[0])


def _outputs(spec: ModelSpec) -> list[onnx.ValueInfoProto]:
    batch: int | str = spec.batch or "batch"
    return [
        _tensor("boxes", [batch, None, 4]),
        _tensor("scores", [batch, None, len(spec.classes)]),
        *(_tensor(tap.name, [batch, tap.channels, None, None]) for tap in spec.taps),
    ]


def _tensor(name: str, shape: list[int | str | None]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _try(model: onnx.ModelProto, spec: ModelSpec) -> None:
    """Run the model on grey pictures, so that a misread graph fails here and not in the first analysis.

    Where it takes any number of pictures or any size, two pictures and a second size are tried.
    """
    try:
        session = open_trial(model, optimised=True)
    except Exception as error:  # onnxruntime's exceptions have no common base below Exception
        raise ModelError(f"{spec.name} cannot be run: {one_line(error)}") from None
    width, height = spec.input_wh
    rows = _try_size(session, spec, (width, height))
    if spec.flexible:
        other = (width + spec.multiple, height + 2 * spec.multiple)
        if _try_size(session, spec, other) * width * height != rows * other[0] * other[1]:
            raise ModelError(f"{spec.name} gives a number of boxes that does not follow the picture's size")


def _try_size(session: ort.InferenceSession, spec: ModelSpec, wh: tuple[int, int]) -> int:
    """Run a model at one size and return the number of boxes per picture."""
    width, height = wh
    shape = (spec.batch or 2, 3, height, width)
    grey = np.full(shape, spec.pad_value * spec.pixel_scale, np.float32)
    try:
        boxes, scores, *maps = session.run(None, {"images": grey})
    except Exception as error:
        raise ModelError(f"{spec.name} cannot be run: {one_line(error)}") from None
    problem = ""
    if boxes.shape != (*scores.shape[:2], 4) or scores.shape[::2] != (shape[0], len(spec.classes)):
        problem = f"boxes {boxes.shape} and scores {scores.shape} do not belong together"
    elif not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
        problem = "boxes or scores are not finite"
    elif scores.min() < 0 or scores.max() > 1:
        problem = f"scores reach from {scores.min():.3g} to {scores.max():.3g}, not 0 to 1"
    elif scores.max() == 0:  # a sigmoid never gives 0; rounding to a scale that boxes share does
        problem = "its scores are all 0; if it was quantised, quantise it again without its last layers"
    elif any(
        tap.shape != (shape[0], t.channels, height // t.stride, width // t.stride)
        for tap, t in zip(maps, spec.taps, strict=True)
    ):
        problem = "its maps have other sizes than the graph says"
    if problem:
        raise ModelError(f"{spec.name} was tried on a grey picture: {problem}")
    return int(boxes.shape[1])
