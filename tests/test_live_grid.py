"""Several sources at a time: each with its own frames, boxes and strips, in a cell of its own."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from typing import Any

import blobs
import cv2
import numpy as np
import pytest
from barcode import Moving, Watcher, number_of
from hypothesis import given
from hypothesis import strategies as st
from playing import SETTINGS, Given, three_chances
from playing import Watcher as Keeper

from rtsearch.errors import StageError
from rtsearch.live import Outputs, play
from rtsearch.live.mosaic import Mosaic, cells
from rtsearch.types import Frame

pytestmark = pytest.mark.usefixtures("no_thread_is_left")


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 7, 9, 12, 16])
@pytest.mark.parametrize("wh", [(640, 480), (1280, 720), (333, 777)])
def test_cells_fill_the_window_and_keep_apart(count: int, wh: tuple[int, int]) -> None:
    taken = np.zeros((wh[1], wh[0]), int)
    for x, y, width, height in cells(wh, count):
        assert x + width <= wh[0]
        assert y + height <= wh[1]
        taken[y : y + height, x : x + width] += 1
    assert taken.max() == 1
    assert len({(width, height) for *_, width, height in cells(wh, count)}) == 1
    assert taken.mean() > 0.6


@pytest.mark.parametrize(
    ("wh", "rows"),
    [
        ((1280, 720), [1]),
        ((1280, 720), [2]),
        ((1280, 720), [3]),
        ((1280, 720), [2, 2]),
        ((1280, 720), [3, 2]),
        ((1280, 720), [4, 3]),
        ((1280, 720), [3, 3, 3]),
        ((1080, 1920), [1, 1]),
        ((1080, 1920), [1, 1, 1]),
        ((1080, 1920), [2, 2]),
        ((1080, 1920), [2, 2, 1]),
        ((3840, 1080), [4]),
        ((1024, 768), [2, 1]),
    ],
)
def test_there_are_as_many_columns_as_suit_the_window(wh: tuple[int, int], rows: list[int]) -> None:
    tops = [y for _, y, *_ in cells(wh, sum(rows))]
    assert tops == sorted(tops)
    assert [tops.count(top) for top in sorted(set(tops))] == rows


@given(st.integers(1, 20), st.integers(320, 4000), st.integers(240, 4000))
def test_a_last_row_that_is_not_full_stands_in_the_middle(count: int, width: int, height: int) -> None:
    there = cells((width, height), count)
    last = [x for x, y, *_ in there if y == there[-1][1]]
    left, right = last[0], width - last[-1] - there[-1][2]
    assert last == sorted(last)
    assert 0 <= right - left <= count


def test_a_single_picture_is_passed_on() -> None:
    picture = np.zeros((480, 640, 3), np.uint8)
    assert Mosaic(1).put(0, picture, (640, 480)) is picture


def test_each_cell_keeps_its_picture() -> None:
    mosaic, (first, second) = Mosaic(2), cells((640, 480), 2)
    mosaic.put(0, np.full((first[3], first[2], 3), 50, np.uint8), (640, 480))
    canvas = mosaic.put(1, np.full((second[3], second[2], 3), 90, np.uint8), (640, 480))
    assert canvas.shape == (480, 640, 3)
    assert (canvas[100, 10], canvas[100, 600]) == (pytest.approx([50] * 3), pytest.approx([90] * 3))


@pytest.mark.slow
@three_chances
def test_every_source_shows_its_own_frames(barcode_index) -> None:
    screen = Watcher()
    pipeline: Any = blobs.BlobPipeline()
    sources = [Moving(60, 0.03), Moving(40, 0.03)]
    report = play(sources, pipeline, barcode_index, SETTINGS, Outputs(screen=screen))
    assert [source.frames_in for source in report.sources] == [60, 40]
    for scene in screen.scenes:
        assert scene.detections.xyxy[0, 0] == 10 + 3 * (number_of(scene.frame.bgr) % 80)
        assert number_of(scene.frame.bgr) == scene.frame.id
    assert report.frames_in == 100 == report.frames_shown + report.dropped
    assert all(each.frames_shown >= 5 for each in report.sources)


def test_files_side_by_side_lose_no_frame(blob_index, tmp_path) -> None:
    screen = Keeper()
    sources = [Given(list(range(20))), Given(list(range(7))), Given([])]
    report = play(
        sources,
        blobs.as_pipeline(),
        blob_index,
        SETTINGS,
        Outputs(screen=screen, video=tmp_path / "o.mp4"),
    )
    assert [source.frames_shown for source in report.sources] == [20, 7, 0]
    assert {picture.shape for picture in screen.pictures} == {(480, 640, 3)}
    assert all(source.closed.is_set() for source in sources)


def test_files_of_other_rates_keep_step(blob_index, tmp_path) -> None:
    """One has 25 frames a second, the other 10; the video lasts as long as the longer one."""

    class Slow(Given):
        def __next__(self) -> Frame:
            frame = super().__next__()
            return dataclasses.replace(frame, pts_s=frame.id / 10)

    screen = Keeper()
    sources = [Given(list(range(25))), Slow(list(range(20)))]
    outputs = Outputs(screen=screen, video=tmp_path / "o.mp4")
    play(sources, blobs.as_pipeline(), blob_index, SETTINGS, outputs)
    times = [scene.frame.pts_s for scene in screen.scenes]
    assert len(times) == 45
    assert all(later >= earlier - 0.05 for earlier, later in pairwise(times))
    capture = cv2.VideoCapture(str(tmp_path / "o.mp4"))
    frames = capture.get(cv2.CAP_PROP_FRAME_COUNT)
    assert frames >= 45
    capture.set(cv2.CAP_PROP_POS_FRAMES, frames - 1)
    capture.read()
    assert capture.get(cv2.CAP_PROP_POS_MSEC) >= 1800


@pytest.mark.parametrize(("batch", "callers", "largest"), [(None, 1, 3), (2, 1, 2), (None, 2, 1)])
def test_sources_share_calls_where_the_network_gains(blob_index, batch, callers, largest) -> None:
    pipeline: Any = blobs.BlobPipeline(blobs.BlobDetector(0.02), batch=batch, callers=callers)
    play([Given(list(range(20))) for _ in range(3)], pipeline, blob_index, SETTINGS, Outputs())
    assert pipeline.detector.largest_batch == largest


@three_chances
def test_no_source_starves(barcode_index) -> None:
    """Detection takes longer than both cameras' frames: they take turns."""
    screen = Watcher()
    pipeline: Any = blobs.BlobPipeline(blobs.BlobDetector(0.04), callers=2)
    report = play(
        [Moving(90, 0.02), Moving(90, 0.02)], pipeline, barcode_index, SETTINGS, Outputs(screen=screen)
    )
    shown = [each.frames_shown for each in report.sources]
    assert min(shown) >= 0.6 * max(shown)
    for each in report.sources:
        assert each.frames_in == each.frames_shown + each.dropped


def test_one_that_fails_ends_the_run(blob_index) -> None:
    def fail(number: int) -> None:
        if number == 3:
            raise RuntimeError("unplugged")

    sources = [Given(list(range(10_000))), Given(list(range(10)), before=fail)]
    with pytest.raises(StageError, match="unplugged"):
        play(sources, blobs.as_pipeline(), blob_index, SETTINGS, Outputs())
    assert all(source.closed.is_set() for source in sources)


@three_chances
def test_tracks_of_one_source_know_nothing_of_another(barcode_index) -> None:
    screen = Watcher()
    pipeline: Any = blobs.BlobPipeline()
    play([Moving(30, 0.04), Moving(30, 0.04)], pipeline, barcode_index, SETTINGS, Outputs(screen=screen))
    assert {scene.strips for scene in screen.scenes} == {(0,)}
    assert len({scene.detections.track[0] for scene in screen.scenes}) == 2
