"""Fix a prepared model for one input size, one batch and one precision, to build an engine of it.

Shapes of an engine never change, so nothing is left to choose while a frame waits, and one CUDA graph holds
the whole pass. Another batch is another engine: the networks are small, and several profiles in one engine
would make its kernels general and slower.
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
_SAMPLE_PX = 320  # a multiple of the input multiples of all networks


def network_for(
    path: Path, *, input_wh: tuple[int, int], batch: int, precision: Precision
) -> tuple[bytes, ModelSpec]:
    """Return the ONNX network of a prepared model for one input shape, and the model's specification.

    Args:
        path: a prepared model.
        input_wh: width and height of the input, px.
        batch: number of pictures per pass.
        precision: ``fp16`` or ``fp32``; with ``fp16``, taps may be float16, see ``half.py``.

    Raises:
        UnknownModelError: the file does not exist.
        ModelError: the file is not a prepared model, or does not take that size or batch.
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
    """Return noise of all grains from single pixels to large patches, (batch, 3, height, width) float32.

    It drives the values of a network's maps as high as photos do.
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
    """Return the tensors that must stay in float32; the picture is small, as all maps are kept in memory."""
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
    """Write the sizes of the input into the graph, and remove the sizes of other tensors."""
    dims = model.graph.input[0].type.tensor_type.shape.dim
    for dim, size in zip(dims, (batch, 3, input_wh[1], input_wh[0]), strict=True):
        dim.dim_value = size
    del model.graph.value_info[:]
    for output in model.graph.output:
        for dim in output.type.tensor_type.shape.dim:
            if dim.WhichOneof("value") == "dim_param":
                dim.ClearField("dim_param")
