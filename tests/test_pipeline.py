"""A pipeline is opened as the settings say, or says what they cannot change."""

import exports
import pytest
from exports import save

from rtsearch.config import load_settings
from rtsearch.models import import_onnx
from rtsearch.pipeline import open_pipeline


@pytest.mark.parametrize(
    ("made", "size", "told"),
    [
        (exports.ultralytics_export, ["model.size=640"], True),
        (exports.ultralytics_export, [], False),
        (exports.yolox_export, ["model.size=96"], False),
    ],
)
def test_a_size_that_has_no_effect_is_said(tmp_path, caplog, made, size, told):
    path, _ = import_onnx(save(made(), tmp_path / "a.onnx"), tmp_path / "engines")
    settings = load_settings(overrides=[f"model.name={path}", "gpu.engine=none", *size])
    with open_pipeline(settings) as pipeline:
        assert pipeline.feature_space["letterbox"] == "top-left, bilinear"
    said = "a takes pictures of 96x64 px only, so model.size=640 has no effect" in caplog.text
    assert said == told


def test_stretched_pictures_are_part_of_the_feature_space(tmp_path):
    path, _ = import_onnx(save(exports.detr_export(), tmp_path / "a.onnx"), tmp_path / "engines")
    settings = load_settings(overrides=[f"model.name={path}", "gpu.engine=none"])
    with open_pipeline(settings, cut_padding=True) as pipeline:
        assert pipeline.feature_space["letterbox"] == "stretched, bilinear"
        pipeline.warm_up()
