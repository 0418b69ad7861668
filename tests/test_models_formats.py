"""The formats of detectors that people have become prepared models."""

import exports
import numpy as np
import onnx
import pytest
from exports import WH, corners, decoded_yolox, picture, raw, save
from onnx import TensorProto, helper

from rtsearch.errors import ModelError, NotADetectorError
from rtsearch.models import ModelSpec, import_onnx
from rtsearch.models.coco import COCO_CLASSES, COCO_NUMBERS
from rtsearch.runners.onnx import OnnxRunner


def imported(model, folder, **options):
    """Runner, spec and findings of an export."""
    path, lines = import_onnx(save(model, folder / "made.onnx"), folder / "engines", **options)
    return OnnxRunner(path), ModelSpec.read(path), "\n".join(lines)


# ---------------------------------------------------------------- int8


INT8 = [
    *((made, how) for made in ("ultralytics", "yolox") for how in ("dynamic", "qoperator", "qdq")),
    ("rows", "dynamic"),
]


@pytest.mark.parametrize(("made", "how"), INT8)
def test_int8_is_imported_as_it_is(tmp_path, made, how):
    model = getattr(exports, f"{made}_export")()
    plain, spec, _ = imported(model, tmp_path)
    small, other, _ = imported(exports.quantised(model, how, tmp_path), tmp_path)
    assert (other.family, len(other.classes), other.taps) == (spec.family, len(spec.classes), spec.taps)
    want, got = plain.run(picture()), small.run(picture())
    for name, values in want.items():
        assert got[name].dtype == np.float32
        assert np.abs(got[name] - values).mean() < 0.1 * np.ptp(values), name


def test_scores_that_int8_rounded_away_are_said(tmp_path):
    """Where boxes and scores share a scale, one step of it may be more than a probability."""
    made = exports.quantised(exports.rows_export(anchor=20), "qdq", tmp_path)
    with pytest.raises(ModelError, match="scores are all 0; if it was quantised"):
        imported(made, tmp_path)


# ---------------------------------------------------------------- shapes, opsets, versions


@pytest.mark.parametrize("opset", [11, 12, 13])
def test_free_sides_of_old_opsets(tmp_path, opset):
    runner, spec, told = imported(exports.free_export(opset), tmp_path, size=96)
    assert (spec.input_wh, spec.flexible, spec.batch) == ((96, 96), True, None)
    assert "centre and size" in told
    source = save(exports.free_export(opset), tmp_path / "again.onnx")
    for wh in ((96, 64), (32, 128)):
        want = raw(source, picture(wh))[0].T
        got = runner.run(picture(wh))
        np.testing.assert_allclose(got["boxes"][0], corners(want[:, :4]), atol=1e-3)
        np.testing.assert_array_equal(got["scores"][0], want[:, 4:])


def test_sides_that_are_only_called_free_are_fixed(tmp_path):
    model = exports.ultralytics_export((96, 96))
    dims = model.graph.input[0].type.tensor_type.shape.dim
    for place, name in ((0, "batch"), (2, "height"), (3, "width")):
        dims[place].dim_param = name
    _, spec, told = imported(model, tmp_path, size=96)
    assert (spec.input_wh, spec.flexible, spec.batch) == ((96, 96), False, 1)
    assert "input: 96x96 px from now on (--set model.size=N imports it with another size)" in told


@pytest.mark.parametrize("opset", [18, 21])
def test_yolox_of_new_opsets(tmp_path, opset):
    model = exports.yolox_export(opset=opset)
    runner, spec, _ = imported(model, tmp_path)
    boxes, scores = decoded_yolox(raw(tmp_path / "made.onnx", picture())[0], WH)
    got = runner.run(picture())
    assert spec.flexible
    np.testing.assert_allclose(got["boxes"][0], boxes, rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(got["scores"][0], scores, atol=1e-6)


def test_newer_versions_of_the_file_format(tmp_path):
    model = exports.ultralytics_export()
    model.ir_version = 99
    runner, _, _ = imported(model, tmp_path)
    assert runner.run(picture())["boxes"].shape == (1, 126, 4)
    assert onnx.load(tmp_path / "engines/made.onnx").ir_version <= 10


def test_a_fixed_number_of_pictures(tmp_path):
    runner, spec, _ = imported(exports.ultralytics_export(batch=4), tmp_path)
    alone, _, _ = imported(exports.ultralytics_export(), tmp_path)
    assert spec.batch == 4
    four = picture(batch=4)
    got = runner.run(four)
    for i in range(4):
        want = alone.run(four[i : i + 1])
        np.testing.assert_allclose(got["boxes"][i], want["boxes"][0], atol=1e-3)


# ---------------------------------------------------------------- heads


def test_poses_are_left_out(tmp_path):
    runner, spec, told = imported(exports.ultralytics_export(end="pose"), tmp_path)
    plain, _, _ = imported(exports.ultralytics_export(end="raw"), tmp_path)
    assert len(spec.classes) == 3
    assert "left out: 8 more values per box (a pose or a mask)" in told
    for name, values in plain.run(picture()).items():
        np.testing.assert_allclose(runner.run(picture())[name], values, atol=1e-5)


def test_the_upright_box_around_a_rotated_one(tmp_path):
    runner, spec, told = imported(exports.ultralytics_export(end="rotated"), tmp_path)
    assert (len(spec.classes), spec.needs_nms) == (3, True)
    assert "the upright box around each is taken" in told
    want = raw(tmp_path / "made.onnx", picture())[0]
    got = runner.run(picture())
    np.testing.assert_array_equal(got["scores"][0], want[4:7].T)
    for (x, y, w, h), turn, box in zip(want[:4].T, want[7], got["boxes"][0], strict=True):
        along, across = np.array([np.cos(turn), np.sin(turn)]), np.array([-np.sin(turn), np.cos(turn)])
        ends = [[x, y] + i * w * along / 2 + j * h * across / 2 for i in (-1, 1) for j in (-1, 1)]
        np.testing.assert_allclose(box, [*np.min(ends, 0), *np.max(ends, 0)], atol=1e-2)


def test_rows_with_the_grid_inside(tmp_path):
    runner, spec, told = imported(exports.rows_export(), tmp_path)
    assert (spec.family, spec.needs_nms, len(spec.classes)) == ("yolov5", True, 3)
    assert "3 per cell at strides 8, 16, 32" in told
    want = raw(tmp_path / "made.onnx", picture())[0]
    got = runner.run(picture())
    np.testing.assert_allclose(got["boxes"][0], corners(want[:, :4]), rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(got["scores"][0], want[:, 4:5] * want[:, 5:], atol=1e-6)
    assert [tap.role for tap in spec.taps] == ["deep32"]


def test_one_class(tmp_path):
    for made in (exports.ultralytics_export, exports.yolox_export, exports.rows_export, exports.detr_export):
        runner, spec, _ = imported(made(classes=1), tmp_path)
        assert spec.classes == ("class 0",)
        assert runner.run(picture())["scores"].shape[2] == 1


# ---------------------------------------------------------------- DETR and its kin


@pytest.mark.parametrize("style", ["raw", "chosen", "joined", "ranked"])
def test_all_styles_of_detr_give_the_same(tmp_path, style):
    runner, spec, told = imported(exports.detr_export(style), tmp_path)
    assert (spec.family, spec.needs_nms, spec.stretch, spec.flexible) == ("detr", False, True, False)
    assert "12 queries" in told
    source = save(exports.detr_export(), tmp_path / "plain.onnx")
    session = exports.session(source)
    logits, boxes = session.run(None, {"images": picture()})
    got = runner.run(picture())
    assert set(got) == {"boxes", "scores", "tap0"}
    np.testing.assert_allclose(got["boxes"][0], corners(boxes[0]) * np.tile(WH, 2), atol=1e-3)
    np.testing.assert_allclose(got["scores"][0], 1 / (1 + np.exp(-logits[0])), atol=1e-6)


def test_what_detr_chose_is_among_what_is_imported(tmp_path):
    runner, _, _ = imported(exports.detr_export("chosen"), tmp_path)
    sizes = np.array([[96, 64]])
    session = exports.session(tmp_path / "made.onnx")
    labels, boxes, scores = session.run(None, {"images": picture(), "orig_target_sizes": sizes})
    got = runner.run(picture())
    for label, box, score in zip(labels[0], boxes[0], scores[0], strict=True):
        row = np.abs(got["boxes"][0] - box).max(1).argmin()
        np.testing.assert_allclose(got["boxes"][0][row], box, atol=1e-3)
        assert np.isclose(got["scores"][0][row, label], score)


def test_the_first_detr_keeps_the_aspect_and_knows_a_class_of_nothing(tmp_path):
    runner, spec, told = imported(exports.detr_export("plain", classes=5), tmp_path)
    assert (len(spec.classes), spec.stretch) == (4, False)
    assert "the last means nothing was found" in told
    assert "less ImageNet's mean" in told
    mean, deviation = (np.reshape(x, (1, 3, 1, 1)) for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    given = ((picture() - mean) / deviation).astype(np.float32)
    logits, _ = exports.session(tmp_path / "made.onnx").run(None, {"images": given})
    odds = np.exp(logits[0])
    np.testing.assert_allclose(
        runner.run(picture())["scores"][0], (odds / odds.sum(1, keepdims=True))[:, :4], atol=1e-5
    )


def test_classes_numbered_as_in_the_data_set(tmp_path):
    runner, spec, _ = imported(exports.detr_export(classes=91), tmp_path)
    assert spec.classes == COCO_CLASSES
    assert (COCO_NUMBERS[0], COCO_NUMBERS[11], COCO_NUMBERS[-1]) == (1, 13, 90)
    wide, _, _ = imported(exports.detr_export(classes=91, names=("labels", "dets")), tmp_path)
    np.testing.assert_array_equal(wide.run(picture())["scores"], runner.run(picture())["scores"])


def test_rfdetr_takes_normalised_pictures_with_any_classes(tmp_path):
    _, spec, told = imported(exports.detr_export(names=("labels", "dets")), tmp_path)
    assert (spec.stretch, len(spec.classes)) == (True, 3)
    assert "less ImageNet's mean" in told


# ---------------------------------------------------------------- names, refusals


def test_names_that_are_given(tmp_path):
    _, spec, told = imported(exports.ultralytics_export(), tmp_path, names=("a", "b", "c"))
    assert spec.classes == ("a", "b", "c")
    assert "classes: 3, named by you" in told
    with pytest.raises(ModelError, match="2 class names were given, the network has 3 classes"):
        imported(exports.ultralytics_export(), tmp_path, names=("a", "b"))


def _named(model, names):
    helper.set_model_props(model, names)
    return model


@pytest.mark.parametrize(
    ("model", "hint"),
    [
        (lambda: exports.rows_export(grid=False), "without grid and anchors.*export.py --grid"),
        (lambda: _named(exports.classifier(), {"description": "Ultralytics YOLOv8n"}), "as of a classifier"),
        (exports.mask, "as of a segmentation network"),
        (exports.ready_boxes, "after suppression: export it again without"),
    ],
)
def test_refusals_guess_what_it_is(tmp_path, model, hint):
    with pytest.raises(
        NotADetectorError, match=rf"^no detector was recognised in .*found input.*{hint}"
    ) as caught:
        imported(model(), tmp_path)
    assert "\n" not in str(caught.value)
    assert "no YOLOX or Ultralytics" not in str(caught.value)


def test_channels_last_are_refused_with_the_way_out(tmp_path):
    model = exports.classifier()
    dims = model.graph.input[0].type.tensor_type.shape.dim
    dims[1].dim_value, dims[3].dim_value = 64, 3
    with pytest.raises(NotADetectorError, match="channels first"):
        imported(model, tmp_path)


def test_an_operator_of_another_runtime_behind_the_boxes(tmp_path):
    """TensorRT's suppression cannot be run here, and need not be."""
    model = exports.rows_export()
    plain, _, _ = imported(exports.rows_export(), tmp_path)
    last = model.graph.output[0].name
    made = [f"nms{i}" for i in range(4)]
    model.graph.node.append(helper.make_node("EfficientNMS_TRT", [last], made, domain="TRT"))
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info(made[0], TensorProto.FLOAT, None))
    runner, _, told = imported(model, tmp_path)
    assert "built in is left out" in told
    np.testing.assert_array_equal(runner.run(picture())["boxes"], plain.run(picture())["boxes"])
