"""Networks in int8: how they are made, and when they are used."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import cv2
import exports
import numpy as np
import onnx
import pytest
from exports import picture, save
from onnx import TensorProto

from rtsearch.config import load_settings
from rtsearch.errors import ModelError, UnknownModelError
from rtsearch.jobs.quantize import quantize
from rtsearch.models import ModelSpec, import_onnx, int8_path
from rtsearch.models.quantize import _silus, quantized
from rtsearch.models.spec import METADATA_KEY
from rtsearch.pipeline import open_pipeline
from rtsearch.runners import precision
from rtsearch.runners.onnx import OnnxRunner


def silent(_what: str, _share: float) -> None:
    pass


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("engines")
    return import_onnx(save(exports.ultralytics_export(), folder / "export.onnx"), folder, "a")[0]


def inputs(count: int) -> list[Any]:
    return [np.random.default_rng(i).random((1, 3, 64, 96)).astype(np.float32) for i in range(count)]


def convolutions(model: onnx.ModelProto) -> list[str]:
    return [node.name for node in model.graph.node if node.op_type == "Conv"]


def in_int8(model: onnx.ModelProto) -> set[str]:
    """Convolutions whose input and weights are read from bytes."""
    makers = {name: node for node in model.graph.node for name in node.output}
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    found = set()
    for node in model.graph.node:
        if node.op_type == "Conv" and all(
            makers.get(x, node).op_type == "DequantizeLinear" for x in node.input[:2]
        ):
            kept = weights[makers[node.input[1]].input[0]]
            scale = weights[makers[node.input[1]].input[1]]
            assert kept.data_type == TensorProto.INT8
            assert list(scale.dims) == [kept.dims[0]]  # one per channel
            assert weights[makers[node.input[0]].input[2]].data_type == TensorProto.UINT8
            found.add(node.name)
    return found


def made(model: onnx.ModelProto, *answers: bool) -> tuple[onnx.ModelProto, list[str], bool]:
    """What ``quantized`` makes for a comparison that gives some answers."""
    left = iter(answers)
    return quantized(model, inputs(3), inputs(2), lambda _: next(left), silent)


@pytest.mark.slow
def test_as_few_as_needed_stay_in_float32(plain: Path) -> None:
    model = onnx.load(plain)
    whole, left_out, near = made(model, True)
    all_names = set(convolutions(whole))
    assert (near, len(all_names)) == (True, len(convolutions(model)))
    assert in_int8(whole) == all_names - set(left_out)
    most, more, near = made(model, False, False, True)
    assert (more[: len(left_out)], near) == (left_out, True)
    assert len(left_out) < len(more) < len(all_names)
    assert in_int8(most) == all_names - set(more)
    _, last, near = made(model, *[False] * 8)
    assert (last[: len(more)], near) == (more, False)
    assert len(last) < len(all_names)


@pytest.mark.slow
def test_silu_is_one_node(plain: Path) -> None:
    model = onnx.load(plain)
    silus = [node for node in model.graph.node if node.op_type == "Mul" and len(node.input) == 2]
    makers = {name: node for node in model.graph.node for name in node.output}
    silus = [node for node in silus if any(makers.get(x, node).op_type == "Sigmoid" for x in node.input)]
    whole, _, _ = made(model, True)
    joined = [node for node in whole.graph.node if node.op_type == "QuickGelu"]
    sigmoids = [node for node in whole.graph.node if node.op_type == "Sigmoid"]
    assert len(joined) == len(silus) > 3
    assert len(sigmoids) == 1  # that of the scores
    assert {node.domain for node in joined} == {"com.microsoft"}
    assert {node.attribute[0].f for node in joined} == {1.0}


def test_a_sigmoid_that_is_an_output_too_stays() -> None:
    nodes = [
        onnx.helper.make_node("Sigmoid", ["x"], ["score"]),
        onnx.helper.make_node("Mul", ["x", "score"], ["y"]),
    ]
    x, score, y = (onnx.helper.make_tensor_value_info(name, 1, [1]) for name in ("x", "score", "y"))
    both, one = (onnx.helper.make_graph(nodes, "silu", [x], outputs) for outputs in ([y, score], [y]))
    assert (len(_silus(both)), len(_silus(one))) == (0, 1)


def test_a_network_without_convolutions_is_refused(plain: Path) -> None:
    model = onnx.load(plain)
    for node in model.graph.node:
        node.op_type = node.op_type.replace("Conv", "ConvInteger")
    with pytest.raises(ModelError, match="it has no convolutions in float32"):
        made(model, True)


@pytest.fixture(scope="module")
def small(plain: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The int8 file beside ``plain``."""
    folder = tmp_path_factory.mktemp("photos")
    for i in range(20):
        pixels = np.random.default_rng(i).integers(0, 255, (8, 12, 3), np.uint8)
        cv2.imwrite(str(folder / f"{i}.png"), cv2.resize(pixels, (96, 64)))
    report = quantize(plain, folder, silent)
    assert report.path == int8_path(plain)
    assert report.convolutions == len(convolutions(onnx.load(plain)))
    assert (report.photos, report.objects > 0, len(report.lines())) == (20, True, 3)
    assert report.agrees == (ModelSpec.read(report.path).same_as == ModelSpec.read(plain).sha256)
    return report.path


@pytest.fixture
def engines(plain: Path, small: Path, tmp_path: Path) -> Path:
    """A folder with both files, the int8 one taken for the same network."""
    (tmp_path / "a.onnx").write_bytes(plain.read_bytes())
    model = onnx.load(small)
    rewrite(tmp_path / "a.int8.onnx", model, same_as=ModelSpec.read(plain).sha256)
    return tmp_path


def rewrite(path: Path, model: onnx.ModelProto, **changes: Any) -> None:
    text = next(prop.value for prop in model.metadata_props if prop.key == METADATA_KEY)
    spec = dataclasses.replace(ModelSpec.from_json(text), **changes)
    onnx.helper.set_model_props(model, {METADATA_KEY: spec.to_json()})
    path.write_bytes(model.SerializeToString())


def opened(engines: Path, wanted: str) -> Any:
    overrides = [f"model.name={engines / 'a.onnx'}", f"model.precision={wanted}", "gpu.engine=none"]
    return open_pipeline(load_settings(overrides=overrides))


@pytest.mark.slow
def test_int8_has_the_same_outputs_and_is_near(plain: Path, small: Path) -> None:
    want, got = OnnxRunner(plain).run(picture()), OnnxRunner(small).run(picture())
    assert {name: values.shape for name, values in want.items()} == {
        name: values.shape for name, values in got.items()
    }
    for name, values in want.items():
        assert np.abs(got[name] - values).mean() < 0.1 * np.ptp(values), name
    with pytest.raises(ModelError, match="is in int8 already"):
        quantize(small, small.parent, silent)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wanted", "times", "used"),
    [
        ("auto", (10.0, 8.0), True),
        ("auto", (10.0, 9.0), False),
        ("float32", None, False),
        ("int8", None, True),
    ],
)
def test_int8_is_used_where_it_pays(
    engines: Path, monkeypatch: Any, wanted: str, times: Any, used: bool
) -> None:
    calls = []

    def timed(*files: object) -> Any:
        calls.append(files)
        return times

    monkeypatch.setattr(precision, "time_both", timed)
    with opened(engines, wanted) as pipeline, opened(engines, "float32") as other:
        assert (pipeline.spec.same_as is not None) == used
        assert pipeline.feature_space == other.feature_space
        pipeline.warm_up()
    assert len(calls) == (times is not None)
    with opened(engines, wanted) as again:
        assert (again.spec.same_as is not None) == used
    assert len(calls) == (times is not None)  # the verdict is kept
    if calls:
        (engines / "a.int8.json").write_text("[" * 100)
        with opened(engines, wanted):
            assert len(calls) == 2


@pytest.mark.slow
def test_int8_whose_descriptions_differ_needs_libraries_of_its_own(engines: Path, monkeypatch: Any) -> None:
    rewrite(engines / "a.int8.onnx", onnx.load(engines / "a.int8.onnx"), same_as="")
    monkeypatch.setattr(precision, "time_both", lambda *_: (10.0, 1.0))
    with opened(engines, "auto") as pipeline, opened(engines, "int8") as other:
        assert pipeline.spec.same_as is None
        assert other.feature_space["model_sha256"] != pipeline.feature_space["model_sha256"]


@pytest.mark.slow
def test_int8_of_another_file_is_not_used(engines: Path, caplog: Any) -> None:
    rewrite(engines / "a.int8.onnx", onnx.load(engines / "a.int8.onnx"), source_sha256="ab")
    with opened(engines, "auto") as pipeline:
        assert pipeline.spec.same_as is None
    assert "was not made from a.onnx as it is now; run: rtsearch model quantize a" in caplog.text
    with pytest.raises(ModelError, match=r"was not made from a\.onnx as it is now"):
        opened(engines, "int8")
    (engines / "a.int8.onnx").unlink()
    with pytest.raises(UnknownModelError, match="run: rtsearch model quantize a"):
        opened(engines, "int8")
    with opened(engines, "auto") as pipeline:
        assert pipeline.spec.same_as is None


@pytest.mark.slow
def test_both_are_timed(plain: Path, small: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(precision, "_TRIAL_S", 0.0)
    before_ms, after_ms = precision.time_both(plain, small, (96, 64))
    assert before_ms > 0
    assert after_ms > 0


def test_too_few_photos(plain: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "one.png"), np.zeros((9, 9, 3), np.uint8))
    with pytest.raises(ModelError, match="has 1 photo that can be read; at least 16 are needed"):
        quantize(plain, tmp_path, silent)
