"""Find the ranges that the maps of a network are rounded in.

A range that holds every value is wide because of a few, and rounds all others coarsely. Each end is drawn in
to where the mean fourth power of the errors, of rounding inside and of cutting outside, is least over values
drawn at random: one among many thousands widens no range. Second powers would cut confident scores too.

Below -8 the activation SiLU, x * sigmoid(x), gives less than .003. A map that it follows needs no steps
there, which leaves more of them for the rest: such maps reach down to -68 in YOLO26n.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime as ort

from rtsearch._util.cpu import network_threads
from rtsearch.types import F32Array

__all__ = ["SILU_LEAST", "MapValues", "best_range", "map_values", "open_quiet"]

SILU_LEAST = -8.0
"""Value below which SiLU gives next to nothing."""

_LEVELS = 255  # steps of a byte
_POWER = 4
_SHARES = np.linspace(0.3, 1, 15)  # of the largest and of the least value, tried as ends
_AT_A_TIME = 32  # maps that are kept at once; all of a large network take gigabytes
_SAMPLES = 500  # values of each map and input that stand for all


@dataclass
class MapValues:
    """Values of one map over some inputs.

    Attributes:
        least: least value, at most 0.
        largest: largest value, at least 0.
        some: (n,) float32, values drawn at random.
    """

    least: float
    largest: float
    some: F32Array

    def above(self, least: float) -> MapValues:
        """Return the values with smaller ones raised to ``least``."""
        return MapValues(max(self.least, least), self.largest, np.maximum(self.some, least))


def map_values(
    model: onnx.ModelProto, names: Sequence[str], inputs: Sequence[F32Array]
) -> dict[str, MapValues]:
    """Run a model on some inputs and return the values of its maps of (batch, channels, height, width).

    Args:
        model: model in float32 with one input, ``images``.
        names: names of the maps.
        inputs: (batch, 3, height, width) float32 each.
    """
    found: dict[str, MapValues] = {}
    for first in range(0, len(names), _AT_A_TIME):
        part = list(names[first : first + _AT_A_TIME])
        for name, maps in zip(part, zip(*_runs(model, part, inputs), strict=True), strict=True):
            found[name] = _joined(maps)
    return found


def best_range(values: MapValues) -> tuple[float, float]:
    """Return the least and the largest value that a map is best rounded between."""
    least_shares = _SHARES if values.least < 0 else _SHARES[-1:]
    ends = ((values.least * a, values.largest * b) for a in least_shares for b in _SHARES)
    return min(ends, key=lambda range_: _error(values.some, *range_))


def open_quiet(model: onnx.ModelProto) -> ort.InferenceSession:
    """Open a model on the CPU that logs nothing."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = network_threads()
    options.log_severity_level = 4
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _runs(model: onnx.ModelProto, names: list[str], inputs: Sequence[F32Array]) -> Iterator[list[MapValues]]:
    """Yield the values of some maps for each input."""
    telling = onnx.ModelProto()
    telling.CopyFrom(model)
    del telling.graph.output[:]
    telling.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = open_quiet(telling)
    random = np.random.default_rng(0)
    for given in inputs:
        yield [_seen(values, random) for values in session.run(names, {"images": given})]


def _seen(values: F32Array, random: np.random.Generator) -> MapValues:
    some = random.choice(values.ravel(), min(values.size, _SAMPLES), replace=False)
    return MapValues(min(float(values.min()), 0.0), max(float(values.max()), 0.0), some)


def _joined(seen: Sequence[MapValues]) -> MapValues:
    """Return the values of one map over all inputs."""
    return MapValues(
        min(one.least for one in seen),
        max(one.largest for one in seen),
        np.concatenate([one.some for one in seen]),
    )


def _error(values: F32Array, least: float, largest: float) -> float:
    step = (largest - least) / _LEVELS
    if step <= 0:
        return 0.0
    rounded = np.clip(np.round((values - least) / step), 0, _LEVELS) * step + least
    return float((np.abs(rounded - values) ** _POWER).mean())
