"""Lines of crops end flush with the edge: none is cut, none is enlarged."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtsearch.render.justify import line_ends, line_places
from rtsearch.render.layout import Place

GAP, HEIGHT = 4, 100
LINE: Place = (50, 20, 1000, HEIGHT)
TWO: Place = (50, 20, 1000, 2 * HEIGHT + GAP)

shapes = st.lists(st.floats(1 / 3, 2), max_size=40)


@pytest.mark.parametrize(
    ("wide", "room", "ends"),
    [
        ([], 4.0, []),
        ([1.0], 4.0, []),
        ([1.0] * 4, 4.0, [4]),
        ([1.0] * 9, 4.0, [4, 8]),
        ([3.0, 2.0, 2.0, 2.0], 4.0, [2, 4]),
        ([9.0, 1.0], 4.0, [1]),
    ],
)
def test_a_line_ends_with_the_crop_that_fills_it(wide: list[float], room: float, ends: list[int]) -> None:
    assert line_ends(wide, room, 0.0) == ends


def test_gaps_count() -> None:
    assert line_ends([1.0] * 8, 4.4, 0.1) == [4, 8]


@given(shapes, st.sampled_from([LINE, TWO]))
def test_crops_keep_their_shape_and_lie_apart_inside_the_strip(wide: list[float], strip: Place) -> None:
    places = line_places(wide, strip, HEIGHT, GAP)
    x, y, width, height = strip
    for shape, (left, top, w, h) in zip(wide, places, strict=False):
        assert x <= left
        assert left + w <= x + width + 1
        assert y <= top
        assert top + h <= y + height
        assert h <= HEIGHT
        assert w == pytest.approx(shape * h, abs=1 + shape / 2)  # both sides are rounded
    for (x1, y1, w1, _), (x2, y2, *_) in pairwise(places):
        assert x2 - x1 - w1 in (GAP - 1, GAP, GAP + 1) or y2 > y1


@given(shapes)
def test_a_line_that_is_filled_ends_at_the_edge(wide: list[float]) -> None:
    places = line_places(wide, LINE, HEIGHT, GAP)
    full = line_ends(wide, (LINE[2] + GAP) / HEIGHT, GAP / HEIGHT)
    if full:
        assert len(places) == full[0]
        assert places[-1][0] + places[-1][2] == pytest.approx(LINE[0] + LINE[2], abs=1)
        assert len({(top, h) for _, top, _, h in places}) == 1
    else:
        assert len(places) == len(wide)
        assert all(h == HEIGHT for *_, h in places)


def test_crops_that_do_not_fit_into_a_line_stand_in_the_next() -> None:
    places = line_places([1.0] * 30, TWO, HEIGHT, GAP)
    lines = sorted({top for _, top, *_ in places})
    assert len(lines) == 2
    assert [sum(top == line for _, top, *_ in places) for line in lines] == [10, 10]


def test_more_crops_move_none_of_the_lines_before() -> None:
    wide = [0.5, 1.2, 0.9] * 10
    few = line_places(wide[:15], LINE, HEIGHT, GAP)
    assert line_places(wide, TWO, HEIGHT, GAP)[: len(few)] == few
