"""One photo: its objects, their neighbours, the sheet."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from rtsearch.config import Settings, load_settings
from rtsearch.errors import PhotoError
from rtsearch.jobs.query import in_words, query_photo, sheet
from rtsearch.library import Library
from rtsearch.render.theme import object_colour


@pytest.fixture
def ask(pipeline, index):
    def call(photo, *overrides):
        settings = load_settings(None, overrides)
        return query_photo(photo, pipeline, index, settings)

    return call


def test_a_photo_without_objects(ask, tmp_path):
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((60, 80, 3), 120, np.uint8))
    answer = ask(tmp_path / "grey.png")
    assert answer.objects == []
    assert sheet(answer, Settings()).shape == (480, 1280, 3)


def test_a_photo_of_the_library_finds_its_own_objects_first(ask, index, library, photos):
    objects = own = 0
    some = list(Library.open(library).photos().path)[::3]
    for path in some:
        # A library holds no objects that are smaller.
        answer = ask(photos / path, f"detect.min_px={Settings().analyze.min_px}")
        for item in answer.objects:
            nearest = item["neighbours"][0]
            objects += 1
            near = nearest["distance"] < 0.01
            own += near and nearest["photo"] == path and np.allclose(nearest["xyxy"], item["xyxy"], atol=0.2)
    assert objects == sum(index.photo(row) in some for row in range(len(index)))
    assert own >= 0.99 * objects


@pytest.mark.parametrize("kind", ["faces", "persons"])
def test_nobody_is_recognised_on_a_sheet_where_that_is_asked_for(ask, photos, kind):
    plain = ask(photos / "skimage-astronaut.png")
    private = ask(photos / "skimage-astronaut.png", f"show.privacy={kind}")
    assert private.objects == plain.objects
    before, after = (each.scene.frame.bgr for each in (plain, private))
    face = np.s_[60:180, 170:280]
    assert np.abs(before[face].astype(int) - after[face]).mean() > 10
    assert len(np.unique(after[face].reshape(-1, 3), axis=0)) < 200  # squares


def test_objects_as_they_are_recorded(ask, photos):
    answer = ask(photos / "skimage-astronaut.png", "show.results=7")
    assert "person" in {item["label"] for item in answer.objects}
    for i, item in enumerate(answer.objects):
        assert list(item) == ["track", "xyxy", "label", "score", "neighbours"]
        assert item["track"] == -1
        assert len(item["neighbours"]) == 7
        assert [near["distance"] for near in item["neighbours"]] == sorted(
            near["distance"] for near in item["neighbours"]
        )
        assert item["label"] == answer.scene.names[i]
    json.dumps(answer.objects)


def test_every_strip_of_a_sheet_begins_with_the_nearest(ask, photos):
    """Of two alike objects the second shows the crops of the first again, unlike on a screen."""
    answer = next(a for a in map(ask, sorted(photos.glob("bikes-*"))) if len(a.objects) > 2)
    shown = answer.scene.neighbours.distance
    nearest = [item["neighbours"][0]["distance"] for item in answer.objects]
    assert shown[:, 0] == pytest.approx(nearest, abs=1e-3)


def test_an_empty_strip_says_why(ask, photos):
    photo, alone = photos / "skimage-coffee.png", "show.max_distance=0.000001"
    full, answer = ask(photo), ask(photo, alone)
    assert set(full.scene.empty) == {""}
    empty = [i for i, crops in enumerate(answer.scene.thumbs) if not crops]
    assert empty
    for i, why in enumerate(answer.scene.empty):
        nearest = in_words(answer.objects[i]["neighbours"][0])
        limit = "nothing within distance 0.000 (show.max_distance); nearest: "
        assert why == (f"{limit}{nearest}" if i in empty else "")
    for text in ("names", "none"):
        picture = sheet(answer, load_settings(None, [alone, f"show.text={text}"]))
        strips = [picture[484 + 80 * i : 556 + 80 * i, 150:] for i in empty]
        assert all(strip.std(axis=(0, 1)).min() > 2 for strip in strips)


def test_the_sheet_has_further_neighbours_where_a_line_is_not_full(ask, photos):
    photo, few = photos / "skimage-astronaut.png", "show.results=5"
    filled, plain = ask(photo, few), ask(photo, few, "show.fill=false")
    assert filled.objects == plain.objects
    for more, some, item in zip(filled.scene.thumbs, plain.scene.thumbs, plain.objects, strict=True):
        assert len(more) > len(some) == len(item["neighbours"]) == 5
        assert all(np.array_equal(a, b) for a, b in zip(more[:5], some, strict=True))
    ends = [
        np.flatnonzero(np.any(sheet(answer, load_settings(None, [few]))[482:558] > 60, axis=(0, 2))).max()
        for answer in (filled, plain)
    ]
    assert ends[0] > ends[1] + 76


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_a_sheet_for_a_large_screen_has_everything_in_proportion(ask, photos, scale):
    large = f"show.window_wh={1280 * scale}x{720 * scale}"
    answer = ask(photos / "skimage-coffee.png", large)
    n = len(answer.objects)
    assert n > 0
    assert sheet(answer, load_settings(None, [large])).shape == (scale * (480 + n * 80), scale * 1280, 3)
    assert {len(crop) for crops in answer.scene.thumbs for crop in crops} == {76 * scale}


@pytest.mark.parametrize(("most", "note"), [(1, "1 object found"), (2, "2 objects found")])
def test_one_object_is_counted_as_one(ask, photos, most, note):
    answer = ask(photos / "skimage-coffee.png", f"detect.max_objects={most}", "detect.threshold=0.1")
    assert note in answer.scene.notes


def test_exact_and_approximate_search_agree(ask, photos):
    exact = ask(photos / "skimage-coffee.png", "search.exact=true")
    near = ask(photos / "skimage-coffee.png")
    for a, b in zip(exact.objects, near.objects, strict=True):
        assert a["neighbours"][0] == b["neighbours"][0]


def test_the_whole_image(ask, photos):
    answer = ask(photos / "skimage-moon.png", "detect.whole_image=true", "detect.threshold=1")
    (item,) = answer.objects
    assert (item["label"], item["score"]) == ("whole image", 1)
    assert item["xyxy"] == [0, 0, 512, 512]


def test_the_sheet_is_high_enough_for_every_strip(ask, photos):
    answer = ask(photos / "skimage-coffee.png", "detect.threshold=0.05", "detect.max_overlap=1")
    strips = len(answer.objects)
    assert strips >= 3
    picture = sheet(answer, Settings())
    assert picture.shape == (480 + 80 * strips, 1280, 3)
    seen = 0
    for i in range(strips):
        top = 484 + 80 * i
        assert tuple(picture[top + 38, 2]) == object_colour(i)
        if len(answer.scene.thumbs[i]) < 6:
            continue
        seen += 1
        thumb = answer.scene.thumbs[i][0]
        wide = round(0.95 * thumb.shape[1])  # a little smaller, to end at the edge
        drawn = picture[top + 2 : top + 74, 136 : 136 + wide]
        own, other = (
            np.abs(drawn.astype(float) - cv2.resize(crop, drawn.shape[1::-1])).mean()
            for crop in (thumb, answer.scene.thumbs[i][5])
        )
        assert own < 25 < other
    assert seen


def test_photos_that_cannot_be_read(ask, tmp_path):
    (tmp_path / "text.jpg").write_text("no picture")
    for name in ("text.jpg", "missing.jpg"):
        with pytest.raises(PhotoError, match=name):
            ask(tmp_path / name)


def test_photos_that_are_too_large(ask, photos):
    with pytest.raises(PhotoError, match="megapixels"):
        ask(photos / "skimage-coffee.png", "analyze.max_photo_mp=0.1")
