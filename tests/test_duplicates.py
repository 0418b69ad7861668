"""Near duplicates are shown once, and a search finds what it is narrowed to."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import blobs
import cv2
import naive
import numpy as np
import pytest

from rtsearch.config import Settings, load_settings
from rtsearch.errors import ConfigError, LibraryError
from rtsearch.jobs.query import query_photo
from rtsearch.library import Library
from rtsearch.library.duplicates import REACH, leaders
from rtsearch.library.index import open_index
from rtsearch.library.narrowing import narrow
from rtsearch.search import KDTree

COPIES = 16
SETTINGS = ("project.dim=6", "show.results=5")


def settings(*overrides: str) -> Settings:
    return load_settings(None, [*SETTINGS, *overrides])


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a library of 16 copies of one photo, in two folders, and of 12 other photos."""
    folder = tmp_path_factory.mktemp("copied")
    blobs.write_photos(folder / "photos", 12)
    data = cv2.imencode(".png", blobs.draw(100))[1].tobytes()
    for copy in range(COPIES):
        path = folder / "photos" / ("album/trip" if copy % 4 else "album") / f"copy {copy:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.utime(path, (2e9, 2e9))
    (folder / "query.png").write_bytes(data)
    blobs.run(folder / "photos", folder / "lib", commit_photos=9)
    return folder


def index_of(copied: Path):
    return open_index(Library.open(copied / "lib"), settings())


def narrowed(copied: Path, *overrides: str):
    chosen = settings(*overrides)
    return narrow(index_of(copied), chosen.search, distinct=chosen.show.distinct)


def neighbours(copied: Path, *overrides: str, itself: bool = True) -> list[list[dict]]:
    chosen = settings(*overrides)
    index = narrowed(copied, *overrides)
    answer = query_photo(copied / "query.png", blobs.as_pipeline(), index, chosen, itself=itself)
    assert len(answer.objects) == 3
    return [item["neighbours"] for item in answer.objects]


def test_copies_of_a_photo_are_shown_once(copied):
    for near in neighbours(copied):
        assert len(near) == 5
        assert near[0]["distance"] < 1e-3
        assert near[0]["photo"] == "album/copy 00.png"
        copies = [hit for hit in near if "copy" in hit["photo"]]  # the photo has other objects, too
        assert len({tuple(hit["xyxy"]) for hit in copies}) == len(copies)
        assert [hit["folded"] for hit in near] == [(COPIES - 1) * (hit in copies) for hit in near]


def test_copies_are_all_shown_where_that_is_wanted(copied):
    for near in neighbours(copied, "show.distinct=false"):
        assert [("copy" in hit["photo"], hit["folded"]) for hit in near] == [(True, 0)] * 5
        assert max(hit["distance"] for hit in near) < 1e-3


def test_a_photo_need_not_find_itself(copied):
    for near in neighbours(copied, itself=False):
        assert len(near) == 5
        assert not [hit for hit in near if "copy" in hit["photo"]]
    for near in neighbours(copied, "show.distinct=false", itself=False):
        assert not [hit for hit in near if "copy" in hit["photo"]]  # all have the bytes of the query


def test_a_file_that_is_not_there_cannot_be_left_out(copied):
    with pytest.raises(LibraryError, match=r"gone\.png cannot be read: No such file"):
        narrow(index_of(copied), settings().search, distinct=True, leave_out=copied / "gone.png")


# Groups -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "copies", "whole"),
    [(1, 1, False), (2, 2, False), (40, 1, False), (40, 7, True), (3, 100, False)],
)
def test_groups_are_those_of_the_plain_rule(rows, copies, whole):
    rng = np.random.default_rng(rows * copies)
    vectors = np.repeat(rng.normal(size=(rows, 8)), copies, axis=0).astype(np.float32)
    vectors += rng.normal(size=vectors.shape).astype(np.float32) * 1e-3
    rng.shuffle(vectors)
    picture = rng.integers(0, max(2, rows * copies // 3), len(vectors))
    wholes = rng.random(len(vectors)) < 0.5 if whole else np.zeros(len(vectors), bool)
    looks = np.arange(8) > 2
    reach = REACH * np.sqrt(2 * vectors[:, looks].var(axis=0).sum())
    found = leaders(KDTree.build(vectors), vectors, looks, picture, wholes)
    wanted = naive.leaders(vectors, looks, picture, wholes, reach)
    if copies < 32:
        np.testing.assert_array_equal(found, wanted)
    else:  # groups larger than what is looked at are joined in rounds
        assert len(np.unique(found)) <= len(np.unique(wanted)) + 3
    assert (found[found] == found).all()
    assert (picture[found] != picture)[found != np.arange(len(found))].all() or copies >= 32


def test_all_rows_alike():
    vectors = np.ones((200, 4), np.float32)
    found = leaders(KDTree.build(vectors), vectors, np.ones(4, bool), np.arange(200), np.zeros(200, bool))
    assert (found == 0).all()


def test_two_objects_of_one_picture_are_never_the_same():
    vectors = np.r_[np.zeros((2, 4)), np.ones((2, 4)), np.random.default_rng(0).normal(size=(9, 4))]
    picture = np.r_[0, 0, 1, 2, 3 + np.arange(9)]
    vectors, whole = vectors.astype(np.float32), np.zeros(13, bool)
    found = leaders(KDTree.build(vectors), vectors, np.ones(4, bool), picture, whole)
    assert found[:4].tolist() == [0, 1, 2, 2]


# Narrowing --------------------------------------------------------------------------------------------------


def test_neighbours_of_some_classes(copied):
    for near in neighbours(copied, "search.classes=green"):
        assert {hit["label"] for hit in near} == {"green"}
    for near in neighbours(copied, "search.classes=green,red", "show.distinct=false"):
        assert {hit["label"] for hit in near} <= {"green", "red"}


def test_neighbours_of_some_folders(copied):
    for near in neighbours(copied, "search.folders=album/trip"):
        assert len(near) == 3  # the three objects of the photo that the copies are of
        assert {hit["photo"][:11] for hit in near} == {"album/trip/"}
        assert {hit["folded"] for hit in near} == {COPIES * 3 // 4 - 1}
    for near in neighbours(copied, "search.folders=album/,sub", "search.classes=red"):
        assert {hit["photo"].split("/")[0] for hit in near} <= {"album", "sub"}


def test_neighbours_since_a_date(copied):
    for near in neighbours(copied, "search.since=2033-01-01"):
        assert {hit["photo"][:5] for hit in near} == {"album"}
    assert neighbours(copied, "search.since=1990-01-01T12:00") == neighbours(copied)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("search.classes=cat", r"search\.classes: .*lib has no class cat; `rtsearch model info` lists them"),
        ("search.classes=grean", r"search\.classes: .*lib has no class grean; did you mean green or red\?"),
        ("search.folders=albums", r"search\.folders: no photo of .*lib lies in albums; folders are relative"),
        ("search.folders=../album", r"search\.folders: no photo of .* lies in \.\./album"),
        ("search.since=2999-01-01", r"search\.since: no object of .* is left to be found"),
    ],
)
def test_what_there_is_not(copied, override, words):
    with pytest.raises(ConfigError, match=words):
        narrowed(copied, override)


@pytest.mark.parametrize("text", ["yesterday", "12:00", "[1, 2]", "2026-13-01T08"])
def test_what_is_no_date(text):
    with pytest.raises(ConfigError, match=r"search\.since.*expected a date, such as 2026-05-01T18:30"):
        settings(f"search.since={text}")


def test_narrowing_is_exact_and_can_be_taken_back(copied):
    index = index_of(copied)
    only_blue = narrow(index, settings("search.classes=blue").search, distinct=False)
    points = index.points(np.arange(len(index), dtype=np.int32))
    blue = np.flatnonzero(index.labels == 0)
    apart = np.linalg.norm(points[:, None] - points[blue][None], axis=2)
    near = only_blue.near(points, 4, exact=True)
    np.testing.assert_allclose(near.distance, np.sort(apart, axis=1)[:, :4], atol=1e-4)
    all_again = narrow(only_blue, settings().search, distinct=False)
    np.testing.assert_array_equal(all_again.near(points, 4).row, index.near(points, 4).row)


def test_the_same_settings_narrow_once(copied):
    """A run opens its index narrowed, and asks for the same again at its first frame."""
    index, search = index_of(copied), settings("search.classes=blue").search
    once = narrow(index, search, distinct=True)
    assert narrow(once, search, distinct=True) is once
    assert narrow(once, search, distinct=False) is not once
    assert narrow(index, search, distinct=True) is not index


def test_an_index_with_other_leaders_is_built_again(copied, tmp_path, caplog):
    shutil.copytree(copied / "lib", tmp_path / "lib")
    before = open_index(Library.open(tmp_path / "lib"), settings()).leaders.copy()
    path = next((tmp_path / "lib" / "index").glob("*/leader.npy"))
    np.save(path, np.full(len(before), len(before), np.int32))
    again = open_index(Library.open(tmp_path / "lib"), settings())
    np.testing.assert_array_equal(again.leaders, before)
    assert "leader.npy" in caplog.text
