"""Requests in words: what is understood, and what is refused with a hint."""

from __future__ import annotations

import re

import pytest

from rtsearch.errors import WordsError
from rtsearch.models.vocabulary import _SYNONYMS
from rtsearch.words import parse_request

COCO = tuple(_SYNONYMS)


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("cup", "cup"),
        ("red mug", "cup in red"),
        ("a RED  Mug!", "cup in red"),
        ("two dogs", "2 x dog"),
        ("2 dogs", "2 x dog"),
        ("person in blue", "person in blue"),
        ("woman wearing black", "person in black"),
        ("a person in blue with a red bike", "person in blue, in photos with bicycle in red"),
        ("dog on a sofa", "dog, in photos with couch"),
        ("three red cups and a laptop", "3 x cup in red, in photos with laptop"),
        ("orange", "orange"),
        ("an orange cup", "cup in orange"),
        ("orange oranges", "orange in orange"),
        ("two oranges", "2 x orange"),
        ("tennis rackets", "tennis racket"),
        ("wine glasses", "wine glass"),
        ("people", "person"),
        ("mice", "mouse"),
        ("knives", "knife"),
        ("hot dogs", "hot dog"),
        ("gray cat", "cat in grey"),
        ("luggage", "backpack or suitcase"),
        ("photos of my dog", "dog"),
        ("cat in red", "cat in red"),
        ("woman in a red dress with a dog", "person in red, in photos with dog"),
        ("cat in a red suitcase", "cat, in photos with suitcase in red"),
    ],
)
def test_what_is_understood(text, meaning):
    assert parse_request(text, COCO).meaning(COCO) == meaning


@pytest.mark.parametrize(
    ("text", "remarks", "unused"),
    [
        ("red cup", "", ()),
        ("two of my cups on a table", '"table" means dining table', ()),
        ("animal", "", ()),  # its meaning lists what it means
        ("woman in a red dress", '"woman" means person; "dress" changes nothing', ("dress",)),
        ("red blue cup", '"red" changes nothing', ("red",)),
        ("two three cups", '"two" changes nothing', ("two",)),
        ("cup two", '"two" changes nothing', ("two",)),
        ("person in a black suit and coat", '"suit" and "coat" change nothing', ("suit", "coat")),
    ],
)
def test_words_of_another_meaning_or_none_are_named(text, remarks, unused):
    request = parse_request(text, COCO)
    assert (request.remarks(COCO), request.unused) == (remarks, unused)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected 1 to 24 words"),
        ("   ?!", "expected 1 to 24 words"),
        ("cup " * 25, "expected 1 to 24 words"),
        ("man in jeans", '"jeans" is not known'),
        ("striped cup", '"striped" is not known; it is no class of the network (rtsearch model info'),
        ("umbrela", "did you mean umbrella"),
        ("red", "what is red?"),
        ("two", "name a thing to look for"),
        ("with a", "name a thing to look for"),
        ("dog in blue red", "what is red?"),
        ("собака", '"собака" is not known'),
        ("\x1b[31mred", "is not known"),
        ("100 dogs", '"100" is not known'),
        ("٣ dogs", '"٣" is not known'),
    ],
)
def test_what_is_refused(text, said):
    with pytest.raises(WordsError, match=re.escape(said)):
        parse_request(text, COCO)


def test_classes_of_other_networks_are_known_by_their_names():
    names = ("Hard_Hat", "vest", "cup")
    assert parse_request("yellow hard hats", names).meaning(names) == "Hard_Hat in yellow"
    assert parse_request("mug", names).meaning(names) == "cup"
    with pytest.raises(WordsError, match='"dog" is not known'):
        parse_request("dog", names)


def test_every_class_is_found_by_its_name_and_plural():
    for label, name in enumerate(COCO):
        for text in (name, f"{name}s", f"five {name}"):
            assert parse_request(text, COCO).main.labels == (label,), text
