"""A prepared model as a builder gets it: one input size, one batch, one precision.

An engine is made for shapes that never change: nothing is left to be chosen while a frame waits, and one CUDA
graph holds the whole pass. A second batch is a second engine; the networks are small, and a profile per batch
inside one engine would make its kernels general ones.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import onnx

from rtsearch.engines.half import halved, near_the_limit
from rtsearch.errors import ModelError
from rtsearch.models.protobuf import load_model
from rtsearch.models.spec import METADATA_KEY, ModelSpec
from rtsearch.types import F32Array

__all__ = ["Precision", "network_for", "sample_pictures"]

Precision = Literal["fp16", "fp32"]
_SAMPLE_PX = 320  # a multiple of all that networks ask for


def network_for(
    path: Path, *, input_wh: tuple[int, int], batch: int, precision: Precision
) -> tuple[bytes, ModelSpec]:
    """The ONNX network of a prepared model, for one input shape, and what the model says about itself.

    Args:
        path: a prepared model.
        input_wh: width and height of the input, px.
        batch: pictures per pass.
        precision: see ``half.py``; with fp16, the taps may be float16 too.

    Raises:
        UnknownModelError: no such file.
        ModelError: not a prepared model, or it does not take that size or batch.
    """
    model, sha256 = load_model(path)
    texts = {entry.key: entry.value for entry in model.metadata_props}
    if METADATA_KEY not in texts:
        raise ModelError(f"{path} is not a prepared model; run: rtsearch model import {path}")
    spec = ModelSpec.from_json(texts[METADATA_KEY], sha256=sha256)
    _check_shape(spec, input_wh, batch)
    near = _near_the_limit(model, spec) if precision == "fp16" else set()
    _fix(model, input_wh, batch)
    if precision == "fp16":
        model = halved(model, near)
        onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True), spec


def sample_pictures(spec: ModelSpec, input_wh: tuple[int, int], batch: int) -> F32Array:
    """(batch, 3, height, width) float32: noise of all grains, from single pixels to large patches.

    It drives a network's maps as high as photos do.
    """
    rng = np.random.default_rng(0)
    width, height = input_wh
    pixels = np.zeros((batch, 3, height, width))
    for grain in (1, 4, 16, 64):
        cells = rng.random((batch, 3, -(-height // grain), -(-width // grain)))
        pixels += np.kron(cells, np.ones((grain, grain)))[:, :, :height, :width]
    pixels = np.clip((pixels / 4 - 0.5) * 4 + 0.5, 0, 1) * 255 * spec.pixel_scale
    return pixels.astype(np.float32)


def _near_the_limit(model: onnx.ModelProto, spec: ModelSpec) -> set[str]:
    """Tensors that must stay in float32. Looked for in a small picture, as all maps are held at once."""
    width, height = spec.input_wh
    small = (min(width, _SAMPLE_PX), min(height, _SAMPLE_PX)) if spec.flexible else spec.input_wh
    batch = spec.batch or 1
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    _fix(probe, small, batch)
    return near_the_limit(probe, sample_pictures(spec, small, batch))


def _check_shape(spec: ModelSpec, input_wh: tuple[int, int], batch: int) -> None:
    width, height = input_wh
    if not spec.flexible and input_wh != spec.input_wh:
        own = "x".join(str(side) for side in spec.input_wh)
        raise ModelError(f"{spec.name} takes {own} px only, not {width}x{height}; leave out --size")
    if width % spec.multiple or height % spec.multiple or not 32 <= min(input_wh) <= max(input_wh) <= 4096:
        raise ModelError(
            f"{spec.name} takes sides that are multiples of {spec.multiple} from 32 to 4096 px, not "
            f"{width}x{height}"
        )
    if spec.batch is not None and batch != spec.batch:
        raise ModelError(f"{spec.name} takes {spec.batch} pictures per pass, not {batch}")
    if not 1 <= batch <= 256:
        raise ModelError(f"a batch of {batch} pictures; expected 1 to 256")


def _fix(model: onnx.ModelProto, input_wh: tuple[int, int], batch: int) -> None:
    """Write the input's sizes into the graph, and forget what it said about those of other tensors."""
    dims = model.graph.input[0].type.tensor_type.shape.dim
    for dim, size in zip(dims, (batch, 3, input_wh[1], input_wh[0]), strict=True):
        dim.dim_value = size
    del model.graph.value_info[:]
    for output in model.graph.output:
        for dim in output.type.tensor_type.shape.dim:
            if dim.WhichOneof("value") == "dim_param":
                dim.ClearField("dim_param")
