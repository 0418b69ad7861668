"""A walk through the library while nobody is there."""

from __future__ import annotations

from itertools import pairwise

import pytest

from rtsearch.config import SearchSettings
from rtsearch.library.index import SearchIndex
from rtsearch.live.walk import STOP_S, Walk, Walked, alike

SEARCH = SearchSettings()


def test_a_walk_begins_after_a_while_and_ends_at_once(blob_index: SearchIndex) -> None:
    walk = Walk(SEARCH)

    def at(at_s: float, *, seen: bool = False) -> Walked:
        return walk.at(at_s, blob_index, 20.0, seen=seen)

    assert at(5.0) == at(24.9) == Walked()
    first = at(25.0)
    assert (first.first, len(first.stops)) == (0, 1)
    second = at(25.0 + STOP_S)
    assert second.stops == (first.stops[0], first.coming)
    third = at(25.0 + 2 * STOP_S)
    assert (third.first, third.stops) == (1, (first.coming, second.coming))
    assert at(26.0 + 2 * STOP_S, seen=True) == Walked()
    assert at(45.0 + 2 * STOP_S) == Walked()
    assert len(at(46.0 + 2 * STOP_S).stops) == 1
    assert at(3.0) == Walked()  # the source has gone back


def test_a_stop_is_like_the_one_before_but_now_and_then(blob_index: SearchIndex) -> None:
    walk = Walk(SEARCH)
    walk.at(0.0, blob_index, 1.0, seen=False)
    seen = [walk.at(1.0 + i * STOP_S, blob_index, 1.0, seen=False).stops[-1] for i in range(12)]
    for number, (before, stop) in enumerate(pairwise(seen), 1):
        assert stop[0] != before[0]
        if number % 4:
            assert stop[0] in before[1:9]
    assert len({stop[0] for stop in seen}) > 6


def test_no_walk_where_none_is_wanted(blob_index: SearchIndex) -> None:
    walk = Walk(SEARCH)
    for at_s in (0.0, 1e6):
        assert walk.at(at_s, blob_index, 0.0, seen=False) == Walked()


@pytest.mark.parametrize("most", [1, 3, 40])
def test_those_alike_are_of_other_photos_each(blob_index: SearchIndex, most: int) -> None:
    rows = alike(blob_index, 4, most, SEARCH, 1e3)
    photos = blob_index.photo_numbers[[4, *rows]].tolist()
    assert len(photos) == len(set(photos)) == min(most, 11) + 1
    exact = blob_index.near(blob_index.points(blob_index.findable()[[4]]), 36, exact=True)
    distance = dict(zip(exact.row[0].tolist(), exact.distance[0].tolist(), strict=True))
    assert [distance[row] for row in rows] == sorted(distance[row] for row in rows)
    assert alike(blob_index, 4, most, SEARCH, -1.0) == ()
