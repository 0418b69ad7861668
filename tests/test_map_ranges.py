"""Ranges in which maps are rounded to bytes, against every candidate tried one by one."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from rtsearch.models.map_ranges import MapValues, best_range, map_values


def error_of(values: np.ndarray, least: float, largest: float) -> float:
    """Mean fourth power of the errors of rounding to 256 levels."""
    total = 0.0
    for value in values.tolist():
        levels = [least + level * (largest - least) / 255 for level in range(256)]
        total += min(abs(value - level) for level in levels) ** 4
    return total / len(values)


def values_of(some: np.ndarray) -> MapValues:
    return MapValues(min(0.0, float(some.min())), max(0.0, float(some.max())), some)


def test_a_value_among_many_thousands_widens_no_range() -> None:
    usual = np.random.default_rng(0).normal(size=2000).astype(np.float32)
    least, largest = best_range(MapValues(float(usual.min()), 12.0, usual))  # 12 is there, but was not drawn
    assert usual.max() * 0.9 < largest < usual.max() * 1.3
    assert least == pytest.approx(float(usual.min()), rel=0.1)
    _, largest = best_range(values_of(np.append(usual, np.float32(12))))
    assert largest == pytest.approx(12, rel=0.1)  # drawn, and far out: cutting it would err more


def test_no_candidate_errs_less() -> None:
    some = np.random.default_rng(1).exponential(size=300).astype(np.float32)
    values = values_of(some)
    least, largest = best_range(values)
    assert least == values.least == 0
    best = error_of(some, least, largest)
    tried = [error_of(some, 0.0, share * values.largest) for share in np.linspace(0.3, 1, 15)]
    assert best == pytest.approx(min(tried), rel=1e-3)


def test_a_map_without_values_but_0_has_a_range() -> None:
    assert best_range(values_of(np.zeros(5, np.float32))) == (0.0, 0.0)


def test_a_map_before_silu_has_no_steps_where_silu_gives_nothing() -> None:
    some = np.linspace(-60, 9, 500).astype(np.float32)
    assert best_range(values_of(some))[0] < -40
    least, largest = best_range(values_of(some).above(-8.0))
    assert -8 <= least < -7
    assert largest == pytest.approx(9, rel=0.1)


def test_values_are_those_of_all_inputs() -> None:
    nodes = [helper.make_node("Neg", ["images"], ["turned"]), helper.make_node("Abs", ["turned"], ["out"])]
    shape: list[int | str | None] = [1, 3, "h", "w"]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("images", "out")]
    graph = helper.make_graph(nodes, "tiny", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    inputs = [np.full((1, 3, 40, 40), value, np.float32) for value in (2, -5, 1)]
    before = onnx.ModelProto()
    before.CopyFrom(model)
    found = map_values(model, ["turned", "out"], inputs)
    assert model == before
    assert (found["turned"].least, found["turned"].largest) == (-2, 5)
    assert (found["out"].least, found["out"].largest) == (0, 5)
    assert sorted(set(found["turned"].some.tolist())) == [-2, -1, 5]
    assert len(found["out"].some) == 3 * 500
