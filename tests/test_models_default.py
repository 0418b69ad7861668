"""The default model as a user gets it: pulled, converted, run on real pictures."""

import importlib.util
from pathlib import Path

import cv2
import numpy as np
import pytest

from rtsearch.config import DetectSettings
from rtsearch.models import ModelSpec, default_folder, pull
from rtsearch.perception.detector import Detector
from rtsearch.runners.onnx import OnnxRunner


@pytest.fixture(scope="module")
def model():
    return pull("yolo26n", default_folder())


def picture(package, name):
    """A real picture that an installed package carries."""
    found = importlib.util.find_spec(package)
    path = Path(found.origin).parent / name if found and found.origin else Path()
    if not path.is_file():
        pytest.skip(f"{package} with its {name} is not installed; run: make test")
    return cv2.imread(str(path))


@pytest.mark.parametrize(
    ("package", "name", "classes"),
    [
        ("skimage", "data/astronaut.png", {"person"}),
        ("skimage", "data/chelsea.png", {"cat"}),
        ("skimage", "data/coffee.png", {"cup"}),
        ("sklearn", "datasets/images/flower.jpg", set()),
    ],
)
@pytest.mark.parametrize("wh", [(416, 416), (416, 320)])
def test_it_finds_what_a_picture_shows(model, package, name, classes, wh):
    image = picture(package, name)
    spec = ModelSpec.read(model)
    runner = OnnxRunner(model, input_wh=wh)
    found = Detector(runner, spec, wh).detect([image], DetectSettings())[0]
    assert classes <= {spec.classes[label] for label in found.label}


def test_pictures_of_a_batch_are_seen_as_alone(model):
    images = np.random.default_rng(0).random((3, 3, 64, 96), dtype=np.float32)
    runner = OnnxRunner(model, input_wh=(96, 64))
    together = runner.run(images)
    for i in range(len(images)):
        alone = runner.run(images[i : i + 1])
        for name, values in together.items():
            np.testing.assert_allclose(values[i], alone[name][0], rtol=1e-3, atol=2e-3)
