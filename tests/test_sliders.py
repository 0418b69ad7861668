"""Sliders: a panel drawn into the picture, and a mouse that drags."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtsearch.config import Settings, ShowSettings
from rtsearch.render.layout import canvas_of, lay_out
from rtsearch.render.sliders import (
    SHOW_SLIDERS,
    SLIDERS,
    draw_sliders,
    panel_room,
    panel_wh,
    panel_xy,
    value_at,
)

XY = (100, 20)
PANEL_WH = panel_wh()
LOWEST = [slider.low for slider in SLIDERS]
KNOB = (80, 175, 255)


def panel(values, wh=(500, 300), xy=XY, scale=1.0):
    picture = np.full((wh[1], wh[0], 3), 90, np.uint8)
    draw_sliders(picture, xy, values, scale)
    return picture


def knob_share(picture, row):
    """Where the knob of a slider stands between its ends, 0..1."""
    top = XY[1] + 6 + row * 36 + 20
    columns = np.flatnonzero((picture[top, XY[0] : XY[0] + PANEL_WH[0]] == KNOB).all(1))
    return (columns.mean() - 14) / (PANEL_WH[0] - 28)


def test_the_ranges_are_those_of_the_settings():
    for slider in SLIDERS:
        field = type(getattr(Settings(), slider.section)).model_fields[slider.key]
        limits = {type(m).__name__: getattr(m, type(m).__name__.lower()) for m in field.metadata}
        assert (limits["Ge"], limits["Le"]) == (slider.low, slider.high), slider
        assert slider.low <= getattr(getattr(Settings(), slider.section), slider.key) <= slider.high


def test_the_panel_lies_where_it_was_put_and_nowhere_else():
    picture = panel(LOWEST)
    inside = picture[XY[1] : XY[1] + PANEL_WH[1], XY[0] : XY[0] + PANEL_WH[0]].copy()
    assert (inside != 90).any(axis=2).mean() > 0.9
    picture[XY[1] : XY[1] + PANEL_WH[1], XY[0] : XY[0] + PANEL_WH[0]] = 90
    assert (picture == 90).all()


@pytest.mark.parametrize(
    ("window_wh", "sources", "scale", "xy"),
    [
        ((1280, 720), 1, 1.0, (972, 8)),
        ((1280, 720), 2, 1.0, (972, 720 - PANEL_WH[1] - 8)),
        ((1080, 1920), 1, 1.5, (618, 1920 - 1.5 * PANEL_WH[1] - 12)),
        ((1080, 1920), 2, 1.5, (618, 1920 - 1.5 * PANEL_WH[1] - 12)),
        ((240, 160), 2, 1.0, (0, 0)),
    ],
)
def test_the_panel_stands_where_no_frame_is(window_wh, sources, scale, xy):
    assert panel_xy(window_wh, sources, scale) == xy


@pytest.mark.parametrize("window_wh", [(1280, 720), (1920, 1080), (3840, 2160), (1600, 720)])
@pytest.mark.parametrize("strips", [3, 4, 6, 9])
def test_the_panel_stands_beside_the_frame_that_leaves_it_room(window_wh, strips):
    canvas = canvas_of(ShowSettings(window_wh=window_wh))
    canvas = replace(canvas, controls_wh=panel_room(window_wh, 1, canvas.scale))
    x, _, width, _ = lay_out(canvas, (1280, 720), strips).frame
    assert x > 0
    assert x + width <= panel_xy(window_wh, 1, canvas.scale)[0]


@pytest.mark.parametrize("scale", [1.5, 3])
def test_the_panel_grows_and_the_mouse_with_it(scale):
    wh = (round(PANEL_WH[0] * scale), round(PANEL_WH[1] * scale))
    picture = panel(LOWEST, (1200, 800), XY, scale)
    lit = np.argwhere((picture != 90).any(2))
    assert lit.min(0).tolist() == [XY[1], XY[0]]
    assert (lit.max(0) + 1).tolist() == [XY[1] + wh[1], XY[0] + wh[0]]
    for row, slider in enumerate(SLIDERS):
        y = XY[1] + round((6 + row * 36 + 25) * scale)
        knob = np.flatnonzero((picture[y, XY[0] : XY[0] + wh[0]] == KNOB).all(1))
        x = XY[0] + round((knob.min() + knob.max()) / 2)
        assert abs(x - (XY[0] + 14 * scale)) <= 2
        assert value_at(XY, (x + round(272 * scale), y), None, scale) == (row, slider.high)


def test_fewer_sliders_have_a_lower_panel_and_values_of_their_own():
    values = [slider.low for slider in SHOW_SLIDERS]
    picture = np.full((300, 500, 3), 90, np.uint8)
    draw_sliders(picture, XY, values, sliders=SHOW_SLIDERS)
    lit = np.argwhere((picture != 90).any(2))
    assert tuple((lit.max(0) + 1 - lit.min(0))[::-1]) == panel_wh(len(SHOW_SLIDERS)) < PANEL_WH
    assert value_at(XY, (386, 30), sliders=SHOW_SLIDERS) == (0, SHOW_SLIDERS[0].high)
    assert value_at(XY, (386, 30 + 36 * len(SHOW_SLIDERS)), sliders=SHOW_SLIDERS) is None
    assert {slider.section for slider in SHOW_SLIDERS} == {"show"}
    assert panel_xy((1280, 720), 2, 1.0, len(SHOW_SLIDERS))[1] > panel_xy((1280, 720), 2)[1]


@pytest.mark.parametrize("wh", [(320, 240), (350, 180), (200, 100)])
def test_a_picture_smaller_than_the_panel(wh):
    assert panel(LOWEST, wh=wh, xy=(max(0, wh[0] - PANEL_WH[0]), 8)).shape == (wh[1], wh[0], 3)


@pytest.mark.parametrize("row", range(len(SLIDERS)))
def test_the_knob_stands_at_its_value(row):
    for share in (0.0, 0.5, 1.0):
        values = list(LOWEST)
        values[row] += share * (SLIDERS[row].high - SLIDERS[row].low)
        assert knob_share(panel(values), row) == pytest.approx(share, abs=0.01)


@pytest.mark.parametrize("row", range(len(SLIDERS)))
def test_numbers_change_with_the_value(row):
    values = list(LOWEST)
    before = panel(values)
    values[row] += SLIDERS[row].step
    after = panel(values)
    changed = np.flatnonzero((before != after).any(axis=(1, 2)))
    assert XY[1] + 6 + row * 36 <= changed[0]
    assert changed[-1] < XY[1] + 6 + (row + 1) * 36


@pytest.mark.parametrize(
    ("mouse", "hit"),
    [
        ((99, 30), None),
        ((400, 30), None),
        ((200, 19), None),
        ((200, 20), None),
        ((250, 20 + PANEL_WH[1] + 1), None),
        ((114, 30), (0, 0.0)),
        ((100, 30), (0, 0.0)),
        ((250, 30), (0, 0.5)),
        ((386, 30), (0, 1.0)),
        ((399, 30), (0, 1.0)),
        ((250, 30 + 36), (1, 0.5)),
        ((250, 30 + 72), (2, 290)),
        ((386, 30 + 108), (3, 420)),
        ((114, 30 + 144), (4, 5)),
    ],
)
def test_a_press_takes_the_slider_below_the_mouse(mouse, hit):
    assert value_at(XY, mouse) == hit


@given(st.integers(-3000, 3000), st.integers(-3000, 3000), st.integers(0, len(SLIDERS) - 1))
def test_a_held_slider_follows_the_mouse_anywhere(x, y, row):
    held = value_at(XY, (x, y), row)
    assert held is not None
    assert held[0] == row
    slider = SLIDERS[row]
    assert slider.low <= held[1] <= slider.high
    steps = (held[1] - slider.low) / slider.step
    assert steps == pytest.approx(round(steps), abs=1e-6)
    kind = type(getattr(getattr(Settings(), slider.section), slider.key))
    Settings.model_validate({slider.section: {slider.key: kind(held[1])}})


@given(st.integers(0, len(SLIDERS) - 1), st.integers(0, PANEL_WH[0] - 1))
def test_the_knob_comes_to_the_mouse(row, x):
    hit = value_at(XY, (XY[0] + x, XY[1] + 20 + row * 36))
    assert hit is not None
    values = list(LOWEST)
    values[row] = hit[1]
    share = min(1.0, max(0.0, (x - 14) / (PANEL_WH[0] - 28)))
    step_share = SLIDERS[row].step / (SLIDERS[row].high - SLIDERS[row].low)
    assert knob_share(panel(values), row) == pytest.approx(share, abs=step_share / 2 + 0.01)
