"""People are made unrecognisable before anything is drawn, recorded or sent."""

from __future__ import annotations

import json
from dataclasses import replace

import blobs
import numpy as np
import pytest
from playing import PHOTOS, Given, Watcher, lines

from rtsearch.config import DetectSettings, load_settings
from rtsearch.errors import ConfigError
from rtsearch.images.decode import read_photo
from rtsearch.live import Outputs, play
from rtsearch.live.privacy import Privacy, pixelate
from rtsearch.send import parse_address
from rtsearch.types import Detections, Frame

NAMES = ("person", "green", "red")
RANDOM = np.random.default_rng(0)


def frame(at_s: float = 0.0) -> Frame:
    return Frame(0, at_s, None, RANDOM.integers(0, 256, (240, 320, 3)).astype(np.uint8))


def found(*boxes: tuple[float, ...], label: int = 0, score: float = 0.9) -> Detections:
    n = len(boxes)
    return Detections(
        np.array(boxes, np.float32).reshape(n, 4),
        np.full(n, score, np.float32),
        np.full(n, label, np.int32),
        np.zeros((n, 2), np.float32),
    )


def changed(before: Frame, after: Frame) -> tuple[int, int, int, int]:
    """Box of what differs between two frames; zeros for nothing."""
    rows, columns = np.nonzero((before.bgr != after.bgr).any(2))
    if not len(rows):
        return 0, 0, 0, 0
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


@pytest.mark.parametrize(
    ("kind", "box", "hidden"),
    [
        ("persons", (100, 50, 150, 200), (96, 38, 154, 212)),
        ("faces", (100, 50, 150, 200), (96, 38, 154, 100)),  # somebody who stands
        ("faces", (100, 50, 240, 200), (88, 38, 252, 167)),  # somebody close
        ("faces", (100, 50, 310, 200), (83, 38, 320, 212)),  # a face that fills the box
        ("persons", (-20, -20, 30, 30), (0, 0, 34, 34)),
    ],
)
def test_the_part_that_is_hidden(kind, box, hidden):
    before = frame()
    copy = before.bgr.copy()
    after = Privacy(kind, NAMES).frame(before, found(box))
    assert np.abs(np.subtract(changed(before, after), hidden)).max() <= 1
    np.testing.assert_array_equal(before.bgr, copy)
    x1, y1, x2, y2 = hidden
    assert len(np.unique(after.bgr[y1 + 1 : y2 - 1, x1 + 1 : x2 - 1].reshape(-1, 3), axis=0)) <= 400


def test_nothing_else_is_hidden():
    before = frame()
    private = Privacy("persons", NAMES)
    assert private.frame(before, found()) is before
    assert private.frame(before, found((10, 10, 90, 90), label=1)) is before


def test_somebody_who_is_missed_stays_hidden_for_a_second():
    private = Privacy("persons", NAMES)
    private.frame(frame(10.0), found((100, 50, 150, 200)))
    for at_s, hidden in ((10.4, True), (10.99, True), (11.01, False)):
        before = frame(at_s)
        assert (private.frame(before, found()) is not before) == hidden


def test_a_second_is_one_of_the_film():
    """However fast its frames are read."""
    private = Privacy("persons", NAMES)
    private.frame(replace(frame(10.0), pts_s=3.0), found((100, 50, 150, 200)))
    for pts_s, hidden in ((3.9, True), (4.1, False)):
        before = replace(frame(10.001), pts_s=pts_s)
        assert (private.frame(before, found()) is not before) == hidden


def test_nobody_of_one_photo_is_hidden_in_the_next():
    private = Privacy("persons", NAMES)
    private.frame(replace(frame(10.0), name="a.jpg"), found((100, 50, 150, 200)))
    before = replace(frame(10.1), name="b.jpg")
    assert private.frame(before, found()) is before


def test_somebody_who_moves_leaves_no_trail():
    private = Privacy("persons", NAMES)
    private.frame(frame(10.0), found((100, 50, 150, 200)))
    before = frame(10.1)
    after = private.frame(before, found((110, 50, 160, 200)))
    assert changed(before, after)[0] >= 105


@pytest.mark.parametrize("box", [(0, 0, 0, 0), (400, 300, 500, 400), (-9, -9, -1, -1), (0, 0, 0.4, 0.4)])
def test_boxes_of_hardly_anything_change_nothing(box):
    before = frame().bgr
    after = before.copy()
    pixelate(after, np.array(box, np.float32))
    np.testing.assert_array_equal(after, before)


def test_a_network_without_persons():
    with pytest.raises(ConfigError, match=r"show\.privacy = 'faces': this network knows no persons"):
        Privacy("faces", ("blue", "green"))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"threshold": 0.5, "max_objects": 2},
        {"classes": ("cup",), "min_px": 40},
        {"overlap": "covered", "max_overlap": 0.5, "whole_image": True},
        {"threshold": 0.05},
    ],
)
def test_the_objects_are_those_that_would_be_found_without(pipeline, photos, changes):
    from rtsearch._util.metrics import Meter

    bgr = read_photo(photos / "skimage-coffee.png", 100)
    settings, meter = DetectSettings(**changes), Meter()
    (direct,) = pipeline.backend.infer([bgr], settings, meter)
    (asked,) = pipeline.backend.infer([bgr], Privacy.asked(settings), meter)
    kept = Privacy("persons", pipeline.class_names).wanted(asked, settings)
    np.testing.assert_array_equal(kept.xyxy, direct.xyxy)
    np.testing.assert_array_equal(kept.label, direct.label)
    np.testing.assert_array_equal(kept.score, direct.score)
    np.testing.assert_allclose(kept.vector, direct.vector, atol=1e-5)


def test_a_run_shows_records_and_sends_nobody(blob_index, tmp_path, capfd):
    """Persons that are left out of the picture are hidden, too."""
    options = ["detect.threshold=0", "detect.classes=green,red", "show.results=5", "show.privacy=persons"]
    settings = load_settings(None, [*options, "show.window_wh=[640, 480]"])
    pipeline = blobs.as_pipeline(blobs.BlobPipeline(class_names=NAMES))
    screen = Watcher()
    outputs = Outputs(
        screen=screen,
        video=tmp_path / "o.mp4",
        style="frame",
        records=(tmp_path / "o.jsonl",),
        send=(parse_address("-"),),
    )
    numbers = [number * PHOTOS + 8 for number in range(10)]
    play(Given(numbers), pipeline, blob_index, settings, outputs)
    drawn = blobs.draw(8)
    persons = [box for box, label in by_colour(drawn) if label == 0]
    assert persons
    assert len(screen.scenes) == len(numbers)
    for scene in screen.scenes:
        assert set(scene.names) <= {"green", "red"}
        for x1, y1, x2, y2 in persons:
            assert (scene.frame.bgr[y1:y2, x1:x2] != drawn[y1:y2, x1:x2]).any()
    for line in [*lines(tmp_path / "o.jsonl"), *map(json.loads, capfd.readouterr().out.splitlines())]:
        assert {item["label"] for item in line["objects"]} <= {"green", "red"}


def by_colour(bgr: np.ndarray) -> list[tuple[tuple[int, ...], int]]:
    one = blobs.BlobDetector().detect([bgr], DetectSettings())[0]
    return [(tuple(map(int, box)), int(label)) for box, label in zip(one.xyxy, one.label, strict=True)]
