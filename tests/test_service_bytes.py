"""Bytes between a server and its clients: what was written is read, anything else is refused."""

from __future__ import annotations

import numpy as np
import pytest

from rtsearch.errors import ServiceError
from rtsearch.service.facts import RECORD, Facts
from rtsearch.service.protocol import (
    MOST_QUERIES,
    Answer,
    Asked,
    most_answer_bytes,
    read_answer,
    read_points,
    read_rows,
    write_answer,
)
from rtsearch.types import Neighbours

DIM, OBJECTS = 4, 100
ASKED = Asked(2, 3, 6, DIM, OBJECTS)


def an_answer() -> Answer:
    near = Neighbours(
        np.array([[5, 7, -1], [7, 99, 5]], np.int32),
        np.array([[0.5, 1.5, np.inf], [0.25, 2, 3]], np.float32),
    )
    records = np.zeros(3, RECORD)
    records["row"] = 5, 7, 99
    records["times_s"] = np.nan
    points = np.arange(12, dtype=np.float32).reshape(3, DIM)
    return Answer(near, Facts(records, points, ("a.jpg", "sub/ü.jpg", "\udcff.jpg")), (2, 5))


def test_what_is_written_is_read():
    answer = an_answer()
    body = write_answer(answer)
    assert len(body) <= most_answer_bytes(ASKED)
    read = read_answer(body, ASKED)
    np.testing.assert_array_equal(read.near.row, answer.near.row)
    np.testing.assert_array_equal(read.near.distance, answer.near.distance)
    assert read.facts.records.tobytes() == answer.facts.records.tobytes()
    np.testing.assert_array_equal(read.facts.points, answer.facts.points)
    assert (read.facts.paths, read.missing) == (answer.facts.paths, (2, 5))


def test_every_cut_answer_is_refused():
    body = write_answer(an_answer())
    for length in range(len(body)):
        with pytest.raises(ServiceError, match="cannot be used"):
            read_answer(body[:length], ASKED)
    with pytest.raises(ServiceError, match="its length"):
        read_answer(body + b"\0", ASKED)


@pytest.mark.parametrize(
    "asked",
    [
        ASKED._replace(n=1),
        ASKED._replace(k=2),
        ASKED._replace(facts=2),
        ASKED._replace(dim=5),
        ASKED._replace(objects=99),
    ],
)
def test_answers_to_something_else_are_refused(asked):
    with pytest.raises(ServiceError, match="cannot be used"):
        read_answer(write_answer(an_answer()), asked)


def test_altered_answers_are_refused_or_read_within_bounds():
    """Any byte may be another one: no error but ours, and no row that there is not."""
    body = bytearray(write_answer(an_answer()))
    rng = np.random.default_rng(0)
    for at in range(len(body)):
        altered = bytearray(body)
        altered[at] ^= int(rng.integers(1, 256))
        try:
            answer = read_answer(bytes(altered), ASKED)
        except ServiceError:
            continue
        assert answer.near.row.max() < OBJECTS
        assert np.isfinite(answer.facts.points).all()
        assert len(answer.facts.paths) == len(answer.facts.records)


def test_numbers_that_are_none_are_refused():
    answer = an_answer()
    for column, value in (
        ("row", -1),
        ("row", OBJECTS),
        ("xyxy", np.inf),
        ("times_s", np.inf),
        ("label", -2),
    ):
        records = answer.facts.records.copy()
        records[column][0] = value
        facts = answer.facts._replace(records=records)
        with pytest.raises(ServiceError, match="its numbers"):
            read_answer(write_answer(answer._replace(facts=facts)), ASKED)


@pytest.mark.parametrize("length", [0, 15, 17, 16 * MOST_QUERIES + 16])
def test_bodies_of_another_length(length):
    with pytest.raises(ServiceError, match=f"expected 1 to {MOST_QUERIES} points of 4 float32"):
        read_points(b"\0" * length, DIM)


def test_points_and_rows():
    assert read_points(np.ones((2, 4), "<f4").tobytes(), DIM).tolist() == [[1] * 4] * 2
    with pytest.raises(ServiceError, match="NaN or infinity"):
        read_points(np.full(4, np.inf, "<f4").tobytes(), DIM)
    assert read_rows(np.array([3, 1, 3], "<i4").tobytes(), 4).tolist() == [1, 3]
    for rows in ([4], [-1], [0] * 5000):
        with pytest.raises(ServiceError, match="the body"):
            read_rows(np.array(rows, "<i4").tobytes(), 4)
