"""The converter against a slow reference of the same small network."""

import nets
import numpy as np
import onnx
import onnxruntime as ort
import pytest

from rtsearch.errors import CheckpointError, ModelError
from rtsearch.models.catalogue import CatalogueEntry
from rtsearch.models.checkpoint import read_checkpoint
from rtsearch.models.checkpoint_import import prepare_checkpoint
from rtsearch.models.protobuf import save_model
from rtsearch.models.spec import ModelSpec
from rtsearch.models.ultralytics import yolo26
from rtsearch.runners.onnx import OnnxRunner

ENTRY = CatalogueEntry(
    name="tiny",
    family="yolo26",
    about="",
    licence="MIT",
    licence_url="https://example.org/licence",
    file="tiny.pt",
    bytes=1,
    sha256="ab" * 32,
    input_wh=(96, 64),
    classes=3,
    coco_map=25.0,
    places=(),
)


def prepared(folder, model):
    path = folder / "tiny.onnx"
    save_model(prepare_checkpoint(nets.checkpoint(folder / "tiny.pt", model), ENTRY), path)
    return path


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return prepared(tmp_path_factory.mktemp("tiny"), nets.tiny_yolo26())


@pytest.mark.parametrize(
    ("wh", "batch", "fixed"),
    [((32, 32), 1, False), ((96, 64), 1, True), ((64, 96), 2, True), ((64, 64), 3, False)],
)
def test_boxes_scores_and_taps_equal_the_reference(tiny, wh, batch, fixed):
    images = np.random.default_rng(1).random((batch, 3, wh[1], wh[0]), dtype=np.float32)
    outputs = OnnxRunner(tiny, input_wh=wh if fixed else None).run(images)
    for i, image in enumerate(images):
        boxes, scores, necks = nets.detect(nets.tiny_yolo26(), image)
        np.testing.assert_allclose(outputs["boxes"][i], boxes, atol=2e-3)
        np.testing.assert_allclose(outputs["scores"][i], scores, atol=1e-4)
        np.testing.assert_allclose(outputs["tap0"][i], necks[2], atol=1e-3)  # also the end of the way in


def test_nothing_of_the_free_size_is_left_once_it_is_fixed(tiny, tmp_path):
    """The grid is computed in the graph; a runtime that knows the size must not do it for every picture."""
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    for name, size in (("height", 64), ("width", 96)):
        options.add_free_dimension_override_by_name(name, size)
    ort.InferenceSession(str(tiny), options, providers=["CPUExecutionProvider"])
    left = {node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node}
    assert "Conv" in left
    assert not left & {"Shape", "Range", "ReduceMax", "Expand", "Cast", "Squeeze"}


def test_the_file_describes_itself(tiny):
    spec = ModelSpec.read(tiny)
    assert (spec.name, spec.licence, spec.source_sha256) == ("tiny", "MIT", "ab" * 32)
    assert spec.classes == ("cat", "dog", "cup")
    assert [(tap.name, tap.role, tap.stride, tap.channels) for tap in spec.taps] == [
        ("tap0", "deep32", 32, 16)
    ]
    assert spec.flexible
    assert spec.batch is None
    assert not spec.needs_nms


def test_the_same_checkpoint_gives_the_same_bytes(tiny, tmp_path):
    assert prepared(tmp_path, nets.tiny_yolo26()).read_bytes() == tiny.read_bytes()


def _change(path, **attributes):
    """The small network, with other attributes at the layer of that path."""
    model = nets.tiny_yolo26()
    layer = model
    for name in path.split("."):
        layer = layer[name]
    layer.attributes.update(attributes)
    return model


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: nets.Layer("Conv"), "expected a DetectionModel, got Conv"),
        (lambda: nets.Layer("DetectionModel"), "DetectionModel has no model"),
        (lambda: _change("model.0.conv", padding_mode="reflect"), "convolution Conv2d is of a kind"),
        (lambda: _change("model.0.conv", stride=None), "not what their names say"),
        (lambda: _change("model.9", scale_factor=3.0), "upsampling"),
        (lambda: _change("model.13", f=[-1, 40]), "not what their names say"),
        (lambda: _change("model.15", reg_max=16), "not a YOLO26 detection head"),
        (lambda: _change("model.15", stride=np.array([4, 8, 16], np.float32)), "not a YOLO26 detection head"),
        (lambda: _change("model.15", nc=4), "does not name the 4 classes"),
        (lambda: _replace("model", "5", nets.Layer("SiLU")), "layer SiLU is not known"),
        (lambda: _replace("model.0", "act", nets.Layer("MaxPool2d")), "activation MaxPool2d is not known"),
        (lambda: _replace("model.15", "one2one_cv2", nets.Layer("ModuleList")), "ModuleList has no 0"),
    ],
)
def test_checkpoints_of_another_kind_are_refused_by_name(tmp_path, model, message):
    path = nets.checkpoint(tmp_path / "a.pt", model())
    with pytest.raises(CheckpointError, match=message):
        yolo26(read_checkpoint(path))


def _replace(path, name, layer):
    model = nets.tiny_yolo26()
    parent = model
    for part in path.split("."):
        parent = parent[part]
    parent.inner[name] = layer
    return model


def test_weights_that_do_not_fit_each_other_are_refused(tmp_path):
    model = nets.tiny_yolo26()
    model["model"]["3"]["conv"].arrays["weight"] = np.zeros((8, 5, 3, 3), np.float32)
    with pytest.raises(ModelError, match=r"cannot be run.*channels"):
        prepared(tmp_path, model)
