"""The library as Python programs open it: plain records of what is similar, errors that say what is wrong."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

import rtsearch
from rtsearch import errors
from rtsearch.library.crops import _with_margin


@pytest.fixture(scope="module")
def opened(library):
    with rtsearch.open_library(str(library)) as opened:
        yield opened


def test_a_photo_finds_itself(opened, photos):
    path = photos / "skimage-coffee.png"
    cup = next(found for found in opened.search(path, k=5) if found.label == "cup")
    nearest = cup.neighbours[0]
    assert (nearest.photo, nearest.label) == (path.name, "cup")
    assert nearest.distance < 0.01
    np.testing.assert_allclose(nearest.xyxy, cup.xyxy, atol=0.2)
    assert 0.3 <= cup.score <= 1
    assert [len(found.neighbours) for found in opened.search(path, k=5)] == [5] * len(opened.search(path))


def test_a_path_and_its_pixels_bring_the_same(opened, photos):
    path = photos / "skimage-coffee.png"
    found = opened.search(path)
    assert found
    assert opened.search(str(path)) == opened.search(cv2.imread(str(path))) == found


def test_records_hold_plain_values_and_cannot_change(opened, photos):
    found = opened.search(photos / "skimage-coffee.png")[0]
    assert {type(value) for value in (found.label, found.score, *found.xyxy)} == {str, float}
    nearest = found.neighbours[0]
    values = (nearest.row, nearest.photo, nearest.label, nearest.distance, *nearest.xyxy)
    assert {type(value) for value in values} == {int, str, float}
    with pytest.raises(dataclasses.FrozenInstanceError):
        nearest.row = 0


def test_a_photo_without_objects(opened):
    assert opened.search(np.full((60, 80, 3), 120, np.uint8)) == ()


def test_the_whole_image_is_found_if_asked_for(library, photos):
    with rtsearch.open_library(library, ["detect.whole_image=true"]) as opened:
        assert opened.search(photos / "skimage-moon.png", k=1)[0].label == "whole image"


@pytest.fixture(scope="module")
def all_rows(library):
    with rtsearch.open_library(library, ["show.distinct=false"]) as opened:
        yield opened


def test_an_object_of_the_library_is_not_its_own_neighbour(all_rows, index):
    for row in (0, 17, len(all_rows) - 1):
        exact = index.near(index.points(np.array([row], np.int32)), 8, exact=True)
        similar = all_rows.similar(row, k=7)
        assert len(similar) == 7
        assert row not in {neighbour.row for neighbour in similar}
        distances = [neighbour.distance for neighbour in similar]
        assert distances == sorted(distances)
        assert distances[0] == pytest.approx(exact.distance[0][exact.row[0] != row][0], abs=1e-6)


def test_there_are_no_more_neighbours_than_objects(all_rows, photos):
    everything = len(all_rows) + 5
    assert len(all_rows.similar(3, k=everything)) == len(all_rows) - 1
    assert len(all_rows.search(photos / "skimage-coffee.png", k=everything)[0].neighbours) == len(all_rows)


def test_near_duplicates_come_once(opened, index, photos):
    found = opened.search(photos / "skimage-coffee.png", k=len(opened))[0].neighbours
    assert len(found) == len(np.unique(index.leaders)) < len(opened)
    assert sum(1 + near.folded for near in found) == len(opened)
    rows = np.arange(len(opened), dtype=np.int32)
    folded = np.flatnonzero(index.leaders != rows)
    row, leader = int(folded[0]), int(index.leaders[folded[0]])
    similar = {near.row for near in opened.similar(row, k=len(opened))}
    assert len(similar) == len(found) - 1
    assert leader not in similar


def test_what_the_library_tells(opened, library):
    assert issubclass(type(opened), rtsearch.Library)
    assert len(opened) == opened.object_count == rtsearch.Library.open(library).object_count
    assert "cup" in opened.class_names
    nearest = opened.similar(17, k=1)[0]
    assert opened.photo_path(nearest.photo).is_file()


def test_a_crop_shows_the_object(opened, photos):
    nearest = opened.search(photos / "skimage-coffee.png", k=1)[0].neighbours[0]
    crop = opened.crop(nearest.row)
    photo = cv2.imread(str(opened.photo_path(nearest.photo)))
    assert photo is not None
    left, top, right, bottom = _with_margin(np.array(nearest.xyxy, np.float32), photo.shape[1::-1])
    of_photo = photo[top:bottom, left:right]
    same = cv2.resize(of_photo, crop.shape[1::-1], interpolation=cv2.INTER_AREA).astype(float)
    assert crop.dtype == np.uint8
    assert np.abs(crop - same).mean() < 8


@pytest.mark.parametrize("row", [-1, 10**6, 1.0, "17", None])
def test_a_row_that_there_is_not(opened, row):
    for asked in (opened.similar, opened.crop):
        with pytest.raises(errors.UnknownRowError, match=r"has no object .*numbered from 0") as caught:
            asked(row)
        assert isinstance(caught.value, IndexError)


@pytest.mark.parametrize("k", [0, -1, 1.5, True])
def test_a_number_of_neighbours_that_cannot_be(opened, k):
    for asked in (lambda: opened.similar(0, k), lambda: opened.search(np.zeros((9, 9, 3), np.uint8), k)):
        with pytest.raises(errors.VectorError, match="k: expected a whole number, 1 or more"):
            asked()


@pytest.mark.parametrize(
    ("photo", "got"),
    [
        (np.zeros((4, 4, 3), np.float32), r"float32 \(4, 4, 3\)"),
        (np.zeros((4, 4), np.uint8), r"uint8 \(4, 4\)"),
        (np.zeros((4, 4, 4), np.uint8), r"uint8 \(4, 4, 4\)"),
        (np.zeros((0, 4, 3), np.uint8), r"uint8 \(0, 4, 3\)"),
        (17, "int"),
    ],
)
def test_what_is_no_picture(opened, photo, got):
    with pytest.raises(errors.PhotoError, match=f"expected the path of a photo or uint8 .* got {got}"):
        opened.search(photo)


def test_files_that_cannot_be_read(opened, tmp_path):
    (tmp_path / "text.jpg").write_text("no picture")
    for path in (tmp_path / "text.jpg", tmp_path / "missing.jpg", tmp_path):
        with pytest.raises(errors.PhotoError, match=path.name):
            opened.search(path)


def test_libraries_that_cannot_be_opened(library, own_library, tmp_path, monkeypatch):
    with pytest.raises(errors.NotALibraryError):
        rtsearch.open_library(tmp_path / "missing.lib")
    with pytest.raises(errors.ConfigError, match=r"did you mean detect\.threshold"):
        rtsearch.open_library(library, ["detect.treshold=0.4"])
    with pytest.raises(errors.FeatureSpaceError):
        rtsearch.open_library(library, ["model.size=320"])
    monkeypatch.setenv("RTSEARCH_ENGINES", str(tmp_path))
    with pytest.raises(errors.UnknownModelError, match="run: rtsearch model pull yolo26n"):
        rtsearch.open_library(library)


def open_packs(library: Path) -> list[str]:
    """The packs of crops that this process holds open."""
    files = [file.readlink() for file in Path("/proc/self/fd").iterdir() if file.is_symlink()]
    return [file.name for file in files if file.parent == library / "thumbs"]


@pytest.mark.usefixtures("no_thread_is_left")
def test_a_closed_library_holds_nothing(own_library, photos):
    with rtsearch.open_library(own_library) as opened:
        opened.crop(0)
        assert open_packs(own_library)
    assert open_packs(own_library) == []
    with pytest.raises(errors.RunnerError, match="closed"):
        opened.search(photos / "skimage-coffee.png")


def test_several_threads_find_the_same(opened, photos):
    path = photos / "skimage-coffee.png"
    expected, found = opened.search(path, k=3), []
    threads = [threading.Thread(target=lambda: found.append(opened.search(path, k=3))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [expected] * 4
