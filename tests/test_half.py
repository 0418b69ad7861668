"""Half precision: which tensors become float16, and that boxes, scores and descriptions stay as they were."""

from __future__ import annotations

from pathlib import Path

import cv2
import exports
import naive
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from rtsearch.config import DetectSettings
from rtsearch.describe import Describer
from rtsearch.detect import Detector
from rtsearch.engines.half import halved, near_the_limit
from rtsearch.engines.network import network_for, sample_pictures
from rtsearch.errors import ModelError
from rtsearch.meter import Meter
from rtsearch.models import ModelSpec, import_onnx
from rtsearch.sight import TwoSteps

YOLOX = Path(__file__).resolve().parents[2] / "shared" / "models" / "yolox_nano_416_coco.onnx"
IMAGES = ("images", TensorProto.FLOAT, [1, 3, 32, 32])


def kinds(model):
    """Element type by tensor."""
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    found = {tensor.name: tensor.data_type for tensor in graph.initializer}
    entries = (*graph.input, *graph.value_info, *graph.output)
    return found | {entry.name: entry.type.tensor_type.elem_type for entry in entries}


def is_half(model, *names):
    return [kinds(model)[name] == TensorProto.FLOAT16 for name in names]


def run(model, images):
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    kind = np.float16 if "float16" in session.get_inputs()[0].type else np.float32
    values = session.run(None, {"images": images.astype(kind)})
    return {entry.name: value for entry, value in zip(session.get_outputs(), values, strict=True)}


class Trunk:
    """A network of convolutions, then what a test is about, then boxes and scores."""

    def __init__(self, layers=8):
        self.g = exports.Graph()
        self.x, c = "images", 3
        for _ in range(layers):
            self.x, c = self.g.conv(self.x, c, 4), 4

    def finish(self, x=None):
        """Boxes and scores from one more convolution each."""
        for name, c, act in (("boxes", 4, False), ("scores", 2, True)):
            y = self.g.conv(x or self.x, 4, c, k=1, act=False)
            y = self.g.op("Sigmoid", y) if act else self.g.op("Mul", y, self.g.const(32, np.float32))
            rows = self.g.op("Reshape", y, self.g.const((1, c, -1), np.int64))
            self.g.nodes.append(helper.make_node("Transpose", [rows], [name], perm=[0, 2, 1]))
        shapes = [("boxes", TensorProto.FLOAT, [1, 1024, 4]), ("scores", TensorProto.FLOAT, [1, 1024, 2])]
        return self.g.model([IMAGES], shapes)


def images(seed=0):
    return np.random.default_rng(seed).random((1, 3, 32, 32), dtype=np.float32)


# Which nodes -----------------------------------------------------------------------------------------------


def test_a_cast_stands_where_the_two_meet_and_nowhere_else():
    model = Trunk().finish()
    half = halved(model)
    onnx.checker.check_model(half, full_check=True)
    assert is_half(half, "images", "boxes", "scores") == [True, False, False]
    convolutions = [node.output[0] for node in half.graph.node if node.op_type == "Conv"]
    # Six of the stem, two in the middle; what leads to the outputs begins behind the last ones.
    assert is_half(half, *convolutions) == [False] * 6 + [True] * 4
    casts = [node.input[0] for node in half.graph.node if node.op_type == "Cast"]
    assert len(casts) == len(set(casts)) == 4  # into the stem, out of it, into boxes, into scores
    assert model.graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT  # untouched


def test_it_computes_the_same():
    model = Trunk().finish()
    want, exact = run(model, images()), run(naive.rounded_to_half(halved(model)), images())
    for name, values in want.items():
        np.testing.assert_allclose(exact[name], values, atol=0.02 * np.abs(values).max())
        assert np.abs(exact[name] - values).max() > 0  # it did round


def test_weights_are_kept_once():
    model = Trunk().finish()
    half = halved(model)
    names = [tensor.name for tensor in half.graph.initializer]
    assert len(names) == len(set(names)) <= len(model.graph.initializer) + 1
    read = {name for node in half.graph.node for name in node.input}
    assert set(names) <= read


def test_softmax_stays_in_float32():
    trunk = Trunk()
    soft = trunk.g.op("Softmax", trunk.x, axis=1)
    after = trunk.g.op("Mul", soft, trunk.x)
    half = halved(trunk.finish(after))
    assert is_half(half, soft, after, trunk.x) == [False, True, True]


def test_a_distribution_and_its_mean_stay_in_float32(tmp_path):
    source = tmp_path / "export.onnx"
    source.write_bytes(exports.ultralytics_export(dfl=True).SerializeToString())
    path, _ = import_onnx(source, tmp_path, "tiny")
    half = onnx.load_from_string(network_for(path, input_wh=(96, 64), batch=1, precision="fp16")[0])
    behind = False
    for node in half.graph.node:
        behind = behind or node.op_type == "Softmax"
        if behind and node.op_type == "Conv":
            assert is_half(half, node.output[0]) == [False]
            break
    else:
        raise AssertionError("no convolution behind the softmax")


def test_a_bias_that_is_large_is_not_rounded():
    trunk = Trunk(layers=10)
    biases = [tensor for tensor in trunk.g.initializers if len(tensor.dims) == 1]
    large = onnx.numpy_helper.to_array(biases[7]) * 0 + 19.003
    biases[7].CopyFrom(onnx.numpy_helper.from_array(large.astype(np.float32), biases[7].name))
    half = halved(trunk.finish())
    convolutions = [node.output[0] for node in half.graph.node if node.op_type == "Conv"]
    assert is_half(half, *convolutions[:10]) == [False] * 6 + [True, False, True, True]


@pytest.mark.parametrize(("factor", "kept"), [(1.0, True), (1e5, False), (np.inf, False)])
def test_weights_that_float16_does_not_hold(factor, kept):
    trunk = Trunk()
    made = trunk.g.op("Mul", trunk.x, trunk.g.const(factor, np.float32))
    back = trunk.g.op("Mul", made, trunk.g.const(1 / factor, np.float32))
    assert is_half(halved(trunk.finish(back)), made) == [kept]


def test_values_that_come_near_the_limit():
    trunk = Trunk()
    factor = trunk.g.const(60000, np.float32)
    large = trunk.g.op("Mul", trunk.g.op("Add", trunk.x, trunk.g.const(2, np.float32)), factor)
    back = trunk.g.op("Mul", large, trunk.g.const(1 / 60000, np.float32))
    model = trunk.finish(back)
    near = near_the_limit(model, images())
    assert near == {large}
    half = halved(model, near)
    assert is_half(half, large) == [False]
    assert all(np.isfinite(value).all() for value in run(naive.rounded_to_half(half), images()).values())
    assert not np.isfinite(run(naive.rounded_to_half(halved(model)), images())["boxes"]).all()


def test_sizes_of_a_resize_stay_in_float32():
    trunk = Trunk()
    scales = trunk.g.const((1, 1, 1, 1), np.float32)
    resized = trunk.g.op("Resize", trunk.x, "", scales, mode="nearest")
    half = halved(trunk.finish(resized))
    assert is_half(half, resized, scales) == [True, False]


def test_constants_in_nodes():
    trunk = Trunk()
    value = onnx.numpy_helper.from_array(np.float32(1.5))
    trunk.g.nodes.append(helper.make_node("Constant", [], ["one and a half"], value=value))
    half = halved(trunk.finish(trunk.g.op("Mul", trunk.x, "one and a half")))
    assert "Constant" not in [node.op_type for node in half.graph.node]
    assert is_half(half, "one and a half.half") == [True]


def test_branches_are_refused():
    trunk = Trunk()
    inner = helper.make_graph(
        [helper.make_node("Identity", [trunk.x], ["y"])],
        "b",
        [],
        [helper.make_tensor_value_info("y", 1, None)],
    )
    yes = trunk.g.const(True, np.bool_)
    chosen = trunk.g.op("If", yes, then_branch=inner, else_branch=inner)
    with pytest.raises(ModelError, match=r"\(If\) has graphs inside; build with --precision fp32"):
        halved(trunk.finish(chosen))


def test_what_is_half_already_is_refused():
    with pytest.raises(ModelError, match="whose input is float32"):
        halved(halved(Trunk().finish()))


def test_sample_pictures_are_pictures(model):
    spec = ModelSpec.read(model)
    pictures = sample_pictures(spec, (96, 64), 2)
    assert (pictures.shape, pictures.dtype) == ((2, 3, 64, 96), np.float32)
    assert 0 <= pictures.min() < 0.1 < 0.9 < pictures.max() <= 1


# Real photos -----------------------------------------------------------------------------------------------


class Runner:
    def __init__(self, model):
        options = ort.SessionOptions()
        options.log_severity_level = 4
        self.session = ort.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self.half = "float16" in self.session.get_inputs()[0].type
        self.names = [entry.name for entry in self.session.get_outputs()]

    def run(self, images):
        values = self.session.run(None, {"images": images.astype(np.float16 if self.half else np.float32)})
        return {name: value.astype(np.float32) for name, value in zip(self.names, values, strict=True)}


def compare(path, wh, pictures):
    """Per way of running half precision: box px, score and cosine of every object found in float32."""
    spec = ModelSpec.read(path)
    single, half = (
        onnx.load_from_string(network_for(path, input_wh=wh, batch=1, precision=precision)[0])
        for precision in ("fp32", "fp16")
    )
    low = DetectSettings(threshold=0.2, max_objects=300)
    sights = [
        TwoSteps(Detector(Runner(model), spec, low, wh), Describer(spec))
        for model in (single, half, naive.rounded_to_half(half))
    ]
    rows = ([], [])
    for picture in pictures:
        want, *ways = (sight.see([picture], Meter())[0] for sight in sights)
        scale = min(wh[0] / picture.shape[1], wh[1] / picture.shape[0])
        for i in np.flatnonzero(want.score >= 0.3):
            for kept, got in zip(rows, ways, strict=True):
                px = np.where(
                    got.label == want.label[i], np.abs(got.xyxy - want.xyxy[i]).max(1) * scale, np.inf
                )
                j = px.argmin()
                a, b = want.vector[i], got.vector[j]
                cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
                kept.append((px[j], abs(got.score[j] - want.score[i]), cosine))
    return [np.array(kept).T for kept in rows]


def assert_as_good(ways):
    """All objects are found, nearly all within 1 px, 0.01 and 0.999.

    The few others are contested: a change of the input by one part in a thousand moves their scores as far.
    """
    for box, score, cosine in ways:
        few = 1 + 0.03 * len(box)
        assert len(box) >= 20
        assert box.max() < 4
        assert np.sum(box >= 1) <= few
        assert score.max() < 0.05
        assert np.sum(score >= 0.01) <= few
        assert cosine.min() > 0.998
        assert np.sum(cosine <= 0.999) <= few


@pytest.fixture(scope="module")
def pictures(photos):
    return [cv2.imread(str(path)) for path in sorted(photos.rglob("*.*"))[::4]]


def test_the_default_model_on_real_photos(model, pictures):
    assert_as_good(compare(model, (416, 416), pictures))


def test_yolox_on_real_photos(tmp_path, pictures):
    if not YOLOX.exists():
        pytest.skip("needs the file of YOLOX-Nano")
    path, _ = import_onnx(YOLOX, tmp_path, "yoloxn")
    assert_as_good(compare(path, (416, 416), pictures))
