"""A run that remembers: what it sees is found a moment later, in strips, records and pages."""

from __future__ import annotations

import dataclasses

import blobs
import numpy as np
import pytest
from memories import until
from page import served
from playing import PHOTOS, Given, Watcher, lines

from rtsearch.config import load_settings
from rtsearch.jobs.replay import replay
from rtsearch.library import FeatureSpace
from rtsearch.live import Outputs, play
from rtsearch.memory.live_memory import LiveMemory
from rtsearch.memory.recall import FIRST_ROW
from rtsearch.recording import Recording
from rtsearch.types import Scene

pytestmark = pytest.mark.usefixtures("no_thread_is_left")

BASE = ["show.results=5", "show.window_wh=[640, 480]", "show.distinct=false", "memory.blind_s=0"]
TURNS = [turn for number in (0, 1, 2, 0, 1, 2) for turn in [number] * 30]


def settings(*overrides: str):
    return load_settings(None, [*BASE, *overrides])


class Shots(Given):
    """Shots of a second and more, which cut from one to the other."""

    def __init__(self, numbers=TURNS) -> None:
        super().__init__(numbers)
        self._number = 0

    def __next__(self):
        frame = super().__next__()
        self._number += 1
        return dataclasses.replace(frame, id=self._number - 1)


def remembering(folder, index, *overrides: str) -> LiveMemory:
    pipeline = blobs.as_pipeline()
    space = FeatureSpace(recipe=pipeline.feature_space, class_names=pipeline.class_names, dim=blobs.DIM)
    return LiveMemory.open(folder, space, None if index is None else index.projection, settings(*overrides))


def remembered_rows(scene: Scene) -> list[int]:
    rows = scene.neighbours.row
    return rows[rows >= FIRST_ROW].tolist()


def test_what_was_seen_is_shown_again(tmp_path, blob_index):
    screen = Watcher()
    outputs = Outputs(screen, records=(tmp_path / "o.jsonl",))
    with remembering(tmp_path / "m", blob_index) as memory:
        report = play(Shots(), blobs.as_pipeline(), blob_index, settings(), outputs, memory=memory)
        assert report.memory is not None
        assert report.memory.entries >= 9
    assert (report.memory.dropped, report.memory.problem) == (0, "")
    assert all(scene.remembers for scene in screen.scenes)
    assert remembered_rows(screen.scenes[0]) == []
    assert remembered_rows(screen.scenes[-1])
    last = lines(tmp_path / "o.jsonl")[-1]
    for item in last["objects"]:
        ours = [near for near in item["neighbours"] if near["row"] >= FIRST_ROW]
        assert ours
        assert all(near["photo"].startswith("given/") and near["seen_ns"] for near in ours)
        assert ours[0]["distance"] <= item["neighbours"][-1]["distance"]


def test_a_strip_shows_one_crop_of_a_track(tmp_path, blob_index):
    screen = Watcher()
    with remembering(tmp_path / "m", blob_index) as memory:
        play(Shots(), blobs.as_pipeline(), blob_index, settings(), Outputs(screen), memory=memory)
        index = memory.beside(blob_index, settings().search)
        for scene in screen.scenes:
            for line in scene.neighbours.row:
                ours = line[line >= FIRST_ROW]
                assert len(set(index.photos_of(ours).tolist())) == len(ours)


def test_without_a_library(tmp_path):
    screen = Watcher()
    with remembering(tmp_path / "m", None) as memory:
        index = memory.empty_index()
        report = play(Shots(), blobs.as_pipeline(), index, settings(), Outputs(screen), memory=memory)
        assert report.memory is not None
        assert report.memory.entries >= 9
        assert len(index) == 0
    assert remembered_rows(screen.scenes[-1])
    assert (screen.scenes[-1].neighbours.row < 0).sum() + len(remembered_rows(screen.scenes[-1])) == (
        screen.scenes[-1].neighbours.row.size
    )
    crops = [crop for crops in screen.scenes[-1].thumbs for crop in crops]
    assert crops
    assert all(crop is not None and crop.std() > 0 for crop in crops)


def test_a_memory_in_strips_of_its_own(tmp_path, blob_index):
    screen = Watcher()
    wanted = ("memory.strip=own", "show.window_wh=[1280, 960]")
    with remembering(tmp_path / "m", blob_index, *wanted) as memory:
        outputs = Outputs(screen, records=(tmp_path / "o.jsonl",))
        play(Shots(), blobs.as_pipeline(), blob_index, settings(*wanted), outputs, memory=memory)
    scene = screen.scenes[-1]
    assert scene.each == 2
    for strip, name, rows in zip(scene.strips, scene.names, scene.neighbours.row, strict=True):
        there = rows[rows >= 0]
        assert ((there >= FIRST_ROW) == bool(strip % 2)).all()
        assert name.startswith("seen ") == bool(strip % 2)
    assert any(strip % 2 for strip in scene.strips)
    shown = lines(tmp_path / "o.jsonl")[-1]["shown"]
    assert [item["track"] for item in shown] == sorted({item["track"] for item in shown})
    assert all(item["track"] > 0 for item in shown)


def test_nothing_is_remembered_unless_it_is_wanted(blob_index):
    screen = Watcher()
    report = play(Shots([0] * 20), blobs.as_pipeline(), blob_index, settings(), Outputs(screen))
    assert report.memory is None
    assert not any(scene.remembers for scene in screen.scenes)


def test_the_sign_is_drawn_whatever_text_is_wanted(tmp_path, blob_index):
    for text in ("none", "names"):
        plain, signed = Watcher(), Watcher()
        wanted = settings(f"show.text={text}")
        play(Shots([0] * 5), blobs.as_pipeline(), blob_index, wanted, Outputs(plain))
        with remembering(tmp_path / text, blob_index) as memory:
            play(Shots([0] * 5), blobs.as_pipeline(), blob_index, wanted, Outputs(signed), memory=memory)
        changed = np.argwhere((plain.pictures[0] != signed.pictures[0]).any(2))
        assert len(changed) > 300
        assert np.ptp(changed, axis=0).max() < 200  # a small patch, and nothing else


def test_people_are_made_unrecognisable_before_crops_are_taken(tmp_path, blob_index):
    private = settings("show.privacy=persons", "memory.classes=person", "detect.threshold=0")
    pipeline = blobs.as_pipeline(blobs.BlobPipeline(class_names=("person", "green", "red")))
    space = FeatureSpace(recipe=pipeline.feature_space, class_names=pipeline.class_names, dim=blobs.DIM)
    crops = {}
    for kind in ("none", "persons"):
        wanted = private.model_copy(update={"show": private.show.model_copy(update={"privacy": kind})})
        source = Shots([number for number in range(6) for _ in range(10)])
        with LiveMemory.open(tmp_path / kind, space, blob_index.projection, wanted) as memory:
            play(source, pipeline, blob_index, wanted, Outputs(), memory=memory)
            memory.close()
            rows = range(FIRST_ROW, FIRST_ROW + len(memory.recall))
            crops[kind] = {memory.recall.jpeg(row) for row in rows}
    assert len(crops["none"]) == len(crops["persons"]) > 0
    assert not crops["none"] & crops["persons"]


def test_a_record_of_a_run_that_remembered_is_played_again(tmp_path, blob_index):
    record = tmp_path / "o.jsonl"
    with remembering(tmp_path / "m", blob_index) as memory:
        play(Shots(), blobs.as_pipeline(), blob_index, settings(), Outputs(records=(record,)), memory=memory)
    screen = Watcher()
    with Recording(record) as recording:
        replay(Shots(), recording, blob_index, settings(), Outputs(screen))
    assert len(screen.scenes) == len(TURNS)
    assert all(remembered_rows(scene) == [] for scene in screen.scenes)


def test_the_page_serves_remembered_crops(tmp_path, blob_index):
    with remembering(tmp_path / "m", blob_index) as memory:
        play(Shots([PHOTOS - 1] * 40), blobs.as_pipeline(), blob_index, settings(), Outputs(), memory=memory)
        memory.close()
        until(lambda: memory.recall.findable > 0)
        with served(blob_index, memory=memory) as page:
            fingerprint = page.site.fingerprint
            answer = page.ask(f"/thumb/{fingerprint}/{FIRST_ROW}.jpg")
            assert (answer.status, answer.headers["cache-control"]) == (200, "no-store"), answer.body
            assert answer.body == memory.recall.jpeg(FIRST_ROW)
            assert page.ask(f"/thumb/{fingerprint}/{FIRST_ROW + 10**6}.jpg").status == 404
            assert page.ask(f"/api/objects/{FIRST_ROW}").json["photo"].startswith("given/")
            assert page.site.state()["remembers"] is memory.remembers
