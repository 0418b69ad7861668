"""Records check their shapes once, where they are made."""

import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rtsearch.types
from rtsearch.types import WHOLE_IMAGE_LABEL, Detections, Frame, Neighbours, Scene, class_name


def frame(bgr=None):
    return Frame(0, time.monotonic(), None, np.zeros((4, 6, 3), np.uint8) if bgr is None else bgr)


def detections(n, dim=5, **changed):
    columns = {
        "xyxy": np.zeros((n, 4), np.float32),
        "score": np.zeros(n, np.float32),
        "label": np.zeros(n, np.int32),
        "vector": np.zeros((n, dim), np.float32),
    }
    return Detections(**{**columns, **changed})


def neighbours(n, k=3):
    return Neighbours(np.full((n, k), -1, np.int32), np.full((n, k), np.inf, np.float32))


@pytest.mark.parametrize("n", [0, 1, 7])
@pytest.mark.parametrize("dim", [0, 5])
def test_any_number_of_objects(n, dim):
    found = detections(n, dim)
    assert len(found) == n
    assert found.track.tolist() == [-1] * n
    assert found.track.dtype == np.int64
    assert len(neighbours(n)) == n


def test_tracks_that_are_given_stay():
    assert detections(2, track=np.array([7, 9])).track.tolist() == [7, 9]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("xyxy", np.zeros((2, 5), np.float32)),
        ("xyxy", np.zeros((2, 4))),
        ("xyxy", np.zeros(8, np.float32)),
        ("score", np.zeros(3, np.float32)),
        ("score", np.zeros((2, 1), np.float32)),
        ("label", np.zeros(2, np.int64)),
        ("vector", np.zeros((3, 5), np.float32)),
        ("vector", np.zeros((2, 5), np.float16)),
        ("track", np.zeros(2, np.int32)),
        ("track", np.zeros(3, np.int64)),
        ("track", np.zeros(0, np.int64)),
    ],
)
def test_columns_that_do_not_fit(column, value):
    with pytest.raises(ValueError, match=rf"Detections\.{column}: expected .*, got {value.dtype}"):
        detections(2, **{column: value})


@pytest.mark.parametrize(
    "bgr", [np.zeros((4, 6), np.uint8), np.zeros((4, 6, 4), np.uint8), np.zeros((4, 6, 3), np.float32)]
)
def test_a_frame_is_a_colour_picture(bgr):
    with pytest.raises(ValueError, match=r"Frame\.bgr: expected uint8 \('any', 'any', 3\)"):
        frame(bgr)


@pytest.mark.parametrize(
    ("row", "distance"),
    [
        (np.zeros((2, 3), np.int64), np.zeros((2, 3), np.float32)),
        (np.zeros((2, 3), np.int32), np.zeros((2, 3))),
        (np.zeros((2, 3), np.int32), np.zeros((2, 4), np.float32)),
        (np.zeros(2, np.int32), np.zeros(2, np.float32)),
    ],
)
def test_neighbours_that_do_not_fit(row, distance):
    with pytest.raises(ValueError, match=r"Neighbours\."):
        Neighbours(row, distance)


@pytest.mark.parametrize("n", [0, 1, 3])
def test_a_scene_has_as_many_of_each(n):
    scene = Scene(frame(), detections(n), ("x",) * n, neighbours(n), 76, ((),) * n)
    assert scene.notes == ()
    changes: list[dict[str, Any]] = [
        {"names": ("x",) * (n + 1)},
        {"neighbours": neighbours(n + 1)},
        {"thumbs": ((),) * 9},
        {"strips": tuple(range(n + 1))},
    ]
    for change in changes:
        ((column, value),) = change.items()
        message = rf"Scene\.{column}: expected {n} entries, one for each object, got {len(value)}"
        with pytest.raises(ValueError, match=message):
            dataclasses.replace(scene, **change)


def test_strips_follow_the_order_of_objects_unless_they_are_given():
    scene = Scene(frame(), detections(2), ("x",) * 2, neighbours(2), 76, ((),) * 2)
    assert (scene.strips, scene.rows) == ((0, 1), 2)
    moved = dataclasses.replace(scene, strips=(4, 1), rows=-1)
    assert (moved.strips, moved.rows) == ((4, 1), 5)


def test_every_label_has_a_name():
    assert [class_name(("cat", "dog"), label) for label in (0, 1, WHOLE_IMAGE_LABEL)] == [
        "cat",
        "dog",
        "whole image",
    ]
    with pytest.raises(IndexError):
        class_name(("cat", "dog"), 2)


def test_the_whole_image_is_worded_in_one_place():
    package = Path(rtsearch.types.__file__).parent
    texts = {path: path.read_text(encoding="utf-8") for path in package.rglob("*.py")}
    assert [path.name for path, text in texts.items() if '"whole image"' in text] == ["types.py"]


def test_records_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        detections(1).score = None
    with pytest.raises((AttributeError, TypeError)):
        frame().colour = 1
