"""Half precision: which tensors become float16, and that boxes, scores and descriptions stay as they were."""

from __future__ import annotations

import os

import cv2
import exports
import naive
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from halving import compare
from onnx import TensorProto, helper

from rtsearch.engines.half import halved, near_the_limit
from rtsearch.engines.network import network_for, sample_pictures
from rtsearch.errors import ModelError
from rtsearch.models import ModelSpec, import_onnx

IMAGES = ("images", TensorProto.FLOAT, [1, 3, 32, 32])
long = pytest.mark.skipif("RTSEARCH_LONG" not in os.environ, reason="takes long: make soak")


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
    assert is_half(half, "images", "boxes", "scores") == [False, False, False]
    convolutions = [node.output[0] for node in half.graph.node if node.op_type == "Conv"]
    # Six of the stem, two in the middle, that of the boxes, that of the scores.
    assert is_half(half, *convolutions) == [False] * 6 + [True] * 2 + [False, True]
    casts = [node.input[0] for node in half.graph.node if node.op_type == "Cast"]
    assert len(casts) == len(set(casts)) == 3  # out of the stem, into the boxes' layer, into scores
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


def test_boxes_of_yolox_whose_sizes_are_exponents(tmp_path):
    wh = (96, 64)
    source = tmp_path / "export.onnx"
    source.write_bytes(exports.yolox_export(wh).SerializeToString())
    path, _ = import_onnx(source, tmp_path, "tiny")
    single, half = (
        onnx.load_from_string(network_for(path, input_wh=wh, batch=1, precision=precision)[0])
        for precision in ("fp32", "fp16")
    )
    weights = {tensor.name: tensor.dims[0] for tensor in half.graph.initializer if len(tensor.dims) == 4}
    layers = [node for node in half.graph.node if node.op_type == "Conv"]
    ends = {c: [node.output[0] for node in layers if weights[node.input[1]] == c] for c in (4, 1)}
    assert is_half(half, *ends[4][-3:]) == [False] * 3  # boxes
    assert is_half(half, *ends[1]) == [True] * 3  # objectness
    assert all(is_half(half, node.output[0]) == [False] for node in half.graph.node if node.op_type == "Exp")
    pictures = np.random.default_rng(0).random((1, 3, wh[1], wh[0]), np.float32)
    want, rounded = run(single, pictures), run(naive.rounded_to_half(half), pictures)
    np.testing.assert_allclose(rounded["boxes"], want["boxes"], atol=0.1)
    np.testing.assert_allclose(rounded["scores"], want["scores"], atol=1e-3)
    assert np.abs(rounded["scores"] - want["scores"]).max() > 0  # it did round


def test_pictures_are_not_rounded_on_their_way_to_the_first_layer():
    trunk = Trunk()
    part = trunk.g.op("Mul", "images", trunk.g.const(2, np.float32))
    nodes = trunk.g.nodes
    nodes.insert(0, nodes.pop())
    next(node for node in nodes if node.op_type == "Conv").input[0] = part
    assert is_half(halved(trunk.finish()), "images", part) == [False, False]


def with_bias(trunk, at, value):
    """Give a layer of a trunk the same bias everywhere."""
    biases = [tensor for tensor in trunk.g.initializers if len(tensor.dims) == 1]
    large = np.full(tuple(biases[at].dims), value, np.float32)
    biases[at].CopyFrom(onnx.numpy_helper.from_array(large, biases[at].name))


def test_a_bias_that_is_large_is_given_in_two_parts():
    trunk = Trunk(layers=10)
    with_bias(trunk, 7, 19.003)
    model = trunk.finish()
    half = halved(model)
    onnx.checker.check_model(half, full_check=True)
    layers = [node for node in half.graph.node if node.op_type == "Conv"]
    assert is_half(half, *(node.output[0] for node in layers[:10])) == [False] * 6 + [True] * 4
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in half.graph.initializer}
    (add,) = [node for node in half.graph.node if node.op_type == "Add"]
    first, rest = weights[layers[7].input[2]], weights[add.input[1]]
    assert (first.dtype, rest.dtype, rest.shape) == (np.float16, np.float32, (4, 1, 1))
    assert np.all(first.astype(np.float32) + rest.ravel() == np.float32(19.003))
    assert np.all(rest != 0)
    assert add.output[0] == [n.output[0] for n in model.graph.node if n.op_type == "Conv"][7]
    reads = [node for node in half.graph.node if add.output[0] in node.input]
    assert [node.op_type for node in reads] == ["Sigmoid", "Mul"]  # the activation, in float32 too
    assert is_half(half, *(node.output[0] for node in reads)) == [False, False]
    assert is_half(half, layers[8].input[0], layers[8].output[0]) == [True, True]


def test_what_reads_a_layer_without_an_activation_gets_float16():
    trunk = Trunk()
    plain = trunk.g.conv(trunk.x, 4, 4, act=False)
    with_bias(trunk, 8, -3.001)
    half = halved(trunk.finish(trunk.g.op("Add", plain, trunk.x)))
    onnx.checker.check_model(half, full_check=True)
    (added,) = [node for node in half.graph.node if node.op_type == "Add" and trunk.x in node.input]
    assert is_half(half, plain, *added.input, added.output[0]) == [False, True, True, True]


def test_two_layers_that_share_a_bias():
    trunk = Trunk(layers=10)
    with_bias(trunk, 7, 5.003)
    layers = [node for node in trunk.g.nodes if node.op_type == "Conv"]
    layers[8].input[2] = layers[7].input[2]
    half = halved(trunk.finish())
    onnx.checker.check_model(half, full_check=True)
    adds = [node for node in half.graph.node if node.op_type == "Add"]
    assert len(adds) == 2
    assert adds[0].input[1] == adds[1].input[1]


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
    value = onnx.numpy_helper.from_array(np.array(1.5, np.float32))
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
    model = Trunk().finish()
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    cast = helper.make_node("Cast", ["images"], ["wide"], to=TensorProto.FLOAT)
    model.graph.node[0].input[0] = "wide"
    model.graph.node.insert(0, cast)
    with pytest.raises(ModelError, match="whose input is float32"):
        halved(model)


def test_sample_pictures_are_pictures(model):
    spec = ModelSpec.read(model)
    pictures = sample_pictures(spec, (96, 64), 2)
    assert (pictures.shape, pictures.dtype) == ((2, 3, 64, 96), np.float32)
    assert 0 <= pictures.min() < 0.1 < 0.9 < pictures.max() <= 1


# Real photos -----------------------------------------------------------------------------------------------


def assert_as_good(score, steady, ways):
    """Within 1 px, 0.01 and 0.999 is all that float32 does not move farther itself, and nearly all else.

    Args:
        score, steady, ways: from ``compare``.
    """
    sure = steady
    assert np.count_nonzero(sure) >= max(40, 0.5 * len(score))
    for box, change, cosine in ways:
        assert box[sure].max() < 1
        assert change[sure].max() < 0.01
        assert cosine[sure].min() > 0.999
        assert np.mean((box < 1) & (change < 0.01) & (cosine > 0.999)) > 0.95
    assert all(way[1].max() > 0 for way in ways)  # they did round


@pytest.fixture(scope="module")
def pictures(photos):
    """Those in which most is found: seven hold 0.7 of the anchors of twenty, and blank ones prove nothing."""
    names = [f"bikes-{frame:06d}.jpg" for frame in (40, 80, 120, 140, 160, 180)]
    return [cv2.imread(str(photos / name)) for name in (*names, "skimage-camera.png")]


# One size holds the promise; another one takes 8 s of CPU time.
@pytest.mark.slow
@pytest.mark.parametrize("side", [416, pytest.param(640, marks=long)])
def test_the_default_model_on_real_photos(model, pictures, side):
    assert_as_good(*compare(model, (side, side), pictures))


@pytest.mark.parametrize(("side", "most"), [(416, 0.1), (640, 0.1)])
def test_little_of_the_work_stays_in_float32(model, side, most):
    half = onnx.load_from_string(network_for(model, input_wh=(side, side), batch=1, precision="fp16")[0])
    graph = onnx.shape_inference.infer_shapes(half, strict_mode=True, data_prop=True).graph
    tensors = {entry.name: entry.type.tensor_type for entry in graph.value_info}
    weights = {tensor.name: tensor.dims for tensor in graph.initializer}
    work = {True: 0, False: 0}
    for node in graph.node:
        if node.op_type == "Conv":
            made = tensors[node.output[0]]
            cells = np.prod([dim.dim_value for dim in made.shape.dim[2:]])
            work[made.elem_type == TensorProto.FLOAT16] += np.prod(weights[node.input[1]]) * cells
    assert work[False] < most * (work[False] + work[True])
