"""Where things stand: the frame takes what the strips leave, and nothing lies upon anything else."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtsearch.config import ShowSettings
from rtsearch.render.layout import Canvas, canvas_of, lay_out
from rtsearch.render.sliders import SLIDERS, panel_room

HD = (1280, 720)


@pytest.mark.parametrize(
    ("wh", "header", "thumb", "strips", "tops", "frame_height"),
    [
        (HD, 200, 76, 0, (), 720),
        (HD, 200, 76, 1, (566,), 564),
        (HD, 200, 76, 2, (566, 644), 564),
        (HD, 200, 76, 6, (254, 332, 410, 488, 566, 644), 252),
        (HD, 200, 76, 20, (254, 332, 410, 488, 566, 644), 252),
        (HD, 480, 76, 20, (488, 566, 644), 486),
        (HD, 480, 420, 3, (), 720),
        ((320, 240), 200, 76, 3, (), 180),
        ((320, 240), 480, 76, 3, (), 180),
        ((640, 448), 200, 60, 4, (202, 264, 326, 388), 200),
        ((640, 447), 200, 60, 4, (263, 325, 387), 261),
    ],
)
def test_the_frame_takes_what_the_strips_leave(wh, header, thumb, strips, tops, frame_height):
    layout = lay_out(Canvas(wh, header, thumb, 16), (1280, 720), strips)
    assert layout.strip_tops == tops
    assert layout.frame[3] == frame_height


@pytest.mark.parametrize(
    ("wh", "frame_wh", "strips", "lines"),
    [
        (HD, (1280, 720), 0, 1),
        (HD, (1280, 720), 1, 2),
        (HD, (1280, 720), 2, 1),
        (HD, (640, 480), 1, 2),
        ((1080, 1920), (1280, 720), 3, 3),
        ((1080, 1920), (1280, 720), 9, 1),
    ],
)
def test_a_strip_has_lines_for_its_results_where_the_frame_stays_large(wh, frame_wh, strips, lines):
    show = ShowSettings(window_wh=wh)
    assert lay_out(canvas_of(show), frame_wh, strips).lines == lines


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


@pytest.mark.parametrize("strips", range(1, 12))
def test_crops_grow_where_the_frame_is_as_wide_as_the_picture(strips):
    canvas = canvas_of(ShowSettings(window_wh=(1080, 1920)))
    layout = lay_out(canvas, (1280, 720), strips)
    assert layout.header_height - layout.frame[3] - layout.notes[3] < 0.16 * 1920
    assert canvas.thumb_height <= layout.thumb_height <= 3 * canvas.thumb_height
    if strips == 1:
        assert layout.thumb_height > 1.5 * canvas.thumb_height
        assert layout.lines * (layout.strip_width - layout.label_width) >= 16 * layout.thumb_height


@pytest.mark.parametrize(
    ("wh", "scale"),
    [((320, 240), 1), (HD, 1), ((1920, 1080), 1.5), ((1080, 1920), 1.5), ((3840, 2160), 3), ((3840, 720), 1)],
)
def test_settings_are_those_of_a_picture_of_720_px(wh, scale):
    canvas = canvas_of(ShowSettings(window_wh=wh))
    assert (canvas.header_height, canvas.thumb_height, canvas.scale) == (200 * scale, 76 * scale, scale)


@pytest.mark.parametrize(
    ("header", "thumb", "strips"), [(200, 420, 1), (470, 411, 1), (480, 420, 1), (100, 60, 10)]
)
def test_there_is_always_a_strip(header, thumb, strips):
    canvas = canvas_of(ShowSettings(window_wh=HD, header_height=header, thumb_height=thumb))
    assert canvas.most_strips == strips
    assert len(lay_out(canvas, (640, 480), 12).strip_tops) == strips


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
    assert len(layout.strip_tops) == min(strips, canvas.most_strips)
    ends = [layout.header_height] + [top + layout.strip_height for top in layout.strip_tops]
    assert all(top > end for top, end in zip(layout.strip_tops, ends, strict=False))
    assert ends[-1] <= wh[1]
    if ends[-1] < wh[1] and strips:  # neither the frame nor the crops can use more
        assert layout.header_height <= max(layout.frame[3] + layout.notes[3], canvas.header_height)
        assert layout.frame[2] == wh[0] or layout.header_height == canvas.header_height
    assert layout.header_height >= min(canvas.header_height, wh[1])
    assert layout.thumb_height >= canvas.thumb_height
    assert layout.strip_height == layout.lines * (layout.thumb_height + layout.gap) - layout.gap
    for x, y, width, height in (layout.frame, layout.notes):
        assert x >= 0
        assert y >= 0
        assert width > 0
        assert (height > 0) or text != "all"
        assert x + width <= wh[0]
        assert y + height <= layout.header_height
    (x, y, width, height), (left, top, *_) = layout.frame, layout.notes
    upon = left < x + width and top < y + height
    assert upon == (layout.notes_are == "over")
    assert (layout.strip_width < wh[0]) == (strips > len(layout.strip_tops))


@pytest.mark.parametrize(
    ("frame_wh", "strips", "left", "right"),
    [
        ((1280, 720), 0, 0, 0),  # as wide as the picture
        ((1280, 720), 2, 0, 277),  # all that is left is for the notes
        ((1280, 720), 3, 100, 316),  # and the controls
        ((1280, 720), 6, 212, 620),  # one beside the other, where the frame is low
        ((300, 720), 0, 490, 490),
    ],
)
def test_the_frame_stands_in_the_middle_where_notes_and_controls_have_room(frame_wh, strips, left, right):
    layout = lay_out(canvas_of(ShowSettings()), frame_wh, strips)
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
    show = ShowSettings(window_wh=wh, header_height=header, thumb_height=thumb, results=results)
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
    canvas = canvas_of(ShowSettings(window_wh=wh))
    canvas = replace(canvas, controls_wh=panel_room(wh, 1, canvas.scale))
    layout = lay_out(canvas, (1280, 720), strips)
    assert layout.notes[2] >= canvas.px(108)
    assert layout.notes[3] >= canvas.px(26)
