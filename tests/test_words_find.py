"""Objects that words describe, in a library of real photos, against a plain rereading of all of it."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest

from rtsearch.config import load_settings
from rtsearch.images.colour_names import COLOUR_NAMES, crop_colours
from rtsearch.library.narrowing import narrow
from rtsearch.library.thumbnails import ThumbCache
from rtsearch.words import find_words, parse_request


@pytest.fixture(scope="module")
def found(index):
    def rows(text: str, k: int = 10_000) -> list[int]:
        request = parse_request(text, index.library.space.class_names)
        return [hit.row for hit in find_words(index, request, k)]

    return rows


@pytest.fixture(scope="module")
def objects(index):
    """(label, photo) of every object, as words."""
    return [(hit["label"], hit["photo"]) for hit in index.hits(np.arange(len(index)))]


def test_a_noun_finds_all_objects_of_its_class(found, objects):
    assert sorted(found("people")) == [row for row, (label, _) in enumerate(objects) if label == "person"]
    assert found("toaster") == []


def test_every_photo_comes_before_the_second_object_of_any(found, objects):
    photos = [objects[row][1] for row in found("person")]
    turns = [photos[:i].count(photo) for i, photo in enumerate(photos)]
    assert turns == sorted(turns)
    assert turns[-1] > 0


def test_the_first_hits_are_those_of_a_longer_list(index, found, objects):
    every = found("person")
    area = np.prod(index.boxes[:, 2:] - index.boxes[:, :2], axis=1)
    photos = {objects[row][1] for row in every}
    slowly = sorted(every, key=lambda row: (-area[row], row))
    slowly = [next(row for row in slowly if objects[row][1] == photo) for photo in photos]
    slowly.sort(key=lambda row: -area[row])
    for k in (1, 2, 5, len(photos), len(photos) + 3, len(every)):
        assert found("person", k) == every[:k]
        assert area[found("person", k)[: len(photos)]].tolist() == area[slowly[:k]].tolist()


def test_only_what_searches_give_is_found(index, objects):
    settings = load_settings(None, ["search.classes=cup,person"]).search
    part = narrow(index, settings, distinct=True)
    first: dict[int, int] = {}  # row that stands for each group of near duplicates
    for row, (label, _) in enumerate(objects):
        if label in ("cup", "person"):
            first.setdefault(int(index.leaders[row]), row)
    names = index.library.space.class_names
    for text in ("person", "cup", "person with a car"):
        every = {hit.row for hit in find_words(index, parse_request(text, names), 10_000)}
        assert every
        given = {hit.row for hit in find_words(part, parse_request(text, names), 10_000)}
        assert given == every & set(first.values())
    other = next(label for label, _ in objects if label not in ("cup", "person"))
    assert find_words(part, parse_request(other, names)) == []
    assert find_words(index, parse_request(other, names))


def test_a_number_is_that_of_the_photo(found, objects):
    counts = Counter(photo for label, photo in objects if label == "person")
    for number in (1, 2, 3):
        rows = found(f"{number} persons")
        assert {objects[row][1] for row in rows} == {p for p, count in counts.items() if count == number}
        assert len(rows) == number * sum(count == number for count in counts.values())


def test_further_nouns_must_be_in_the_photo(found, objects):
    cars = {photo for label, photo in objects if label == "car"}
    rows = found("person with a car")
    assert rows
    assert sorted(rows) == [
        row for row, (label, photo) in enumerate(objects) if label == "person" and photo in cars
    ]


@pytest.mark.parametrize("colour", ["red", "white", "grey", "green"])
def test_colours_order_by_their_share_of_the_crop(index, found, colour):
    request = parse_request(f"{colour} vehicle", index.library.space.class_names)
    hits = find_words(index, request, 8)
    name, crops = COLOUR_NAMES.index(colour), ThumbCache(index.thumb_places, 1 << 24)
    shares = {row: float(crop_colours(crops.get(row))[name]) for row in found("vehicle")}
    most = sorted((share for share in shares.values() if share >= 0.1), reverse=True)[:8]
    near = 0.02  # large crops are decoded at a half or a quarter
    assert [hit.share for hit in hits] == pytest.approx(most, abs=near)
    assert all(shares[hit.row] == pytest.approx(hit.share, abs=near) for hit in hits)


def test_the_command_answers_in_words_and_json(rtsearch, library, tmp_path):
    done = rtsearch("find", library, "black", "cars", "--results", 3, "--out", tmp_path / "cars.png")
    assert done.returncode == 0, done.stderr
    assert "looked for car in black: 3 objects" in done.stderr
    assert len(done.stdout.splitlines()) == 3
    assert "% black" in done.stdout
    assert (tmp_path / "cars.png").stat().st_size > 1000
    answer = json.loads(rtsearch("find", library, "black cars", "--results", 3, "--json").stdout)
    assert answer["looked_for"] == "car in black"
    assert [item["label"] for item in answer["objects"]] == ["car"] * 3
    assert answer["unused"] == []


def test_the_command_names_words_without_effect(rtsearch, library):
    words = ("find", library, "black automobile and two", "--results", 3)
    assert (
        'looked for car in black ("automobile" means car; "two" changes nothing): 3'
        in rtsearch(*words).stderr
    )
    assert json.loads(rtsearch(*words, "--json").stdout)["unused"] == ["two"]


def test_nothing_that_is_found_is_no_picture(rtsearch, library, tmp_path):
    done = rtsearch("find", library, "toaster", "--out", tmp_path / "none.png")
    assert done.returncode == 0, done.stderr
    assert "nothing was found, so" in done.stderr
    assert not (tmp_path / "none.png").exists()


def test_the_command_names_words_that_it_does_not_know(rtsearch, library):
    done = rtsearch("find", library, "striped umbrela")
    assert done.returncode == 2
    assert '"striped" is not known' in done.stderr
