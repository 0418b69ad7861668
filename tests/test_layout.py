"""Where things stand: the frame keeps its place, and nothing lies upon anything else."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtsearch.config import ShowSettings
from rtsearch.render.layout import Place, base_strips, canvas_of, lay_out, still_strips
from rtsearch.render.sliders import SLIDERS, panel_room

HD = (1280, 720)


def meet(a: Place, b: Place) -> bool:
    return a[0] < b[0] + b[2] and b[0] < a[0] + a[2] and a[1] < b[1] + b[3] and b[1] < a[1] + a[3]


@pytest.mark.parametrize(
    ("wh", "frame_wh", "strips"),
    [
        (HD, (1280, 720), 2),
        (HD, (640, 480), 2),
        (HD, (720, 1280), 5),  # beside it
        ((1920, 1080), (1280, 720), 2),
        ((3840, 2160), (1280, 720), 2),
        ((1080, 1920), (1280, 720), 6),
        ((1080, 1920), (720, 1280), 3),
        ((640, 480), (640, 480), 1),
        ((320, 240), (640, 480), 0),
    ],
)
def test_the_first_grid_has_large_strips(wh, frame_wh, strips):
    assert base_strips(canvas_of(ShowSettings(window_wh=wh)), frame_wh) == strips


@pytest.mark.parametrize(
    ("strips", "frame_height", "line"),
    [(0, 446, 133), (1, 446, 133), (2, 446, 133), (3, 446, 87), (4, 400, 76), (6, 240, 76), (20, 240, 76)],
)
def test_the_frame_keeps_its_place_while_strips_fit_below_it(strips, frame_height, line):
    layout = lay_out(canvas_of(ShowSettings()), (1280, 720), strips)
    x, y, width, height = layout.frame
    assert (height, layout.line_height) == (frame_height, line)
    assert y == 0
    assert x == (1280 - width) // 2


@pytest.mark.parametrize("frame_wh", [(1280, 720), (640, 480), (720, 1280)])
def test_up_to_a_number_of_strips_the_frame_stays(frame_wh):
    canvas = canvas_of(ShowSettings())
    still = still_strips(canvas, frame_wh)
    places = {n: lay_out(canvas, frame_wh, n).frame for n in range(base_strips(canvas, frame_wh), still + 1)}
    assert len(set(places.values())) == 1
    assert still == canvas.most_strips or lay_out(canvas, frame_wh, still + 1).frame not in places.values()


def test_an_upright_frame_stands_beside_its_strips():
    layout = lay_out(canvas_of(ShowSettings()), (720, 1280), 5)
    assert layout.frame == (0, 0, 405, 720)
    assert len(layout.strips) == 5
    assert {(x, width) for x, _, width, _ in layout.strips} == {(409, 871)}


def test_between_two_grids_everything_is_on_its_way():
    canvas = canvas_of(ShowSettings())
    low, between, high = (lay_out(canvas, (1280, 720), grid) for grid in (3, 3.5, 4))
    for a, there, b in zip(low.frame, between.frame, high.frame, strict=True):
        assert there == pytest.approx((a + b) / 2, abs=1)
    assert len(between.strips) == 3
    assert high.strips[1][1] < between.strips[1][1] < low.strips[1][1]


@pytest.mark.parametrize(
    ("show", "crops"),
    [
        ({"fill": False}, 16),
        ({"fill": False, "results": 100}, 100),
        ({}, 43),  # people standing, 30 px wide in 1280
        ({"window_wh": (2560, 1440)}, 43),
        ({"results": 50}, 50),
        ({"results": 5, "thumb_height": 420}, 8),
        ({"window_wh": (4000, 400), "thumb_height": 60}, 100),
    ],
)
def test_there_are_crops_to_fill_a_line_with(show, crops):
    assert canvas_of(ShowSettings(**show)).crops == crops


@pytest.mark.parametrize(
    ("wh", "scale"),
    [((320, 240), 1), (HD, 1), ((1920, 1080), 1.5), ((1080, 1920), 1.5), ((3840, 2160), 3), ((3840, 720), 1)],
)
def test_settings_are_those_of_a_picture_of_720_px(wh, scale):
    canvas = canvas_of(ShowSettings(window_wh=wh))
    assert (canvas.header_height, canvas.thumb_height, canvas.scale) == (200 * scale, 76 * scale, scale)


@pytest.mark.parametrize(
    ("header", "thumb", "strips"), [(200, 420, 1), (470, 411, 1), (480, 420, 1), (100, 60, 9)]
)
def test_there_is_always_a_strip(header, thumb, strips):
    canvas = canvas_of(ShowSettings(window_wh=HD, header_height=header, thumb_height=thumb))
    assert canvas.most_strips == strips
    assert len(lay_out(canvas, (640, 480), 12).strips) == strips


@given(
    st.tuples(st.integers(320, 4000), st.integers(240, 3000)),
    st.tuples(st.integers(1, 4000), st.integers(1, 3000)),
    st.tuples(st.integers(100, 480), st.integers(60, 420), st.integers(5, 100)),
    st.integers(0, 300),
    st.sampled_from(["all", "names", "none"]),
)
def test_nothing_lies_upon_anything_else_or_outside(wh, frame_wh, sizes, strips, text):
    header, thumb, results = sizes
    show = ShowSettings(window_wh=wh, header_height=header, thumb_height=thumb, results=results, text=text)
    canvas = canvas_of(show)
    layout = lay_out(canvas, frame_wh, strips)
    base = base_strips(canvas, frame_wh)
    assert len(layout.strips) == min(max(strips, base), canvas.most_strips)
    parts = [layout.frame, *layout.strips]
    for x, y, width, height in (*parts, layout.notes):
        assert x >= 0
        assert y >= 0
        assert width > 0
        assert height > 0 or text != "all" or (x, y, width, height) == layout.notes
        assert x + width <= wh[0]
        assert y + height <= wh[1]
    assert not any(meet(one, other) for one, other in combinations(parts, 2))
    assert not any(meet(layout.notes, strip) for strip in layout.strips)
    assert meet(layout.notes, layout.frame) == (layout.notes_are == "over" and layout.notes[3] > 0)
    assert all(height >= canvas.thumb_height for *_, height in layout.strips)


@pytest.mark.parametrize(
    ("frame_wh", "strips", "left", "right"),
    [
        ((1280, 720), 3, 171, 316),  # notes and controls
        ((1280, 720), 6, 233, 620),  # one beside the other, where the frame is low
    ],
)
def test_the_frame_stands_in_the_middle_where_notes_and_controls_have_room(frame_wh, strips, left, right):
    layout = lay_out(canvas_of(ShowSettings(text="all")), frame_wh, strips)
    x, _, width, _ = layout.frame
    assert (x, 1280 - x - width) == (left, right)


@given(
    st.tuples(st.integers(320, 4000), st.integers(240, 3000)),
    st.tuples(st.integers(1, 4000), st.integers(1, 3000)),
    st.tuples(st.integers(100, 480), st.integers(60, 420), st.integers(5, 100)),
    st.integers(0, 300),
    st.integers(0, len(SLIDERS)),
)
def test_no_note_is_placed_under_the_controls(wh, frame_wh, sizes, strips, sliders):
    header, thumb, results = sizes
    show = ShowSettings(window_wh=wh, header_height=header, thumb_height=thumb, results=results, text="all")
    without = canvas_of(show)
    canvas = replace(without, controls_wh=panel_room(wh, 1, without.scale, sliders))
    layout, before = lay_out(canvas, frame_wh, strips), lay_out(without, frame_wh, strips)
    x, y, width, height = layout.notes
    low, left = canvas.controls_wh[1], wh[0] - canvas.controls_wh[0]
    assert not height or x + width <= left or y >= low
    assert replace(layout, notes=before.notes, notes_are=before.notes_are) == before  # all else stays
    if before.notes[0] + before.notes[2] <= left or before.notes[1] >= low:
        assert layout.notes == before.notes


@pytest.mark.parametrize(
    ("wh", "strips"), [(HD, 4), (HD, 6), ((640, 480), 4), ((640, 480), 1), ((1920, 1080), 6)]
)
def test_notes_keep_room_beside_or_below_the_controls(wh, strips):
    canvas = canvas_of(ShowSettings(window_wh=wh, text="all"))
    canvas = replace(canvas, controls_wh=panel_room(wh, 1, canvas.scale))
    layout = lay_out(canvas, (1280, 720), strips)
    assert layout.notes[2] >= canvas.px(108)
    assert layout.notes[3] >= canvas.px(26)
