"""Crops in lines: all of them seen, as large as can be, at rest while little changes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtsearch.render.strip import draw_crops, line_height
from rtsearch.types import U8Array

GAP = 2
LIMITS = (60, 180)
ROOM = (500, 3 * 62 - GAP)
GROUND = 22


def crop(width: int, height: int = 60, value: int = 200) -> U8Array:
    return np.full((height, width, 3), value, np.uint8)


def lines_of(crops: list[U8Array | None], height: int, wh: tuple[int, int] = ROOM) -> list[list[int]]:
    """What stands in each line, by colour."""
    strip = np.full((wh[1], wh[0], 3), GROUND, np.uint8)
    draw_crops(strip, crops, height, GAP, (1, 1, 1))
    starts = range(0, wh[1] - height + 1, height + GAP)
    found = []
    for y in starts:
        values = strip[y + height // 2, :, 0].tolist()
        found.append(list(dict.fromkeys(v for v in values if v != GROUND)))
    return found


@pytest.mark.parametrize(
    ("widths", "height"),
    [
        ([], 180),
        ([60], 180),
        ([60] * 3, 160),
        ([60] * 8, 91),
        ([60] * 16, 60),
        ([60] * 24, 60),
        ([60] * 99, 60),
        ([30] * 16, 91),
    ],
)
def test_lines_are_as_high_as_all_crops_allow(widths: list[int], height: int) -> None:
    assert line_height([crop(w) for w in widths], ROOM, GAP, LIMITS) == pytest.approx(height, rel=0.05)


@given(st.lists(st.integers(20, 180), max_size=40), st.integers(1, 6), st.integers(200, 2000))
def test_all_are_seen_or_lines_are_as_low_as_may_be(widths: list[int], lines: int, width: int) -> None:
    wh = width, lines * 62 - GAP
    crops: list[U8Array | None] = [crop(w, value=30 + i) for i, w in enumerate(widths)]
    height = line_height(crops, wh, GAP, LIMITS)
    assert LIMITS[0] <= height <= LIMITS[1] or lines == 1
    seen = [value for line in lines_of(crops, height, wh) for value in line]
    assert seen == sorted(seen)
    assert len(seen) == len(widths) or height == LIMITS[0]


def test_a_height_stays_while_it_is_nearly_the_best() -> None:
    eight, seven, four = ([crop(60)] * n for n in (8, 7, 4))
    first = line_height(eight, ROOM, GAP, LIMITS)
    assert line_height(seven, ROOM, GAP, LIMITS, first) == first
    assert line_height(four, ROOM, GAP, LIMITS, first) > first
    assert line_height([crop(60)] * 24, ROOM, GAP, LIMITS, first) == 60


def test_a_crop_that_is_not_there_yet_changes_no_height() -> None:
    assert line_height([crop(60), None], ROOM, GAP, LIMITS) == 60
    assert line_height([crop(60), None], ROOM, GAP, LIMITS, 150) == 150


def test_a_strip_of_one_line_has_no_other_height() -> None:
    assert line_height([crop(10)], (500, 60), GAP, LIMITS) == 60


def test_lines_are_filled_one_after_the_other_and_the_last_is_cut() -> None:
    crops: list[U8Array | None] = [crop(200, value=30 + i) for i in range(9)]
    assert lines_of(crops, 60) == [[30, 31], [32, 33], [34, 35, 36]]
    crops[1] = None  # as wide as a line is high
    assert lines_of(crops, 60) == [[30, 1, 32], [33, 34], [35, 36, 37]]
    assert lines_of([crop(900, value=40), crop(60, value=41)], 60) == [[40], [41], []]


@given(st.lists(st.integers(20, 300), min_size=1, max_size=40), st.integers(1, 4), st.integers(100, 900))
def test_lines_end_flush_with_the_edge(widths: list[int], lines: int, room: int) -> None:
    strip = np.full((lines * 62 - GAP, room, 3), GROUND, np.uint8)
    crops: list[U8Array | None] = [crop(w, value=30 + i) for i, w in enumerate(widths)]
    draw_crops(strip, crops, 60, GAP, (1, 1, 1))
    for top in range(0, (lines - 1) * 62, 62):
        line, below = strip[top, :, 0], strip[top + 62, :, 0]
        seen = [int(v) - 30 for v in dict.fromkeys(line.tolist()) if v != GROUND]
        if not (below != GROUND).any():  # the last one
            break
        own = sum(widths[i] for i in seen)
        end = int(np.flatnonzero(line != GROUND)[-1]) + 1
        filled = (room - GAP * (len(seen) - 1)) / own
        assert end == room or (filled > 1.2 and end == pytest.approx(own + GAP * (len(seen) - 1), abs=1))
        shown = [int((line == 30 + i).sum()) for i in seen]
        if filled >= 1:
            assert shown == pytest.approx(
                [widths[i] * (filled if filled <= 1.2 else 1) for i in seen], abs=1.01
            )


def test_a_widened_crop_keeps_its_shape_and_loses_more_of_its_foot() -> None:
    tall = np.repeat(np.arange(60, dtype=np.uint8)[:, None, None] + 100, 45, axis=1).repeat(3, axis=2)
    strip = np.full((122, 100, 3), GROUND, np.uint8)
    draw_crops(strip, [tall, tall, tall], 60, GAP, (1, 1, 1))
    rows = strip[:60, 5, 0].astype(int)
    assert (strip[:60, 99] != GROUND).all()
    lost_above, lost_below = rows[0] - 100, 159 - rows[-1]
    assert 1 <= lost_above < lost_below
    assert lost_above + lost_below == pytest.approx(60 * (1 - 90 / 98), abs=1.5)
    assert (strip[62:, 45:] == GROUND).all()  # the last line is as it comes


def test_crops_of_another_height_are_scaled() -> None:
    strip = np.full((90, 300, 3), GROUND, np.uint8)
    draw_crops(strip, [crop(40, 30), crop(120, 180)], 90, GAP, (1, 1, 1))
    assert (strip[:, :120] == 200).all()
    assert (strip[:, 120:122] == GROUND).all()
    assert (strip[:, 122:182] == 200).all()
    assert (strip[:, 182:] == GROUND).all()
