"""A library that grows while it plays: no frame is lost, what is new is found, what was removed is not."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import blobs
import cv2
import numpy as np
import pytest
from playing import PHOTOS, Given, Watcher, lines

from rtsearch.config import load_settings
from rtsearch.library import Library
from rtsearch.library.index import SearchIndex, build_index, open_index
from rtsearch.library.manifest import Manifest
from rtsearch.library.thumbnails import ThumbCache
from rtsearch.live import Controls, Outputs, follow_library, library_watch, play

pytestmark = pytest.mark.usefixtures("no_thread_is_left")

SETTINGS = load_settings(
    None, ["project.dim=8", "show.results=5", "show.window_wh=[640, 480]", "show.distinct=false"]
)
OLD, NEW = range(8), range(3, PHOTOS)  # numbers of the photos before and after
PATIENCE_S = 60.0


def name_of(photo: int) -> str:
    return f"{photo:02d}.png"


class Growing:
    """A library of some blob photos, to which others come, and from which some go."""

    def __init__(self, folder: Path) -> None:
        self.photos, self.lib = folder / "photos", folder / "lib"
        self.photos.mkdir()
        self.controls = Controls(SETTINGS.detect, SETTINGS.show)
        self.told: list[str] = []
        self.analyze(OLD)
        self.index = open_index(Library.open(self.lib), SETTINGS)

    def analyze(self, numbers: range) -> None:
        """Bring the library up to date with these photos; its index is not built."""
        for path in self.photos.iterdir():
            path.unlink()
        for number in numbers:
            data = cv2.imencode(".png", blobs.draw(number))[1].tobytes()
            (self.photos / name_of(number)).write_bytes(data)
        blobs.run(self.photos, self.lib)

    def build(self) -> SearchIndex:
        return build_index(Library.open(self.lib), SETTINGS)

    def follow(self):
        return follow_library(self.index, SETTINGS, self.controls, self.told.append)

    def searched(self) -> set[str]:
        index = self.controls.now.index or self.index
        return {index.photo(row) for row in range(len(index))}


@pytest.fixture
def growing(tmp_path: Path) -> Growing:
    return Growing(tmp_path)


def names(numbers: range) -> set[str]:
    return {name_of(number) for number in numbers}


def wait_for(holds: Callable[[], bool]) -> None:
    until_s = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < until_s
        time.sleep(0.01)


def looks(watch: library_watch.LibraryWatch, monkeypatch) -> threading.Semaphore:
    """Count the looks at a library from now on."""
    done, look = threading.Semaphore(0), watch._look

    def counted() -> None:
        try:
            look()
        finally:
            done.release()

    monkeypatch.setattr(watch, "_look", counted)
    return done


def test_photos_come_and_go_between_two_frames(growing, tmp_path):
    """Frame after frame shows photo after photo; in the middle of it, the library is made another one."""

    def before(frame: int) -> None:
        if frame == 5 * PHOTOS:
            growing.analyze(NEW)
            growing.build()
            wait_for(lambda: growing.controls.now.index is not None)

    source, screen = Given(list(range(10 * PHOTOS)), before=before), Watcher()
    outputs = Outputs(screen=screen, records=(tmp_path / "o.jsonl",))
    with growing.follow():
        report = play(
            source, blobs.as_pipeline(), growing.index, SETTINGS, outputs, controls=growing.controls
        )
    assert (report.frames_in, report.frames_shown, report.dropped) == (10 * PHOTOS, 10 * PHOTOS, 0)
    assert growing.told == [f"the library now holds {3 * len(NEW)} objects from {len(NEW)} photos"]
    newer = growing.controls.now.index
    assert newer is not None
    written = lines(tmp_path / "o.jsonl")
    assert [line["frame"] for line in written] == list(range(10 * PHOTOS))
    scenes = {scene.frame.id: scene for scene in screen.scenes}
    turned = [scenes[frame].library == newer.library.state for frame in range(10 * PHOTOS)]
    first = turned.index(True)
    assert first <= 5 * PHOTOS + 4  # those that were on their way when it came
    assert turned == [frame >= first for frame in range(10 * PHOTOS)]
    for line in written:
        numbers, index = (NEW, newer) if line["frame"] >= first else (OLD, growing.index)
        found = {near["photo"] for item in line["objects"] for near in item["neighbours"]}
        assert found <= names(numbers)
        assert (name_of(line["frame"] % PHOTOS) in found) == (line["frame"] % PHOTOS in numbers)
        shown = scenes[line["frame"]].neighbours.row.ravel()
        assert {index.photo(row) for row in shown.tolist() if row >= 0} <= names(numbers)


def test_a_photo_that_stays_is_searched_again(growing, tmp_path):
    """The last photo stays in the window while the library grows, and then its search is narrowed."""
    source = Given([NEW[-1]])
    source.slides = True
    growing.controls.change(search=SETTINGS.search)
    shown: list[set[str]] = []

    def goes_on(screen: Watcher) -> bool:
        if screen.scenes and not shown:
            shown.append(found_in(growing.index, screen))
            growing.analyze(NEW)
            growing.build()
        newer = growing.controls.now.index
        if newer is None or screen.scenes[-1].library != newer.library.state:
            return True
        if len(shown) == 1:
            shown.append(found_in(newer, screen))
            narrow = SETTINGS.search.model_copy(update={"classes": ("red",)})
            growing.controls.change(search=narrow)
        rows = screen.scenes[-1].neighbours.row.ravel()
        return not (newer.labels[rows[rows >= 0]] == newer.library.space.class_names.index("red")).all()

    screen = Watcher(goes_on)
    with growing.follow():
        outputs = Outputs(screen=screen, records=(tmp_path / "o.jsonl",))
        report = play(
            source, blobs.as_pipeline(), growing.index, SETTINGS, outputs, controls=growing.controls
        )
    assert report.frames_shown == 1
    assert len(lines(tmp_path / "o.jsonl")) == 1
    before, after = shown
    assert before <= names(OLD)
    assert name_of(NEW[-1]) in after <= names(NEW)


def found_in(index: SearchIndex, screen: Watcher) -> set[str]:
    rows = screen.scenes[-1].neighbours.row.ravel().tolist()
    return {index.photo(row) for row in rows if row >= 0}


def test_crops_are_those_of_the_state_that_was_searched(growing):
    def before(frame: int) -> None:
        if frame == 3 * PHOTOS:
            growing.analyze(NEW)
            growing.build()
            wait_for(lambda: growing.controls.now.index is not None)

    source, screen = Given(list(range(6 * PHOTOS)), before=before), Watcher()
    with growing.follow():
        outputs = Outputs(screen=screen)
        play(source, blobs.as_pipeline(), growing.index, SETTINGS, outputs, controls=growing.controls)
    newer = growing.controls.now.index
    caches = {
        index.library.state: ThumbCache(index.thumb_places, 1 << 24) for index in (growing.index, newer)
    }
    assert {scene.library for scene in screen.scenes} == caches.keys()
    crops = 0
    for scene in screen.scenes:
        for rows, shown in zip(scene.neighbours.row.tolist(), scene.thumbs, strict=True):
            for row, crop in zip([row for row in rows if row >= 0], shown, strict=True):
                assert np.array_equal(crop, caches[scene.library].get(row, scene.thumb_height))
                crops += 1
    assert crops > len(screen.scenes)


def test_an_index_that_is_not_there_yet_is_waited_for(growing, monkeypatch):
    with growing.follow() as watch:
        done = looks(watch, monkeypatch)
        growing.analyze(NEW)
        for _ in range(3):
            assert done.acquire(timeout=PATIENCE_S)
        assert growing.controls.now.index is None
        assert growing.searched() == names(OLD)
        growing.build()
        wait_for(lambda: growing.controls.now.index is not None)
    assert growing.searched() == names(NEW)
    assert len(growing.told) == 1


def test_an_index_that_nobody_builds_is_built(growing, monkeypatch):
    monkeypatch.setattr(library_watch, "_PATIENCE_S", 0.0)
    with growing.follow():
        growing.analyze(NEW)
        wait_for(lambda: growing.controls.now.index is not None and growing.searched() == names(NEW))
    fresh = open_index(Library.open(growing.lib), SETTINGS)
    assert len(fresh) == 3 * len(NEW)


def damaged(growing: Growing) -> None:
    (growing.lib / "manifest.json").write_bytes(b"{")


def of_another_network(growing: Growing) -> None:
    shutil.rmtree(growing.lib)
    foreign = blobs.BlobPipeline(feature_space={"model": "others", "version": 1})
    blobs.run(growing.photos, growing.lib, foreign)


def gone(growing: Growing) -> None:
    (growing.lib / "manifest.json").unlink()


def without_objects(growing: Growing) -> None:
    manifest = Manifest.read(growing.lib)
    manifest.model_copy(update={"fragments": ()}).write(growing.lib)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (damaged, "manifest.json is damaged"),
        (of_another_network, "has feature space"),
        (gone, "has no manifest.json"),
        (without_objects, "holds no objects"),
    ],
)
def test_what_cannot_be_searched_is_said_once_and_the_state_before_stays(
    growing, monkeypatch, caplog, spoil, words
):
    monkeypatch.setattr(library_watch, "_PATIENCE_S", 0.0)
    saved = growing.lib.with_name("saved")
    shutil.copytree(growing.lib, saved)
    with caplog.at_level(logging.WARNING, "rtsearch"), growing.follow() as watch:
        spoil(growing)
        wait_for(lambda: words in caplog.text)
        done = looks(watch, monkeypatch)
        for _ in range(3):
            assert done.acquire(timeout=PATIENCE_S)
        assert growing.controls.now.index is None
        assert growing.searched() == names(OLD)
        told = [message for message in caplog.messages if words in message]  # not of a state in between
        assert len(told) == 1
        assert "is searched as it was" in told[0]
        shutil.rmtree(growing.lib)
        shutil.copytree(saved, growing.lib)
        growing.analyze(NEW)
        wait_for(lambda: growing.controls.now.index is not None and growing.searched() == names(NEW))


def test_nothing_is_said_of_a_library_that_stays_as_it_is(growing, monkeypatch, caplog):
    with growing.follow() as watch:
        done = looks(watch, monkeypatch)
        manifest = Manifest.read(growing.lib)
        manifest.write(growing.lib)
        for _ in range(3):
            assert done.acquire(timeout=PATIENCE_S)
    assert growing.controls.now.index is None
    assert (growing.told, caplog.text) == ([], "")


def test_a_narrowed_search_stays_narrowed(growing):
    growing.controls.change(search=SETTINGS.search.model_copy(update={"classes": ("red",)}))
    with growing.follow():
        growing.analyze(NEW)
        growing.build()
        wait_for(lambda: growing.controls.now.index is not None)
    newer = growing.controls.now.index
    assert newer is not None
    near = newer.near(newer.points(np.arange(4, dtype=np.int32)), 5)
    assert set(newer.labels[near.row].ravel().tolist()) == {2}
