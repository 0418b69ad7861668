"""What words describe among the objects of a frame, while it plays."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from rtsearch.types import Detections
from rtsearch.words import FrameWords, parse_request

NAMES = ("person", "cup", "dog")
COLOURS = {"red": (30, 30, 210), "blue": (200, 70, 20), "green": (40, 160, 40)}


def frame_of(*things: tuple[str, str]) -> tuple[np.ndarray, Detections]:
    """A frame with things side by side, each a class and a colour."""
    bgr = np.full((60, 60 * len(things), 3), 90, np.uint8)
    xyxy = []
    for i, (_, colour) in enumerate(things):
        bgr[10:50, 60 * i + 10 : 60 * i + 50] = COLOURS[colour]
        xyxy.append([60 * i + 10, 10, 60 * i + 50, 50])
    n = len(things)
    label = np.array([NAMES.index(name) for name, _ in things], np.int32)
    boxes = np.array(xyxy, np.float32).reshape(n, 4)
    return bgr, Detections(boxes, np.ones(n, np.float32), label, np.zeros((n, 2), np.float32))


def matching(words: str, *things: tuple[str, str]) -> list[int]:
    bgr, found = frame_of(*things)
    return np.flatnonzero(FrameWords(parse_request(words, NAMES)).matching(bgr, found)).tolist()


@pytest.mark.parametrize(
    ("words", "places"),
    [
        ("cup", [0, 1]),
        ("red cup", [0]),
        ("blue mug", [1]),
        ("green cup", []),
        ("person in blue", [3]),
        ("two cups", [0, 1]),
        ("three cups", []),
        ("one red cup", [0]),
        ("cup beside a dog", [0, 1]),
        ("cup with a green dog", []),
        ("person with a red cup", [3]),
    ],
)
def test_words_choose_objects(words: str, places: list[int]) -> None:
    assert matching(words, ("cup", "red"), ("cup", "blue"), ("dog", "red"), ("person", "blue")) == places


def test_a_frame_without_objects_and_boxes_beyond_its_edges() -> None:
    assert matching("red cup") == []
    bgr, _ = frame_of(("cup", "red"))
    boxes = np.array([[-20, -20, 40, 40], [100, 100, 140, 140]], np.float32)
    found = Detections(boxes, np.ones(2, np.float32), np.ones(2, np.int32), np.zeros((2, 2), np.float32))
    words = FrameWords(parse_request("red cup", NAMES))
    assert words.matching(bgr, found).tolist() == [True, False]


@pytest.mark.slow
def test_a_run_records_only_what_is_looked_for(cli, library, short_clip, tmp_path: Path) -> None:
    def labels(*options: str, said: str = "") -> set[str]:
        record = tmp_path / "seen.jsonl"
        command = ["run", library, "--source", short_clip, "--headless", "--record", record, "--overwrite"]
        done = cli(*command, *options)
        assert done.code == 0, done.err
        assert said in done.err
        lines = [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]
        return {each["label"] for line in lines for each in line.get("objects", [])}

    assert "person" in labels()
    assert labels("--find", "person") == {"person"}
    nothing = 'nothing was seen that "elephant" describes'
    assert labels("--set", "live.find=elephant", said=nothing) == set()


def test_words_that_are_not_known_end_the_run_before_it_begins(cli, library, short_clip) -> None:
    done = cli("run", library, "--source", short_clip, "--headless", "--find", "red mugg")
    assert done.code == 2
    assert "mugg" in done.err
    assert "mug" in done.err
