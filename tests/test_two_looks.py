"""A second, larger look at pictures: which boxes it adds, and that the usual maps describe them."""

from __future__ import annotations

import numpy as np
import pytest
from test_detector import WH, GivenRunner, one_hot, spec

from rtsearch._util.metrics import Meter
from rtsearch.config import DetectSettings, load_settings
from rtsearch.images.decode import read_photo
from rtsearch.perception.detector import Detector, Found
from rtsearch.perception.two_looks import TwoLooks, larger_wh
from rtsearch.pipeline import open_pipeline

LARGE = (160, 96)  # the picture is scaled by .75 to fit, not by .83
PICTURE = np.zeros((2 * WH[1], 2 * WH[0], 3), np.uint8)
USUAL = [[10, 10, 30, 30], [50, 20, 80, 50]]  # pixels of the usual input, half of the picture's


def look(boxes, scores, labels, wh) -> Detector:
    """A detector that finds boxes in pixels of its input."""
    given = np.array(boxes, np.float32).reshape(1, -1, 4)
    taps = np.full((1, 2, 2, 3), wh[0], np.float32)  # maps that tell whose they are
    runner = GivenRunner(given, one_hot(labels, scores)[None], [taps])
    from rtsearch.models import Tap

    return Detector(runner, spec(input_wh=wh, taps=(Tap("tap0", "deep32", 32, 2),)), wh)


def looked(further, scores, labels, **settings) -> Found:
    usual = look(USUAL, [0.9, 0.4], [0, 1], WH)
    larger = look(np.array(further, np.float32).reshape(-1, 4) * 1.5, scores, labels, LARGE)
    return TwoLooks(usual, larger).detect([PICTURE], DetectSettings(**settings))[0]


def test_boxes_that_only_the_larger_look_finds_are_added_in_order():
    found = looked([[60, 2, 90, 14]], [0.6], [2])
    assert found.label.tolist() == [0, 2, 1]
    assert found.score.tolist() == pytest.approx([0.9, 0.6, 0.4])
    assert found.xyxy[1].tolist() == pytest.approx([120, 4, 180, 28], abs=0.1)
    assert found.input_xyxy[1].tolist() == pytest.approx([60, 2, 90, 14], abs=0.1)
    assert found.logits[1].argmax() == 2
    assert found.input_wh == WH
    assert found.maps[0].max() == WH[0]  # the usual ones
    assert not found.whole.any()


def test_boxes_that_both_looks_find_are_those_of_the_usual_one():
    found = looked([[10, 10, 30, 31], [52, 20, 80, 50], [0, 40, 20, 60]], [0.95, 0.8, 0.5], [2, 2, 2])
    assert found.label.tolist() == [0, 2, 1]
    assert found.xyxy[0].tolist() == pytest.approx([20, 20, 60, 60])


def test_settings_hold_for_both_looks():
    further = [[60, 2, 90, 14], [0, 40, 20, 60], [2, 42, 22, 62]]
    assert len(looked(further, [0.6, 0.55, 0.5], [2, 2, 2])) == 4  # the last two are one
    assert len(looked(further, [0.6, 0.1, 0.1], [2, 2, 2])) == 3
    assert looked(further, [0.6, 0.55, 0.5], [2, 2, 2], max_objects=2).score.tolist() == pytest.approx(
        [0.9, 0.6]
    )
    assert looked(further, [0.6, 0.55, 0.5], [2, 2, 2], classes=("cat",)).label.tolist() == [0]


def test_the_whole_image_is_found_once_and_first():
    found = looked([[60, 2, 90, 14]], [0.6], [2], whole_image=True, max_objects=2)
    assert found.whole.tolist() == [True, False, False]
    assert found.label.tolist() == [-1, 0, 2]
    assert looked([], [], [], whole_image=True).whole.tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("wh", "multiple", "larger"),
    [((416, 416), 32, (640, 640)), ((640, 640), 32, (960, 960)), ((96, 64), 32, (160, 96))],
)
def test_the_larger_input(wh, multiple, larger):
    assert larger_wh(wh, multiple) == larger


@pytest.mark.slow
def test_two_looks_keep_what_one_finds(photos):
    """With the default network: objects of one look come again, and some are added."""
    settings = load_settings(None, ["detect.threshold=0.25"])
    pictures = [read_photo(path) for path in sorted(photos.glob("*.jpg"))[:6]]
    with open_pipeline(settings) as one, open_pipeline(settings, looks=2) as two:
        assert one.feature_space == two.feature_space
        added = 0
        for picture in pictures:
            seen, more = (each.backend.infer([picture], settings.detect, Meter())[0] for each in (one, two))
            rows = [int(np.abs(more.xyxy - box).sum(1).argmin()) for box in seen.xyxy]
            assert np.allclose(more.xyxy[rows], seen.xyxy, atol=0.01)
            assert np.allclose(more.vector[rows], seen.vector, atol=1e-4)
            assert (np.diff(more.score) <= 0).all()
            added += len(more) - len(seen)
    assert added > 0


def test_a_network_of_one_size_looks_once(monkeypatch):
    from rtsearch import pipeline

    told: list[str] = []
    assert pipeline._takes_two_looks(spec(flexible=False), told.append) is False
    assert told == ["analyze.looks=2 has no effect: given takes pictures of 96x64 px only"]
