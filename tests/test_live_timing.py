"""The live loop in time: which frame is on screen with which boxes, what happens when something is slow."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import blobs
import cv2
import numpy as np
import pytest
from barcode import WH, Moving, Watcher, number_of, picture
from playing import three_chances
from servers import MjpegServer

from rtsearch.config import LiveSettings, load_settings
from rtsearch.errors import StageError
from rtsearch.library.index import SearchIndex
from rtsearch.library.thumbnails import ThumbCache
from rtsearch.live import Controls, LiveReport, Outputs, play
from rtsearch.sources import Paced, Source, open_source
from rtsearch.types import Frame, Scene

pytestmark = pytest.mark.usefixtures("no_thread_is_left")

SETTINGS = load_settings(None, ["show.results=5", "show.window_wh=[640, 480]"])
ENDS_WITHIN_S = 5.0


def run(
    source: Source, barcode_index: SearchIndex, screen: Watcher, sleep_s: float = 0, **outputs: Any
) -> LiveReport:
    pipeline: Any = blobs.BlobPipeline(blobs.BlobDetector(sleep_s))
    return play(source, pipeline, barcode_index, SETTINGS, Outputs(screen=screen, **outputs))


def is_moved(scene: Scene) -> bool:
    return any("boxes moved along" in note for note in scene.notes)


@three_chances
def test_a_frame_is_shown_with_its_own_boxes(barcode_index: SearchIndex) -> None:
    screen = Watcher()
    report = run(Moving(60, 0.03), barcode_index, screen)
    own = [scene for scene in screen.scenes if not is_moved(scene)]
    assert len(own) >= 10
    assert report.frames_shown + report.dropped == 60
    for scene in own:
        assert number_of(scene.frame.bgr) == scene.frame.id
        assert scene.detections.xyxy[0, 0] == 10 + 3 * (scene.frame.id % 80)


def test_a_stream_is_shown_with_its_own_boxes(barcode_index: SearchIndex) -> None:
    screen = Watcher(lambda screen: len(screen.scenes) < 40)
    with MjpegServer(picture, fps=30) as server:
        run(open_source(server.url, LiveSettings()), barcode_index, screen)
    numbers = [number_of(scene.frame.bgr) for scene in screen.scenes]
    assert numbers == sorted(numbers)
    for number, scene in zip(numbers, screen.scenes, strict=True):
        if not is_moved(scene):
            assert abs(scene.detections.xyxy[0, 0] - (10 + 3 * (number % 80))) <= 2  # JPEG blurs the edge


class Torn(Moving):
    """A source of which pictures 20 to 39 are torn: a second object stands in them, which there is not."""

    def __next__(self) -> Frame:
        frame = super().__next__()
        torn = 20 <= frame.id < 40
        if torn:
            frame.bgr[100:150, 100:150] = (20, 30, 220)
        return replace(frame, torn=torn)


@pytest.mark.parametrize("camera", [True, False], ids=["camera", "file"])
@three_chances
def test_torn_pictures_are_shown_but_not_looked_at(
    barcode_index: SearchIndex, tmp_path: Path, camera: bool
) -> None:
    screen, source = Watcher(), Torn(60, 0.03)
    source.camera = camera
    report = run(source, barcode_index, screen, records=(tmp_path / "o.jsonl",))
    torn = [scene for scene in screen.scenes if scene.frame.torn]
    assert len(torn) >= 5
    assert report.frames_moved >= len(torn)
    assert all("the stream is damaged: boxes moved along" in scene.notes for scene in torn)
    assert max(len(scene.detections) for scene in screen.scenes) == 1
    lines = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text(encoding="utf-8").splitlines()]
    assert not {line["frame"] for line in lines} & set(range(20, 40))


@pytest.mark.parametrize("sleep_s", [0.12])
@three_chances
def test_when_detection_is_behind_the_newest_frame_is_shown_and_boxes_go_along(
    barcode_index: SearchIndex, tmp_path: Path, sleep_s: float
) -> None:
    screen = Watcher()
    report = run(Moving(75, 0.033), barcode_index, screen, sleep_s, records=(tmp_path / "o.jsonl",))
    moved = [scene for scene in screen.scenes if is_moved(scene)]
    assert report.frames_moved == len(moved) >= 10
    ids = [scene.frame.id for scene in screen.scenes]
    assert ids == sorted(ids)
    errors = []
    for scene in moved[len(moved) // 2 :]:
        left = 10 + 3 * (scene.frame.id % 80)
        errors.append(abs(float(scene.detections.xyxy[0, 0]) - left))
    assert np.median(errors) < 12  # four frames of standing still would be 12 px behind on average
    written = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert len(written) == report.frames_shown
    for line in written:  # a record holds what was seen, never what was guessed
        assert line["objects"][0]["xyxy"][0] == 10 + 3 * (line["frame"] % 80)


@three_chances
def test_a_loop_that_keeps_up_guesses_nothing(barcode_index: SearchIndex) -> None:
    screen = Watcher()
    report = run(Moving(30, 0.1), barcode_index, screen)
    assert report.frames_moved == 0
    assert report.dropped <= 3


# Crops -----------------------------------------------------------------------------------------------------


@three_chances
def test_drawing_does_not_wait_for_a_disk_that_stalls(
    barcode_index: SearchIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    stall, real = threading.Event(), ThumbCache.prefetch

    def stalled(self: ThumbCache, *args: Any) -> None:
        stall.wait(20)
        real(self, *args)

    monkeypatch.setattr(ThumbCache, "prefetch", stalled)

    def goes_on(screen: Watcher) -> bool:
        if len(screen.scenes) == 20:
            stall.set()
        return True

    screen = Watcher(goes_on)
    run(Moving(40, 0.05), barcode_index, screen)
    assert all(crop is None for scene in screen.scenes[:20] for row in scene.thumbs for crop in row)
    complete = [all(crop is not None for row in scene.thumbs for crop in row) for scene in screen.scenes]
    assert complete[-1]


def test_a_still_picture_gets_its_crops_when_they_come(
    barcode_index: SearchIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = ThumbCache.prefetch

    def late(self: ThumbCache, *args: Any) -> None:
        time.sleep(0.3)
        real(self, *args)

    monkeypatch.setattr(ThumbCache, "prefetch", late)
    screen = Watcher(lambda screen: len(screen.scenes) < 2)
    run(Moving(2, 30.0), barcode_index, screen)  # the second frame never comes
    assert [scene.frame.id for scene in screen.scenes] == [0, 0]
    assert all(crop is None for crop in screen.scenes[0].thumbs[0])
    assert all(crop is not None for crop in screen.scenes[1].thumbs[0])


def test_an_error_of_the_crops_ends_the_run(
    barcode_index: SearchIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    def melt(*_: Any) -> None:
        raise RuntimeError("it melted")

    monkeypatch.setattr(ThumbCache, "prefetch", melt)
    with pytest.raises(StageError, match=r"^thumbs: it melted$"):
        run(Moving(200, 0.02), barcode_index, Watcher())


# Ends ------------------------------------------------------------------------------------------------------


def test_a_full_disk_queue_at_quit_ends_in_time(
    barcode_index: SearchIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    stall = threading.Event()
    monkeypatch.setattr(ThumbCache, "prefetch", lambda *_: stall.wait(20))
    begun_s = time.monotonic()
    run(Moving(10_000, 0.02), barcode_index, Watcher(lambda screen: len(screen.scenes) < 5))
    assert time.monotonic() - begun_s < ENDS_WITHIN_S + 3
    stall.set()
    deadline_s = time.monotonic() + 5
    while any(t.name == "thumbs" for t in threading.enumerate()) and time.monotonic() < deadline_s:
        time.sleep(0.01)


@three_chances
def test_a_file_by_the_wall_clock_stands_still_in_a_pause(barcode_index: SearchIndex, tmp_path: Path) -> None:
    clip = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter.fourcc(*"MJPG"), 25, WH)
    for number in range(30):
        writer.write(picture(number))
    writer.release()
    controls = Controls(SETTINGS.detect, SETTINGS.show)
    pumps = []

    def goes_on(screen: Watcher) -> bool:
        frames = len({scene.frame.id for scene in screen.scenes})  # one may be drawn again, in a pause too
        pumps.append(frames)
        if frames == 8:
            controls.change(paused=pumps.count(8) < 60)  # longer than the rest of the clip takes
        return True

    screen = Watcher(goes_on)
    pipeline: Any = blobs.BlobPipeline()
    source = Paced(open_source(str(clip), LiveSettings()))
    play(source, pipeline, barcode_index, SETTINGS, Outputs(screen=screen), controls=controls)
    assert number_of(screen.scenes[-1].frame.bgr) == 29
    assert len({scene.frame.id for scene in screen.scenes}) >= 20


def test_cpu_time_is_told_by_stage(barcode_index: SearchIndex) -> None:
    report = run(Moving(20, 0.02), barcode_index, Watcher())
    assert {"capture", "detect", "describe", "search", "draw", "show", "all"} <= report.cpu_ms.keys()
    assert report.cpu_ms["all"] >= sum(v for k, v in report.cpu_ms.items() if k != "all") * 0.9
    assert 0 <= report.searches_skipped <= 1
