"""How much of what words find is right, by kind of request: part of words.py.

    classes   a class: "dog"
    colours   a class and its colour, for each pair of two labels or more: "red bus"
    in        a colour that a person wears: "person in blue"
    numbers   two or three of a class: "two dogs"
    with      a class in photos with another: "person with a dog"; "on", "in" and "beside" mean the same

A search takes the detector's classes and boxes. Right is what persons labelled: the boxes of COCO, and for
colours the objects of ``words_colours.csv``. A hit is right where the labelled box that it overlaps most, by
half of their union, is of the class, and its photo holds what was asked for. With a colour, objects without a
label are left out of the ranking. Requests that fewer than ``FEWEST`` labelled objects fit are not made.

p_at_16 is the share of the first 16 hits that are right (of the first n where n < 16 labelled objects fit or
were found), the mean over the requests of a kind; found the share of requests that had any hit.
"""

from __future__ import annotations

import collections
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rtsearch.library.index import SearchIndex
from rtsearch.perception.detector import iou
from rtsearch.types import F32Array
from rtsearch.words import find_words, parse_request

__all__ = ["by_kind"]

FIRST = 16
FEWEST = 16  # labelled objects that fit a request of a kind other than colours
FEWEST_COLOURED = 2
LEAST_IOU = 0.5
NUMBERS = {2: "two", 3: "three"}

Counts = collections.Counter[str]


@dataclass(frozen=True)
class Labelled:
    """Labelled boxes of one photo: (n, 4) px, and the class of each."""

    xyxy: F32Array
    names: list[str]

    def at(self, box: F32Array) -> int | None:
        """Return the number of the box that overlaps one most; None where none does by half of the union."""
        overlaps = iou(box, self.xyxy)
        best = int(overlaps.argmax())
        return best if overlaps[best] >= LEAST_IOU else None


def by_kind(index: SearchIndex, boxes: Path, lines: list[dict[str, str]]) -> dict[str, Any]:
    """Return the scores of each kind.

    Args:
        index: library of the labelled photos.
        boxes: boxes in COCO's format.
        lines: objects whose colours were named.
    """
    truth = _truth(boxes)
    scores: dict[str, list[float | None]] = collections.defaultdict(list)
    names, photos, found = index.library.space.class_names, index.photo_numbers, index.boxes
    for asked in itertools.chain(_plain(truth), _coloured(lines)):
        hits = find_words(index, parse_request(asked.text, names), len(index))
        verdicts = [asked.fits(Path(index.paths[photos[hit.row]]).name, found[hit.row]) for hit in hits]
        right = [verdict for verdict in verdicts if verdict is not None][: min(FIRST, asked.fitting)]
        scores[asked.kind].append(float(np.mean(right)) if right else None)
    return {kind: _summary(values) for kind, values in scores.items()}


def _summary(values: list[float | None]) -> dict[str, float]:
    answered = [value for value in values if value is not None]
    return {
        "requests": len(values),
        "p_at_16": round(float(np.mean(answered)), 3),
        "found": round(len(answered) / len(values), 2),
    }


class Asked(NamedTuple):
    """Request of a kind: its text, the test of a hit, and the number of labelled objects that fit."""

    kind: str
    text: str
    fits: Callable[[str, F32Array], bool | None]
    fitting: int


def _truth(boxes: Path) -> dict[str, Labelled]:
    told = json.loads(boxes.read_text())
    names = {one["id"]: one["name"] for one in told["categories"]}
    photos = {one["id"]: Path(one["file_name"]).name for one in told["images"]}
    found: dict[str, list[tuple[list[float], str]]] = collections.defaultdict(list)
    for one in told["annotations"]:
        left, top, width, height = one["bbox"]
        box = [left, top, left + width, top + height]
        found[photos[one["image_id"]]].append((box, names[one["category_id"]]))
    return {
        photo: Labelled(np.array([box for box, _ in some], np.float32), [name for _, name in some])
        for photo, some in found.items()
    }


def _exactly(number: int, name: str) -> Callable[[Counts], bool]:
    return lambda count: count[name] == number


def _with(name: str) -> Callable[[Counts], bool]:
    return lambda count: count[name] > 0


def _plain(truth: dict[str, Labelled]) -> Iterator[Asked]:
    """Yield the requests without a colour."""
    counts = {photo: collections.Counter(some.names) for photo, some in truth.items()}
    classes = sorted({name for some in truth.values() for name in some.names})

    def request(kind: str, text: str, wanted: str, there: Callable[[Counts], bool]) -> Asked:
        def fits(photo: str, box: F32Array) -> bool:
            at = truth[photo].at(box) if photo in truth else None
            return at is not None and truth[photo].names[at] == wanted and there(counts[photo])

        return Asked(kind, text, fits, sum(count[wanted] for count in counts.values() if there(count)))

    for name in classes:
        yield from _if_enough(request("classes", name, name, lambda _: True))
        for number, word in NUMBERS.items():
            yield from _if_enough(request("numbers", f"{word} {name}", name, _exactly(number, name)))
    for one, other in itertools.permutations(classes, 2):
        text = f"{one} with a {other}"
        yield from _if_enough(request("with", text, one, _with(other)))


def _if_enough(asked: Asked) -> list[Asked]:
    return [asked] if asked.fitting >= FEWEST else []


def _coloured(lines: list[dict[str, str]]) -> Iterator[Asked]:
    """Yield the requests with a colour."""
    of_photo: dict[str, list[dict[str, str]]] = collections.defaultdict(list)
    for line in lines:
        of_photo[line["photo"]].append(line)
    labelled = {
        photo: Labelled(
            np.array(
                [[int(one[side]) for side in ("left", "top", "right", "bottom")] for one in some], np.float32
            ),
            [one["colours"] for one in some],
        )
        for photo, some in of_photo.items()
    }
    pairs = collections.Counter(
        (line["class"], colour) for line in lines for colour in line["colours"].split()
    )

    for (name, colour), count in sorted(pairs.items()):
        if count < FEWEST_COLOURED:
            continue

        def fits(photo: str, box: F32Array, colour: str = colour) -> bool | None:
            at = labelled[photo].at(box) if photo in labelled else None
            return None if at is None else colour in labelled[photo].names[at].split()

        kind, text = ("in", f"{name} in {colour}") if name == "person" else ("colours", f"{colour} {name}")
        yield Asked(kind, text, fits, count)
