"""Playing: every frame in order, drops counted, controls obeyed."""

from __future__ import annotations

import csv
import dataclasses
import json
import threading
import time

import blobs
import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from commands import NEIGHBOUR_KEYS
from playing import PHOTOS, SETTINGS, Given, Watcher, lines, run

from rtsearch.config import DetectSettings, SearchSettings, Settings, load_settings
from rtsearch.live import Controls, Outputs, library_photos, play
from rtsearch.sources import Paced, Source, open_source
from rtsearch.types import Frame

pytestmark = pytest.mark.usefixtures("no_thread_is_left")

# What comes out --------------------------------------------------------------------------------------------


def test_a_source_without_frames(blob_index):
    source = Given([])
    report = run(source, blob_index)
    assert (report.frames_in, report.frames_shown, report.dropped, report.objects) == (0, 0, 0, 0)
    assert report.fps == 0
    assert report.latency_ms == {"p50": 0, "p99": 0}
    assert source.closed.is_set()


def test_a_file_is_seen_frame_by_frame_in_order(blob_index, tmp_path):
    outputs = Outputs(records=(tmp_path / "o.jsonl",))
    told = []
    report = run(Given(list(range(60))), blob_index, outputs, progress=told.append)
    assert (report.frames_in, report.frames_shown, report.dropped) == (60, 60, 0)
    assert told == list(range(1, 61))
    written = lines(tmp_path / "o.jsonl")
    assert [line["frame"] for line in written] == list(range(60))
    assert [line["t_s"] for line in written] == [round(i / 25, 4) for i in range(60)]
    assert report.objects == sum(len(line["objects"]) for line in written) == 180
    assert {len(item["neighbours"]) for line in written for item in line["objects"]} == {5}
    shown = [item["rows"] for line in written for item in line["shown"][: len(line["objects"])]]
    assert report.neighbours == sum(min(5, len(rows)) for rows in shown)


def test_objects_of_the_library_find_themselves(blob_index, tmp_path):
    run(Given(list(range(PHOTOS))), blob_index, Outputs(records=(tmp_path / "o.jsonl",)))
    for line in lines(tmp_path / "o.jsonl"):
        for item in line["objects"]:
            assert item.keys() == {"track", "xyxy", "label", "score", "neighbours"}
            nearest = item["neighbours"][0]
            assert list(nearest) == NEIGHBOUR_KEYS
            assert nearest["photo"] == f"{line['frame']:02d}.png"
            assert nearest["xyxy"] == item["xyxy"]
            assert nearest["label"] == item["label"]
            assert nearest["distance"] < 0.02
            assert len(item["neighbours"]) == 5


@pytest.mark.parametrize(("camera", "mirrored"), [(False, False), (True, True)])
def test_a_camera_is_a_mirror_and_a_file_is_not(blob_index, tmp_path, camera, mirrored):
    source = Given(list(range(PHOTOS)))
    source.camera = camera
    screen = Watcher()
    controls = Controls(SETTINGS.detect, SETTINGS.show, mirror=True)
    outputs = Outputs(screen=screen, records=(tmp_path / "o.jsonl",))
    run(source, blob_index, outputs, controls=controls)
    assert len(screen.scenes) == PHOTOS
    for scene, line in zip(screen.scenes, lines(tmp_path / "o.jsonl"), strict=True):
        drawn = blobs.draw(scene.frame.id)
        np.testing.assert_array_equal(scene.frame.bgr, drawn[:, ::-1] if mirrored else drawn)
        for x1, y1, x2, y2 in (item["xyxy"] for item in line["objects"]):
            assert scene.frame.bgr[int(y1) : int(y2), int(x1) : int(x2)].max(2).min() > 100


def test_the_search_is_narrowed_while_it_is_looked_at(blob_index, tmp_path, caplog):
    def goes_on(screen):
        shown = len(screen.scenes)
        classes = () if shown < 10 or shown >= 30 else ("no such class",) if shown >= 20 else ("red",)
        controls.change(search=SearchSettings(classes=classes))
        return True

    screen, controls = Watcher(goes_on), Controls(SETTINGS.detect, SETTINGS.show)
    outputs = Outputs(screen=screen, records=(tmp_path / "o.jsonl",))
    run(Given([PHOTOS * i for i in range(45)], every_s=0.01), blob_index, outputs, controls=controls)
    labels = blob_index.labels
    kinds = [set(labels[scene.neighbours.row[scene.neighbours.row >= 0]]) for scene in screen.scenes]
    assert len(kinds) == 45
    assert [kinds[i] == {2} for i in (5, 16, 26, 40)] == [False, True, True, False]
    recorded = [
        {near["label"] for item in line["objects"] for near in item["neighbours"]}
        for line in lines(tmp_path / "o.jsonl")
    ]
    assert [kind == {"red"} for kind in recorded] == [kind == {2} for kind in kinds]
    assert all(len(scene.strips) == 3 for scene in screen.scenes)
    assert "has no class no such class" in caplog.text


def test_a_mirror_comes_and_goes_while_it_is_looked_at(blob_index):
    def goes_on(screen):
        controls.change(mirror=len(screen.scenes) > 5)
        return True

    source = Given([PHOTOS * i for i in range(40)])
    source.camera = True
    screen, controls = Watcher(goes_on), Controls(SETTINGS.detect, SETTINGS.show)
    run(source, blob_index, Outputs(screen=screen), controls=controls)
    seen = [np.array_equal(scene.frame.bgr, blobs.draw(0)[:, ::-1]) for scene in screen.scenes]
    assert (seen[:5], seen[-5:]) == ([False] * 5, [True] * 5)


def test_the_mirror_is_a_setting(blob_index):
    source, screen = Given([0]), Watcher()
    source.camera = True
    settings = load_settings(None, ["show.results=5", "show.window_wh=[640, 480]", "live.mirror=true"])
    play(source, blobs.as_pipeline(), blob_index, settings, Outputs(screen=screen))
    np.testing.assert_array_equal(screen.scenes[0].frame.bgr, blobs.draw(0)[:, ::-1])


def test_a_record_holds_tracks_and_the_strips_that_were_shown(blob_index, tmp_path):
    screen = Watcher()
    numbers = [PHOTOS * i for i in range(5)] + [PHOTOS * i + 1 for i in range(5, 10)]
    run(Given(numbers), blob_index, Outputs(screen=screen, records=(tmp_path / "o.jsonl",)))
    written = lines(tmp_path / "o.jsonl")
    assert len(written) == len(screen.scenes) == 10
    for line, scene in zip(written, screen.scenes, strict=True):
        n = len(line["objects"])
        tracks = [item["track"] for item in line["objects"]]
        assert tracks == scene.detections.track[:n].tolist()
        assert [item["track"] for item in line["shown"]] == scene.detections.track.tolist()
        assert [item["strip"] for item in line["shown"]] == list(scene.strips)
        assert [item["label"] for item in line["shown"]] == list(scene.names)
        rows = [[row for row in rows if row >= 0] for rows in scene.neighbours.row.tolist()]
        assert [item["rows"] for item in line["shown"]] == rows
    assert len({item["track"] for item in written[0]["objects"]}) == 3
    assert len(written[5]["shown"]) > len(written[5]["objects"])  # those that have just gone stay a moment


@pytest.mark.parametrize("fill", [True, False])
def test_a_line_is_filled_with_what_no_record_counts(blob_index, tmp_path, fill):
    settings = load_settings(None, ["show.results=5", "show.window_wh=[640, 480]", f"show.fill={fill}"])
    screen, record = Watcher(), tmp_path / "o.jsonl"
    outputs = Outputs(screen=screen, records=(record,))
    report = play(Given([0, PHOTOS]), blobs.as_pipeline(), blob_index, settings, outputs)
    assert report.neighbours == 2 * 3 * 5
    for line, scene in zip(lines(record), screen.scenes, strict=True):
        assert {len(item["neighbours"]) for item in line["objects"]} == {5}
        shown = [len(item["rows"]) for item in line["shown"]]
        assert (min(shown) > 5) if fill else (shown == [5, 5, 5])
        assert [len(crops) for crops in scene.thumbs] == shown


@pytest.mark.parametrize("names", [("o.csv",), ("o.jsonl", "o.csv", "o.parquet")])
def test_several_records_of_one_run_agree(blob_index, tmp_path, names):
    records = tuple(tmp_path / name for name in names)
    run(Given(list(range(20))), blob_index, Outputs(records=records))
    with (tmp_path / "o.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 20 * 3 * 5
    if len(names) > 1:
        written, table = lines(tmp_path / "o.jsonl"), pq.read_table(tmp_path / "o.parquet").to_pylist()
        objects = [(line["frame"], line["t_s"], item) for line in written for item in line["objects"]]
        assert [(row["frame"], row["t_s"], row["track"]) for row in table] == [
            (number, t_s, item["track"]) for number, t_s, item in objects
        ]
        near = [(number, hit["photo"]) for number, _, item in objects for hit in item["neighbours"]]
        assert near == [(int(row["frame"]), row["neighbour_photo"]) for row in rows]
        assert near == [(row["frame"], photo) for row in table for photo in row["neighbour_photo"]]


def test_stages_are_timed(blob_index, tmp_path):
    report = run(
        Given(list(range(20))), blob_index, Outputs(screen=Watcher(), records=(tmp_path / "o.jsonl",))
    )
    assert {"capture", "detect", "describe", "search", "thumbs", "draw", "show", "record"} <= set(
        report.stage_ms
    )
    for quantiles in [*report.stage_ms.values(), report.latency_ms]:
        assert 0 <= quantiles["p50"] <= quantiles["p99"]
    json.dumps(dataclasses.asdict(report))
    assert "latency" not in report.stage_ms


def test_the_window_gets_every_picture_in_the_main_thread(blob_index):
    screen = Watcher()
    run(Given(list(range(10))), blob_index, Outputs(screen=screen))
    assert [scene.frame.id for scene in screen.scenes] == list(range(10))
    assert screen.threads == {threading.main_thread()}
    assert {picture.shape for picture in screen.pictures} == {(480, 640, 3)}
    for scene in screen.scenes:
        assert all(crop is not None for row in scene.thumbs for crop in row)
        assert scene.notes[0] == "given    0:00 of 0:00"
        assert any("36 objects from 12 photos" in note for note in scene.notes)


def test_the_video_holds_every_picture(blob_index, tmp_path):
    run(Given(list(range(30))), blob_index, Outputs(video=tmp_path / "o.mp4"))
    capture = cv2.VideoCapture(str(tmp_path / "o.mp4"))
    count = 0
    while capture.read()[0]:
        count += 1
    assert count == 30
    assert abs(capture.get(cv2.CAP_PROP_FPS) - 25) < 0.1
    assert (capture.get(cv2.CAP_PROP_FRAME_WIDTH), capture.get(cv2.CAP_PROP_FRAME_HEIGHT)) == (640, 480)
    capture.release()


def test_without_a_picture_no_crop_is_loaded(blob_index, monkeypatch):
    def refuse(*_):
        raise AssertionError("nobody looks at crops")

    monkeypatch.setattr("rtsearch.library.thumbnails.ThumbCache.get", refuse)
    assert run(Given([0, 1]), blob_index).frames_shown == 2


def test_frames_of_changing_size(blob_index):
    class Changing(Given):
        def __next__(self):
            frame = super().__next__()
            side = 40 + 30 * (frame.id % 3)
            return dataclasses.replace(frame, bgr=blobs.draw(frame.id, wh=(2 * side, side)))

    screen = Watcher()
    assert run(Changing(list(range(9))), blob_index, Outputs(screen=screen)).frames_shown == 9
    assert {picture.shape for picture in screen.pictures} == {(480, 640, 3)}


# Drops -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slow", ["detect", "show"])
def test_a_live_source_drops_the_oldest_and_counts_them(blob_index, tmp_path, slow):
    detector = blobs.BlobDetector(0.05 if slow == "detect" else 0)
    screen = Watcher(lambda _: time.sleep(0.05 if slow == "show" else 0) or True)
    report = run(
        Given(list(range(100)), live=True, every_s=0.005),
        blob_index,
        Outputs(screen=screen, records=(tmp_path / "o.jsonl",)),
        blobs.BlobPipeline(detector),
    )
    shown = [line["frame"] for line in lines(tmp_path / "o.jsonl")]
    assert report.frames_in == 100
    assert report.dropped >= 30
    assert report.frames_shown == len(shown) == 100 - report.dropped
    assert shown == sorted(set(shown))
    assert shown[-1] == 99  # the newest is never the one that goes
    assert any("frames dropped: " in note for note in screen.scenes[-1].notes)


def test_frames_that_a_source_left_out_are_counted(blob_index):
    report = run(Given([0, 1, 5, 6, 9]), blob_index)
    assert (report.frames_in, report.frames_shown, report.dropped) == (5, 5, 5)


# Controls --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("paced", [False, True])
def test_the_last_photo_stays_until_the_user_leaves(blob_index, tmp_path, paced):
    for i in (1, 2):
        (tmp_path / f"{i}.png").write_bytes(cv2.imencode(".png", blobs.draw(i))[1].tobytes())
    live = load_settings(None, ["live.random_s=0.05"]).live
    source = open_source(str(tmp_path), live)
    pumps = []

    def goes_on(screen: Watcher) -> bool:
        pumps.append(len(screen.scenes) > 0 and screen.scenes[-1].frame.id == 1)
        return sum(pumps) < 20

    screen = Watcher(goes_on)
    report = run(Paced(source) if paced else source, blob_index, Outputs(screen=screen))
    assert report.frames_shown == 2
    assert sum(pumps) == 20
    assert all(crop is not None for row in screen.scenes[-1].thumbs for crop in row)


def test_a_photo_without_a_window_ends_by_itself(blob_index, tmp_path):
    (tmp_path / "1.png").write_bytes(cv2.imencode(".png", blobs.draw(1))[1].tobytes())
    source = open_source(str(tmp_path / "1.png"), SETTINGS.live)
    assert run(source, blob_index, Outputs(records=(tmp_path / "o.jsonl",))).frames_shown == 1


def test_the_user_leaves(blob_index):
    source = Given(list(range(10_000)))
    screen = Watcher(lambda screen: len(screen.scenes) < 7)
    report = run(source, blob_index, Outputs(screen=screen))
    assert report.frames_shown == 7
    assert source.closed.is_set()


def test_the_user_leaves_before_the_first_picture(blob_index):
    source = Given([0], before=lambda _: source.closed.wait(30))
    report = run(source, blob_index, Outputs(screen=Watcher(lambda _: False)))
    assert report.frames_shown == 0


def test_nothing_new_is_shown_while_paused(blob_index):
    controls = Controls(SETTINGS.detect, SETTINGS.show)
    pumps = []

    def goes_on(screen: Watcher) -> bool:
        pumps.append(len(screen.scenes))
        if len(screen.scenes) == 5 and pumps.count(5) == 1:
            controls.change(paused=True)
        if pumps.count(5) == 20:
            controls.change(paused=False)
        return True

    screen = Watcher(goes_on)
    report = run(Given(list(range(15))), blob_index, Outputs(screen=screen), controls=controls)
    assert pumps.count(5) >= 20
    assert [scene.frame.id for scene in screen.scenes] == list(range(15))
    assert report.dropped == 0


def test_the_user_leaves_while_paused(blob_index):
    controls = Controls(SETTINGS.detect, SETTINGS.show, paused=True)
    pumps = iter(range(10))
    report = run(
        Given(list(range(100))),
        blob_index,
        Outputs(screen=Watcher(lambda _: next(pumps) < 9)),
        controls=controls,
    )
    assert report.frames_shown == 0


def test_changed_controls_reach_the_stages(blob_index):
    controls = Controls(SETTINGS.detect, SETTINGS.show)
    pipeline = blobs.BlobPipeline()

    def goes_on(screen: Watcher) -> bool:
        if len(screen.scenes) == 5:
            show = controls.now.show.model_copy(
                update={
                    "results": 9,
                    "fill": False,
                    "thumb_height": 90,
                    "header_height": 300,
                    "window_wh": (800, 600),
                }
            )
            controls.change(show=show, detect=DetectSettings(threshold=0.77))
        return True

    screen = Watcher(goes_on)
    source = Given(list(range(30)), before=lambda n: time.sleep(0.02))
    run(source, blob_index, Outputs(screen=screen), pipeline, controls=controls)
    first, last = screen.scenes[0], screen.scenes[-1]
    assert first.thumb_height != last.thumb_height
    assert max(len(rows) for rows in last.thumbs) == 9
    assert (screen.pictures[0].shape, screen.pictures[-1].shape) == ((480, 640, 3), (600, 800, 3))
    assert pipeline.detector.settings is not None
    assert pipeline.detector.settings.threshold == 0.77
    for scene in screen.scenes:
        assert {crop.shape[0] for row in scene.thumbs for crop in row} == {scene.thumb_height}


@pytest.mark.parametrize("slides", [False, True])
def test_slides_are_seen_as_the_library_saw_its_photos(blob_index, slides):
    source, pipeline = Given([0, 1]), blobs.BlobPipeline()
    source.slides = slides
    run(source, blob_index, pipeline=pipeline)
    assert pipeline.detector.pad_fully is slides


# Photos of the library, for ever ---------------------------------------------------------------------------


def test_random_photos_are_photos_of_the_library(blob_index):
    paths = library_photos(blob_index, seed=3)
    drawn = [next(paths) for _ in range(60)]
    assert all(path.is_file() for path in drawn)
    assert len({path.name for path in drawn}) >= 8
    again = library_photos(blob_index, seed=3)
    assert [next(again) for _ in range(60)] == drawn


# Real pictures ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_photos_of_a_real_library_find_their_own_objects_first(photos, pipeline, index, tmp_path):
    """Seen one by one, live: as good as in the batches in which they were analysed."""
    # Frames of one shot stand for each other, and a library holds no small objects.
    least_px = f"detect.min_px={load_settings(None).analyze.min_px}"
    settings = load_settings(None, ["show.distinct=false", least_px])
    source = open_source(str(photos), settings.live)
    report = play(source, pipeline, index, settings, Outputs(records=(tmp_path / "o.jsonl",)))
    assert report.frames_shown == report.frames_in == len(list(photos.iterdir()))
    assert report.dropped == 0
    names = sorted(path.name for path in photos.iterdir())
    objects = own = 0
    for line in lines(tmp_path / "o.jsonl"):
        for item in line["objects"]:
            objects += 1
            nearest = item["neighbours"][0]
            same_place = np.allclose(nearest["xyxy"], item["xyxy"], atol=0.2)
            own += nearest["photo"] == names[line["frame"]] and same_place and nearest["distance"] < 0.01
    assert objects == len(index)
    assert own >= 0.99 * objects


@pytest.mark.slow
def test_a_real_clip(clip, pipeline, index, tmp_path):
    """The first two seconds; frames of it are photos of the library, so the nearest is close."""
    settings = Settings()
    outputs = Outputs(video=tmp_path / "o.mp4", records=(tmp_path / "o.jsonl",))

    class First(Source):
        def __init__(self) -> None:
            self._inner = open_source(str(clip), settings.live)
            super().__init__(self._inner.name, fps=self._inner.fps, wh=self._inner.wh)

        def __next__(self) -> Frame:
            frame = next(self._inner)
            if frame.id >= 50:
                raise StopIteration
            return frame

        def close(self) -> None:
            self._inner.close()

    report = play(First(), pipeline, index, settings, outputs)
    assert (report.frames_in, report.frames_shown, report.dropped) == (50, 50, 0)
    written = lines(tmp_path / "o.jsonl")
    assert [line["frame"] for line in written] == list(range(50))
    assert report.objects == sum(len(line["objects"]) for line in written) > 0
    nearest = [item["neighbours"][0] for line in written for item in line["objects"]]
    assert np.mean([hit["photo"].startswith("bikes-0000") for hit in nearest]) > 0.8
