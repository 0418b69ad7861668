"""Exports of other people become prepared models."""

import exports
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from exports import WH, corners, decoded_yolox, picture, raw, save
from onnx import TensorProto, helper, numpy_helper

from rtsearch.models import ModelSpec, import_onnx
from rtsearch.runners.onnx import OnnxRunner

# ---------------------------------------------------------------- layouts


@pytest.mark.parametrize("dfl", [True, False])
@pytest.mark.parametrize("end", ["raw", "nms", "top"])
def test_ultralytics_exports(tmp_path, end, dfl):
    source = save(exports.ultralytics_export(end=end, dfl=dfl), tmp_path / f"made-{end}.onnx")
    plain = save(exports.ultralytics_export(end="raw", dfl=dfl), tmp_path / "plain.onnx")
    path, lines = import_onnx(source, tmp_path / "engines")
    spec = ModelSpec.read(path)
    assert spec.family == "ultralytics"
    assert spec.needs_nms == (end != "top")
    assert (spec.pixel_order, spec.pixel_scale) == ("rgb", 1 / 255)
    assert (spec.input_wh, spec.flexible, spec.batch) == (WH, False, 1)
    outputs = OnnxRunner(path).run(picture())
    want = raw(plain, picture())[0].T  # the same weights, before any selection
    np.testing.assert_allclose(outputs["boxes"][0], corners(want[:, :4]), atol=1e-3)
    np.testing.assert_array_equal(outputs["scores"][0], want[:, 4:])
    told = "\n".join(lines)
    assert ("centre and size" in told) == (end == "raw")
    words = {"raw": "needed, none in the file", "nms": "built in is left out", "top": "one box per object"}
    assert words[end] in told


def test_what_was_left_out_would_have_chosen_the_same(tmp_path):
    """The rows that a built-in selection reports are rows of the prepared model."""
    for end in ("nms", "top"):
        source = save(exports.ultralytics_export(end=end), tmp_path / f"{end}.onnx")
        outputs = OnnxRunner(import_onnx(source, tmp_path / "engines")[0]).run(picture())
        rows = raw(source, picture()).reshape(-1, 6)
        assert len(rows) > 1
        for x1, y1, x2, y2, score, label in rows:
            distance = np.abs(outputs["boxes"][0] - [x1, y1, x2, y2]).max(1)
            assert distance.min() < 1e-3
            assert np.isclose(outputs["scores"][0][distance.argmin(), int(label)], score)


@pytest.mark.parametrize("opset", [11, 17])
def test_yolox_exports(tmp_path, opset):
    source = save(exports.yolox_export(opset=opset), tmp_path / "x.onnx")
    path, lines = import_onnx(source, tmp_path / "engines")
    spec = ModelSpec.read(path)
    assert spec.family == "yolox"
    assert spec.needs_nms
    assert (spec.pixel_order, spec.pixel_scale) == ("bgr", 1.0)
    outputs = OnnxRunner(path).run(picture())
    boxes, scores = decoded_yolox(raw(source, picture())[0], WH)
    np.testing.assert_allclose(outputs["boxes"][0], boxes, rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(outputs["scores"][0], scores, atol=1e-6)
    assert lines[1] == "layout: YOLOX, maps of boxes, objectness and classes at strides 8, 16, 32"


def test_yolox_made_for_one_size_serves_all(tmp_path):
    path, _ = import_onnx(save(exports.yolox_export(WH), tmp_path / "x.onnx"), tmp_path / "engines")
    assert ModelSpec.read(path).flexible
    for wh, batch in [((32, 64), 3), ((128, 96), 2)]:
        other = save(exports.yolox_export(wh), tmp_path / "other.onnx")
        outputs = OnnxRunner(path, input_wh=wh).run(picture(wh, batch))
        for i, image in enumerate(picture(wh, batch)):
            boxes, scores = decoded_yolox(raw(other, image[None])[0], wh)
            np.testing.assert_allclose(outputs["boxes"][i], boxes, rtol=1e-5, atol=1e-3)
            np.testing.assert_allclose(outputs["scores"][i], scores, atol=1e-6)


@pytest.mark.parametrize("made", [exports.ultralytics_export, exports.yolox_export])
def test_the_tap_is_the_map_that_the_export_enlarges(tmp_path, made):
    model = made()
    path, lines = import_onnx(save(model, tmp_path / "a.onnx"), tmp_path / "engines")
    spec = ModelSpec.read(path)
    assert [(tap.role, tap.stride, tap.channels) for tap in spec.taps] == [("deep32", 32, 10)]
    names = [line.split()[-1] for line in lines if line.startswith("tap: ")]
    for name in names:
        assert "Resize" in {node.op_type for node in model.graph.node if name in node.input}
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    outputs = OnnxRunner(path).run(picture())
    for i, want in enumerate(session.run(names, {"images": picture()})):
        np.testing.assert_allclose(outputs[f"tap{i}"], want, atol=1e-5)


# ---------------------------------------------------------------- how exports differ in detail


def test_an_export_with_free_sides_stays_free(tmp_path):
    model = exports.Graph()
    necks = model.necks("images", (4, 4, 4))
    boxes, scores = [], []
    for x in necks:
        for group, width in ((boxes, 4), (scores, 2)):
            branch = model.conv(model.conv(x, 4, 4), 4, width, k=1, act=False)
            group.append(model.op("Reshape", branch, model.const((0, width, -1), np.int64)))
    near, far = model.op(
        "Split", model.op("Concat", *boxes, axis=2), model.const((2, 2), np.int64), outputs=2, axis=1
    )
    low = model.op("Sub", model.const(50, np.float32), near)
    high = model.op("Add", model.const(50, np.float32), far)
    box = model.op("Concat", low, high, axis=1)
    score = model.op("Sigmoid", model.op("Concat", *scores, axis=2))
    out = model.op("Concat", box, score, axis=1)
    image = ("images", TensorProto.FLOAT, ["batch", 3, "height", "width"])
    made = model.model([image], [(out, TensorProto.FLOAT, ["batch", 6, "n"])], metadata={"imgsz": "[64, 96]"})
    path, lines = import_onnx(save(made, tmp_path / "free.onnx"), tmp_path / "engines")
    spec = ModelSpec.read(path)
    assert (spec.input_wh, spec.flexible, spec.batch) == ((96, 64), True, None)
    assert lines[0] == "input: 96x64 px or any multiple of 32, pictures at a time: any number"
    assert OnnxRunner(path, input_wh=(64, 32)).run(picture((64, 32), 2))["boxes"].shape == (2, 42, 4)


def _half(model, image=True):
    """Half precision inside, as converters do it: a cast at the front and the back, appended out of order."""
    scales = {name for node in model.graph.node if node.op_type == "Resize" for name in node.input[2:]}
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and tensor.name not in scales:
            name = tensor.name
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), name))
    if image:
        for node in model.graph.node:
            node.input[:] = ["half" if name == "images" else name for name in node.input]
        model.graph.node.append(helper.make_node("Cast", ["images"], ["half"], to=TensorProto.FLOAT16))
    else:
        model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    for node in model.graph.node:
        node.output[:] = ["inner" if name == "output0" else name for name in node.output]
    model.graph.node.append(helper.make_node("Cast", ["inner"], ["output0"], to=TensorProto.FLOAT))
    return model


@pytest.mark.parametrize("image", [True, False])
def test_half_precision_comes_out_as_single(tmp_path, image):
    path, _ = import_onnx(
        save(_half(exports.ultralytics_export(), image), tmp_path / "h.onnx"), tmp_path / "engines"
    )
    plain, _ = import_onnx(save(exports.ultralytics_export(), tmp_path / "f.onnx"), tmp_path / "engines")
    half, full = OnnxRunner(path).run(picture()), OnnxRunner(plain).run(picture())
    for name, values in full.items():
        assert half[name].dtype == np.float32
        np.testing.assert_allclose(half[name], values, atol=0.15, rtol=0.05)


def test_tensors_that_are_called_like_our_outputs(tmp_path):
    model = exports.ultralytics_export()
    taken = {model.graph.node[4].output[0]: "boxes", model.graph.node[9].output[0]: "tap0"}
    taken[model.graph.initializer[0].name] = "scores"
    for node in model.graph.node:
        node.input[:] = [taken.get(name, name) for name in node.input]
        node.output[:] = [taken.get(name, name) for name in node.output]
    model.graph.initializer[0].name = "scores"
    onnx.checker.check_model(model)
    path, _ = import_onnx(save(model, tmp_path / "a.onnx"), tmp_path / "engines")
    plain, _ = import_onnx(save(exports.ultralytics_export(), tmp_path / "b.onnx"), tmp_path / "engines")
    got, want = OnnxRunner(path).run(picture()), OnnxRunner(plain).run(picture())
    for name, values in want.items():
        np.testing.assert_array_equal(got[name], values)


def test_an_input_of_another_name(tmp_path):
    model = exports.ultralytics_export()
    model.graph.input[0].name = "data"
    for node in model.graph.node:
        node.input[:] = ["data" if name == "images" else name for name in node.input]
    path, _ = import_onnx(save(model, tmp_path / "a.onnx"), tmp_path / "engines")
    assert OnnxRunner(path).run(picture())


@pytest.mark.parametrize(
    ("metadata", "count", "classes", "told"),
    [
        ({}, 3, ("class 0", "class 1", "class 2"), "number"),
        ({"names": "{0: 'cat', 1: 'dog', 2: 'cup'}"}, 3, ("cat", "dog", "cup"), "the file"),
        ({"names": "['cat', 'dog', 'cup']"}, 3, ("cat", "dog", "cup"), "the file"),
        ({"names": "{0: 'cat'}"}, 3, ("class 0", "class 1", "class 2"), "number"),
        ({"names": "__import__('os').getcwd()"}, 1, ("class 0",), "number"),
        ({"names": "(" * 10_000}, 1, ("class 0",), "number"),
        ({}, 80, None, "COCO, as there are 80"),
    ],
)
def test_class_names(tmp_path, metadata, count, classes, told):
    made = exports.ultralytics_export(classes=count, metadata=metadata)
    path, lines = import_onnx(save(made, tmp_path / "a.onnx"), tmp_path / "engines")
    names = ModelSpec.read(path).classes
    if classes is None:
        assert (names[0], names[15], names[41], names[79]) == ("person", "cat", "cup", "toothbrush")
        assert all(name == name.strip() for name in names)
    else:
        assert names == classes
    assert f"classes: {count}, named by {told}" in lines


@pytest.mark.parametrize(
    ("licence", "want"),
    [
        ("", ("unknown", "")),
        (
            "AGPL-3.0 License (https://ultralytics.com/license)",
            ("AGPL-3.0", "https://ultralytics.com/license"),
        ),
        ("MIT", ("MIT", "")),
        ("?", ("unknown", "")),
    ],
)
def test_the_licence_is_kept(tmp_path, licence, want):
    made = exports.ultralytics_export(metadata={"license": licence} if licence else None)
    spec = ModelSpec.read(import_onnx(save(made, tmp_path / "a.onnx"), tmp_path / "engines")[0])
    assert (spec.licence, spec.licence_url) == want
