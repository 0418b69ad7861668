"""Where the user can go, and what the picture says there."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from rtsearch.config import Settings
from rtsearch.live import Controls
from rtsearch.live.compositor import Easel
from rtsearch.live.stabilizer import Steadied
from rtsearch.types import Detections, Frame, Neighbours, U8Array


@pytest.mark.parametrize(
    ("length_s", "to_s", "goes_s"),
    [(None, 15, 15), (None, -1, 0), (9, 3, 3), (9, 15, 8.94), (9, -3, 0), (0.04, 5, 0)],
)
def test_nobody_goes_beyond_the_end(length_s: float | None, to_s: float, goes_s: float) -> None:
    settings = Settings()
    controls = Controls(settings.detect, settings.show, length_s=length_s)
    controls.seek(to_s)
    assert (controls.target_s, controls.position_s) == pytest.approx((goes_s, goes_s))


class Crops:
    """A cache that holds crops of some heights."""

    def __init__(self, *heights: int) -> None:
        self.heights = set(heights)
        self._crops: dict[tuple[int, int], U8Array] = {}

    def peek(self, row: int, height: int) -> U8Array | None:
        if height not in self.heights:
            return None
        return self._crops.setdefault((row, height), np.full((height, height, 3), row, np.uint8))


def test_while_crops_of_a_new_height_come_those_before_serve() -> None:
    show = Settings().show.model_copy(update={"window_wh": (640, 480)})
    cache: Any = Crops(76)
    draws = Easel(("cup",), cache, lambda: (show, 0), tuple)
    found = replace(cup(), neighbours=Neighbours(np.array([[3, 5]], np.int32), np.ones((1, 2), np.float32)))
    draws.draw(draws.scene(FRAME, found, None))
    show = show.model_copy(update={"thumb_height": 100})
    for _ in range(2):
        scene, _picture = draws.draw(draws.scene(FRAME, found, None))
        assert scene.thumb_height == 100
        assert [len(crop) for crop in scene.thumbs[0] if crop is not None] == [76, 76]
        assert draws.better() is None
    cache.heights.add(100)
    better = draws.better()
    assert better is not None
    assert [len(crop) for crop in better.thumbs[0] if crop is not None] == [100, 100]
    draws.draw(better)
    assert draws.better() is None


def test_crops_that_come_late_complete_their_own_scene() -> None:
    """Other objects have been found meanwhile, as many as before or more: they are of a later frame."""
    cache: Any = Crops(76)
    draws = Easel(("cup",), cache, lambda: (Settings().show, 0), tuple)
    first = replace(cup(), neighbours=Neighbours(np.array([[3, 5]], np.int32), np.ones((1, 2), np.float32)))
    cache.heights.clear()
    draws.draw(draws.scene(FRAME, first, None))
    cache.heights.add(draws.scene(FRAME, first, None).thumb_height)
    better = draws.better()
    assert better is not None
    assert [crop[0, 0, 0] for crop in better.thumbs[0] if crop is not None] == [3, 5]
    assert better.neighbours.row.tolist() == [[3, 5]]


def test_no_crop_is_lost_when_those_of_a_new_height_are_not_there() -> None:
    """A file's crops come with their frame, and not through the cache of the drawing thread."""
    show = Settings().show
    cache: Any = Crops()
    draws = Easel(("cup",), cache, lambda: (show, 0), tuple)
    found = replace(cup(), neighbours=Neighbours(np.array([[3, 5]], np.int32), np.ones((1, 2), np.float32)))
    crop = np.zeros((50, 50, 3), np.uint8)
    draws.draw(draws.scene(FRAME, found, ((crop, crop),)))
    show = show.model_copy(update={"thumb_height": 100})
    better = draws.better()
    assert better is not None
    assert better.thumbs == ((crop, crop),)


def easel(notes: Any = tuple, paused: Any = lambda: False) -> Easel:
    cache: Any = SimpleNamespace(peek=lambda row, height: None)
    return Easel(("cup",), cache, lambda: (Settings().show, 0), notes, paused)


def cup(missed: int = 0) -> Steadied:
    found = Detections(
        np.array([[2, 2, 20, 20]], np.float32),
        np.ones(1, np.float32),
        np.zeros(1, np.int32),
        np.zeros((1, 0), np.float32),
        np.array([7]),
    )
    none = Neighbours(np.zeros((1, 0), np.int32), np.zeros((1, 0), np.float32))
    return Steadied(found, none, (0,), (missed,), np.zeros((1, 4), np.float32), 1)


FRAME = Frame(0, 0.0, 0.0, np.zeros((30, 40, 3), np.uint8))


def test_in_a_pause_the_notes_are_those_of_the_picture() -> None:
    told, paused = iter(range(100)), False
    draws = easel(lambda: (str(next(told)),), lambda: paused)
    scene = draws.scene(FRAME, cup(), None)
    assert [draws.draw(scene)[0].notes for _ in range(3)] == [("0",)] * 3
    paused = True
    assert [draws.draw(scene)[0].notes for _ in range(3)] == [("1",), ("2",), ("3",)]


def test_a_strip_is_faint_once_its_object_was_missed_for_more_than_five_frames() -> None:
    faint = [missed for missed in range(12) if easel().scene(FRAME, cup(missed), None).faint]
    assert faint == [6, 7, 8, 9, 10, 11]


def strips_of(rows: int, **tracks: int) -> Steadied:
    """One object per track, in the strip given; the tracks are called a, b, c ..."""
    n = len(tracks)
    found = Detections(
        np.tile(np.array([2, 2, 20, 20], np.float32), (n, 1)),
        np.ones(n, np.float32),
        np.zeros(n, np.int32),
        np.zeros((n, 0), np.float32),
        np.array([ord(name) for name in tracks], np.int64),
    )
    none = Neighbours(np.zeros((n, 0), np.int32), np.zeros((n, 0), np.float32))
    return Steadied(found, none, tuple(tracks.values()), (0,) * n, np.zeros((n, 4), np.float32), rows)


@pytest.mark.parametrize(
    ("then", "traces"),
    [
        (strips_of(0), []),
        (strips_of(3), [0, 1, 2]),
        (strips_of(2), [0, 1]),  # the room of the third is given up
        (strips_of(3, a=0, c=2), [1]),
        (strips_of(3, a=0, d=1), [2]),  # another has its strip
        (strips_of(3, a=0, c=1), []),  # it has moved up, and b was there
        (strips_of(4, a=0, b=1, c=2), []),  # nobody was in the fourth
    ],
)
def test_an_object_that_is_gone_leaves_a_trace_in_its_strip(then: Steadied, traces: list[int]) -> None:
    draws = easel()
    first = draws.scene(FRAME, strips_of(3, a=0, b=1, c=2), None)
    assert not first.traces
    for _ in range(3):
        assert [trace.strip for trace in draws.scene(FRAME, then, None).traces] == traces
    assert {trace.name for trace in draws.scene(FRAME, then, None).traces} <= {"cup"}


def test_a_trace_that_was_covered_does_not_come_back() -> None:
    draws = easel()
    for objects in (strips_of(2, a=0, b=1), strips_of(2, a=0), strips_of(1, a=0), strips_of(2, a=0)):
        traces = draws.scene(FRAME, objects, None).traces
    assert not traces


@pytest.mark.parametrize(
    ("first", "last", "by", "then"),
    [(0, 0, 1, 0), (0, 0, -1, 0), (0, 3, 1, 1), (2, 3, 6, 3), (2, 3, -6, 0), (9, 3, -1, 2), (9, 3, 1, 3)],
)
def test_strips_are_scrolled_no_further_than_to_the_last(first: int, last: int, by: int, then: int) -> None:
    controls = Controls(Settings().detect, Settings().show, first_strip=first, last_first=last)
    controls.scroll(by)
    assert controls.first_strip == then
