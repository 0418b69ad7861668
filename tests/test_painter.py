"""A painter that goes from scene to scene shows what a fresh picture of each would."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtsearch.render.layout import Canvas, lay_out
from rtsearch.render.painter import Painter, compose
from rtsearch.render.theme import OBJECT_COLOURS, object_colour
from rtsearch.types import Detections, Frame, GoneStrip, Neighbours, Scene, U8Array

RNG = np.random.default_rng(1)
CROPS: tuple[U8Array, ...] = tuple(
    RNG.integers(0, 255, (60, width, 3), dtype=np.uint8) for width in (20, 60, 100)
)
PICTURES: tuple[U8Array, ...] = tuple(
    RNG.integers(0, 255, shape, dtype=np.uint8) for shape in ((90, 160, 3), (480, 640, 3), (200, 90, 3))
)


def scene_of(
    picture: int,
    objects: list[tuple[int, int, list[int]]],
    notes: tuple[str, ...] = (),
    held: int = -1,
    rows: int = -1,
    first: int = 0,
    gone: tuple[int, ...] = (),
) -> Scene:
    """Objects are (strip, percent, crops); crop 3 is not loaded; ``gone`` are strips of others."""
    n = len(objects)
    boxes = np.tile(np.array([10, 10, 60, 70], np.float32), (n, 1)) + np.arange(n, dtype=np.float32)[:, None]
    score = np.array([percent / 100 for _, percent, _ in objects], np.float32)
    found = Detections(boxes, score, np.zeros(n, np.int32), np.zeros((n, 0), np.float32))
    neighbours = Neighbours(np.zeros((n, 0), np.int32), np.zeros((n, 0), np.float32))
    crops = tuple(tuple(CROPS[c] if c < 3 else None for c in row) for _, _, row in objects)
    return Scene(
        Frame(0, 0.0, None, PICTURES[picture]),
        found,
        ("cup",) * n,
        neighbours,
        60,
        crops,
        notes,
        strips=tuple(strip for strip, _, _ in objects),
        held=frozenset({held} if 0 <= held < n else ()),
        rows=rows,
        first=first,
        gone=tuple(
            GoneStrip(strip, "dog", (CROPS[strip % 3], None))
            for strip in gone
            if strip not in {taken for taken, _, _ in objects}
        ),
    )


def canvas(wh: tuple[int, int], header: int, scale: float = 1.0) -> Canvas:
    return Canvas(
        wh, header, 60, 1, scale
    )  # one line a strip: the height of several depends on what was before


an_object = st.tuples(st.integers(0, 9), st.integers(30, 32), st.lists(st.integers(0, 3), max_size=6))
scenes = st.builds(
    scene_of,
    st.integers(0, 2),
    st.lists(an_object, max_size=5, unique_by=lambda entry: entry[0]),
    st.sampled_from([(), ("clip",), ("clip", "30 frames/s")]),
    st.integers(-1, 4),
    st.integers(-1, 6),
    st.integers(0, 2),
    st.sampled_from([(), (0,), (1, 3)]),
)
sizes = st.builds(
    canvas,
    st.sampled_from([(640, 360), (400, 500)]),
    st.sampled_from([100, 150]),
    st.sampled_from([1.0, 1.5]),
)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(scenes, sizes)))
def test_a_painter_shows_what_compose_draws(run: list[tuple[Scene, Canvas]]) -> None:
    painter = Painter()
    for scene, size in run:
        assert np.array_equal(painter.paint(scene, size), compose(scene, size))


@pytest.mark.parametrize("strip", [0, 1, 3])
def test_an_object_is_drawn_in_its_strip_and_colour(strip: int) -> None:
    picture = compose(scene_of(0, [(strip, 50, [1])], rows=4), canvas((640, 348), 100))
    tops = [102 + i * 62 for i in range(4)]
    assert [tuple(picture[top + 30, 2]) for top in tops] == [
        object_colour(strip) if i == strip else (22, 22, 22) for i in range(4)
    ]
    assert object_colour(strip) == OBJECT_COLOURS[strip]
    assert np.array_equal(picture[tops[strip] : tops[strip] + 60, 110:170], CROPS[1])


def test_an_object_that_is_missed_keeps_its_strip_and_for_a_moment_a_thin_box() -> None:
    size = canvas((640, 360), 100)
    header = lay_out(size, (160, 90), 1).header_height
    here, missed = scene_of(0, [(0, 50, [1])]), scene_of(0, [(0, 50, [1])], held=0)
    seen, held, long = (
        compose(scene, size) for scene in (here, missed, dataclasses.replace(missed, faint=frozenset({0})))
    )
    assert np.array_equal(seen[header:], held[header:])
    in_colour = [int((picture[:header] == object_colour(0)).all(2).sum()) for picture in (seen, held, long)]
    assert in_colour[0] > in_colour[1] > in_colour[2] == 0


def test_what_is_gone_is_drawn_dim() -> None:
    size = canvas((640, 360), 100)
    there = compose(scene_of(0, [(0, 50, [1]), (1, 50, [1])], rows=2), size)
    gone = compose(scene_of(0, [(0, 50, [1])], rows=2, gone=(1,)), size)
    first, top = lay_out(size, (160, 90), 2).strip_tops
    assert np.array_equal(gone[first:top], there[first:top])
    seen = there[top : top + 60, 110:170].astype(int)
    assert np.abs(gone[top : top + 60, 110:170] - (0.3 * seen + 0.7 * 22)).max() <= 1
    assert gone[top : top + 60, :108].max() < 100  # its name and its colour too


def test_a_large_picture_is_scaled_evenly() -> None:
    """Halving first must not lose rows or columns at the edges."""
    picture = np.zeros((723, 1283, 3), np.uint8)
    picture[:, 640:] = 200
    empty = scene_of(0, [])
    frame = Frame(0, 0.0, None, picture)
    bare = Scene(frame, empty.detections, (), empty.neighbours, 60, (), rows=4)
    size = canvas((640, 348), 100)
    x, y, width, height = lay_out(size, (1283, 723), 4).frame
    drawn = compose(bare, size)[y : y + height, x : x + width, 0].astype(int)
    assert abs(drawn.mean() - picture.mean()) < 2
    assert drawn[:, :86].max() == 0
    assert drawn[:, 91:].min() == 200


def test_the_score_of_a_strip_is_written_as_that_of_its_box() -> None:
    painter = Painter()
    painter.paint(scene_of(0, [(0, 92, [0])]), canvas((640, 480), 240))
    assert painter._strips[0].label.score == "0.92"


def test_notes_that_make_room_for_controls_leave_all_else_as_it_is() -> None:
    """The lines of a strip keep their height, which depends on what was before."""
    painter, wide = Painter(), Canvas((1280, 720), 200, 60, 16)
    crops = [(0, 60, [0, 1, 2] * 4), (1, 50, [1] * 3), (2, 40, [2] * 9)]
    scene = scene_of(0, crops, ("clip", "30 frames/s"), rows=4)
    before = painter.paint(scene_of(0, [(0, 60, [1] * 6), *crops[1:]], rows=4), wide)
    before = painter.paint(scene, wide).copy()
    with_controls = dataclasses.replace(wide, controls_wh=(316, 208))
    moved = painter.paint(scene, with_controls).copy()
    there, then = lay_out(wide, (160, 90), 4), lay_out(with_controls, (160, 90), 4)
    assert there.notes != then.notes
    below = then.header_height
    np.testing.assert_array_equal(moved[below:], before[below:])
    np.testing.assert_array_equal(painter.paint(scene, wide), before)
