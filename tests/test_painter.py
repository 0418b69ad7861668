"""A painter that goes from scene to scene crosses over to what a fresh picture of each would be."""

from __future__ import annotations

import dataclasses
import os
from collections import deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtsearch.render.layout import Canvas, lay_out
from rtsearch.render.painter import Painter, compose
from rtsearch.render.theme import DARK, OBJECT_COLOURS, object_colour
from rtsearch.types import Detections, Frame, Neighbours, Scene, U8Array

RNG = np.random.default_rng(1)
CROPS: tuple[U8Array, ...] = tuple(
    RNG.integers(0, 255, (60, width, 3), dtype=np.uint8) for width in (20, 60, 100, 100)
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
    now_s: float = 0.0,
) -> Scene:
    """Objects are (strip, percent, crops); crop 4 is not loaded."""
    n = len(objects)
    boxes = np.tile(np.array([10, 10, 60, 70], np.float32), (n, 1)) + np.arange(n, dtype=np.float32)[:, None]
    score = np.array([percent / 100 for _, percent, _ in objects], np.float32)
    found = Detections(boxes, score, np.zeros(n, np.int32), np.zeros((n, 0), np.float32))
    neighbours = Neighbours(np.zeros((n, 0), np.int32), np.zeros((n, 0), np.float32))
    crops = tuple(tuple(CROPS[c] if c < 4 else None for c in row) for _, _, row in objects)
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
        now_s=now_s,
    )


def canvas(wh: tuple[int, int], header: int, scale: float = 1.0) -> Canvas:
    return Canvas(wh, header, 60, 1, scale)


an_object = st.tuples(st.integers(0, 9), st.integers(30, 32), st.lists(st.integers(0, 4), max_size=6))
scenes = st.builds(
    scene_of,
    st.integers(0, 2),
    st.lists(an_object, max_size=5, unique_by=lambda entry: entry[0]),
    st.sampled_from([(), ("clip",), ("clip", "30 frames/s")]),
    st.integers(-1, 4),
    st.integers(-1, 6),
    st.integers(0, 2),
)
sizes = st.builds(
    canvas,
    st.sampled_from([(640, 360), (400, 500)]),
    st.sampled_from([100, 150]),
    st.sampled_from([1.0, 1.5]),
)


SIZE = canvas((640, 360), 100)


@pytest.mark.slow
@settings(max_examples=150 if "RTSEARCH_LONG" in os.environ else 50, deadline=None)
@given(st.lists(st.tuples(scenes, sizes, st.floats(0, 3), st.integers(0, 7))))
def test_once_all_is_over_a_painter_shows_what_compose_draws(
    run: list[tuple[Scene, Canvas, float, int]],
) -> None:
    """Pictures that somebody holds meanwhile stay as they are."""
    painter, now_s = Painter(), 0.0
    held: deque[tuple[U8Array, U8Array]] = deque(maxlen=3)

    def paint(scene: Scene, size: Canvas, now_s: float, *, holds: bool) -> U8Array:
        picture = painter.paint(dataclasses.replace(scene, now_s=now_s), size)
        if holds:
            held.append((picture, picture.copy()))
        return picture

    for scene, size, later_s, holds in run:
        now_s += later_s
        paint(scene, size, now_s, holds=bool(holds & 1))
        if painter.restless:
            paint(scene, size, now_s + later_s, holds=bool(holds & 2))
        settled = paint(scene, size, now_s + later_s + 0.25, holds=bool(holds & 4))
        assert not painter.restless
        assert np.array_equal(settled, compose(scene, size))
        assert all(np.array_equal(picture, then) for picture, then in held)
        now_s += later_s + 0.25


def test_a_picture_that_nobody_holds_is_drawn_over() -> None:
    painter, scene = Painter(), scene_of(0, [(0, 50, [1, 1])], rows=2)
    first = painter.paint(scene, SIZE)
    second = painter.paint(scene, SIZE)
    places = [picture.ctypes.data for picture in (first, second)]
    assert places[0] != places[1]
    part = first[10:20].data  # a part is enough
    del first, second
    assert painter.paint(scene, SIZE).ctypes.data == places[1]
    part.release()
    third = painter.paint(scene, SIZE)
    assert third.ctypes.data == places[1]
    assert painter.paint(scene, SIZE).ctypes.data == places[0]


ONE, TWO = [(0, 50, [1, 1])], [(0, 50, [1, 1]), (1, 50, [2])]


def steps(before: Scene, after: Scene, at_s: tuple[float, ...]) -> list[U8Array]:
    """Pictures of a change at 1 s, so many seconds later each."""
    painter = Painter()
    painter.paint(dataclasses.replace(before, now_s=0.9), SIZE)
    return [painter.paint(dataclasses.replace(after, now_s=1 + s), SIZE).copy() for s in at_s]


@pytest.mark.parametrize(("before", "after"), [(ONE, TWO), (TWO, ONE), (TWO, [TWO[0], (1, 50, [3])])])
def test_what_comes_goes_or_changes_crosses_over(before: list, after: list) -> None:
    old, new = (scene_of(0, objects, rows=2) for objects in (before, after))
    first, half, last = steps(old, new, (0.0, 0.125, 0.25))
    there, then = compose(old, SIZE), compose(new, SIZE)
    strips = slice(lay_out(SIZE, (160, 90), 2).strips[0][1], None)
    np.testing.assert_array_equal(first[strips], there[strips])
    np.testing.assert_array_equal(last, then)
    assert (half[strips] != there[strips]).any()
    assert (half[strips] != then[strips]).any()
    low, high = np.minimum(there, then).astype(int), np.maximum(there, then).astype(int)
    x, y, width, height = lay_out(SIZE, (160, 90), 2).strips[0]
    stays = half[y : y + height, x : x + width]
    np.testing.assert_array_equal(stays, there[y : y + height, x : x + width])  # the other strip
    if len(before) >= len(after):  # nothing slides
        assert ((half[strips] >= low[strips] - 1) & (half[strips] <= high[strips] + 1)).all()


def test_a_change_meanwhile_goes_on_from_what_is_seen() -> None:
    painter = Painter()
    picture = np.zeros(0, np.uint8)
    scenes = [scene_of(0, objects, rows=2) for objects in (ONE, TWO, TWO, ONE)]
    for scene, now_s in zip(scenes, (0.0, 0.1, 0.2, 0.22), strict=True):
        before = picture
        picture = painter.paint(dataclasses.replace(scene, now_s=now_s), SIZE)
    top = lay_out(SIZE, (160, 90), 2).strips[1][1]
    np.testing.assert_array_equal(picture[top:], before[top:])
    assert 22 < before[top:, 136:].mean() < 100


@pytest.mark.parametrize(("name", "later_s"), [("b.jpg", 0.1), ("a.jpg", 4.5), ("a.jpg", -0.5)])
def test_another_photo_or_another_place_of_a_video_is_there_at_once(name: str, later_s: float) -> None:
    painter = Painter()
    old, new = (scene_of(0, objects, rows=2) for objects in (ONE, TWO))
    for scene, is_named, now_s in ((old, "a.jpg", 1.0), (new, name, 1 + later_s)):
        frame = dataclasses.replace(scene.frame, name=is_named)
        picture = painter.paint(dataclasses.replace(scene, frame=frame, now_s=now_s), SIZE)
    np.testing.assert_array_equal(picture, compose(new, SIZE))


def test_a_grid_that_changes_takes_everything_along() -> None:
    painter = Painter()
    for t, grid in enumerate((2.0, 2.5, 3.0, 3.5, 4.0)):
        scene = dataclasses.replace(scene_of(0, TWO, rows=4), grid=grid, now_s=t / 10)
        np.testing.assert_array_equal(painter.paint(scene, SIZE), compose(scene, SIZE))


def test_nothing_is_left_of_what_was_going_when_the_grid_changes() -> None:
    painter = Painter()
    two, one = scene_of(0, TWO, rows=2), scene_of(0, [(0, 50, [1])], rows=3)
    for scene, grid, now_s in ((two, 2.0, 0.0), (one, 2.0, 0.1), (one, 2.0, 0.2), (one, 2.5, 0.3)):
        then = dataclasses.replace(scene, grid=grid, now_s=now_s)
        picture = painter.paint(then, SIZE)
    np.testing.assert_array_equal(picture, compose(then, SIZE))


@pytest.mark.parametrize("strip", [0, 1, 3])
def test_an_object_is_drawn_in_its_strip_and_colour(strip: int) -> None:
    picture = compose(scene_of(0, [(strip, 50, [1])], rows=4), canvas((640, 356), 100))
    places = lay_out(canvas((640, 356), 100), (160, 90), 4).strips
    assert [tuple(picture[y + 30, 2]) for _, y, *_ in places] == [
        object_colour(strip) if i == strip else DARK.ground for i in range(4)
    ]
    assert object_colour(strip) == OBJECT_COLOURS[strip]
    y = places[strip][1]
    assert np.array_equal(picture[y : y + 60, 136:196], CROPS[1])


def test_an_object_without_crops_has_a_box_and_no_strip() -> None:
    picture, alone = compose(scene_of(0, [(0, 50, [])]), SIZE), compose(scene_of(0, []), SIZE)
    header = lay_out(SIZE, (160, 90), 1).strips[0][1]
    assert np.array_equal(picture[header:], alone[header:])
    assert (picture[:header] == object_colour(0)).all(2).any()


def test_an_object_that_is_missed_keeps_its_strip_and_for_a_moment_a_thin_box() -> None:
    header = lay_out(SIZE, (160, 90), 1).strips[0][1]
    here, missed = scene_of(0, [(0, 50, [1])]), scene_of(0, [(0, 50, [1])], held=0)
    seen, held, long = (
        compose(scene, SIZE) for scene in (here, missed, dataclasses.replace(missed, faint=frozenset({0})))
    )
    assert np.array_equal(seen[header:], held[header:])
    assert np.array_equal(seen[header:], long[header:])
    in_colour = [int((picture[:header] == object_colour(0)).all(2).sum()) for picture in (seen, held, long)]
    assert in_colour[0] >= in_colour[1] > in_colour[2] == 0


def test_an_object_without_a_strip_has_thin_corners_and_no_label() -> None:
    header = lay_out(SIZE, (160, 90), 1).strips[0][1]
    size = dataclasses.replace(SIZE, text="names")
    empty, beyond = (compose(scene_of(0, objects, rows=1), size) for objects in ([], [(9, 50, [1])]))
    changed = (empty != beyond).any(2)
    assert 100 < changed.sum() < 300
    assert not changed[header:].any()


@pytest.mark.parametrize("lost_s", [0.0, 1.0, 2.0, 60.0])
def test_the_picture_of_a_lost_source_fades(lost_s: float) -> None:
    silent = dataclasses.replace(SIZE, text="none")
    picture = compose(dataclasses.replace(scene_of(1, []), lost_s=lost_s), silent)
    x, y, width, height = lay_out(silent, (640, 480), 0).frame
    frame = picture[y : y + height, x : x + width].astype(int)
    colourful = np.abs(frame[..., 0] - frame[..., 2]).mean()
    assert (colourful == 0) == (lost_s >= 2)
    assert (frame[::2, ::2].std() < 5) == (lost_s >= 2)


def test_a_large_picture_is_scaled_evenly() -> None:
    """Halving first must not lose rows or columns at the edges."""
    picture = np.zeros((723, 1283, 3), np.uint8)
    picture[:, 640:] = 200
    empty = scene_of(0, [])
    frame = Frame(0, 0.0, None, picture)
    bare = Scene(frame, empty.detections, (), empty.neighbours, 60, (), rows=4)
    size = canvas((640, 356), 100)
    x, y, width, height = lay_out(size, (1283, 723), 4).frame
    drawn = compose(bare, size)[y : y + height, x : x + width, 0].astype(int)
    assert abs(drawn.mean() - picture.mean()) < 2
    assert drawn[:, : width // 2 - 3].max() == 0
    assert drawn[:, width // 2 + 3 :].min() == 200


def test_notes_that_make_room_for_controls_leave_all_else_as_it_is() -> None:
    painter, wide = Painter(), Canvas((1280, 720), 200, 60, 16, text="all")
    crops = [(0, 60, [0, 1, 2] * 4), (1, 50, [1] * 3), (2, 40, [2] * 9)]
    scene = scene_of(0, crops, ("clip", "30 frames/s"), rows=4)
    before = painter.paint(scene, wide).copy()
    with_controls = dataclasses.replace(wide, controls_wh=(316, 208))
    moved = painter.paint(scene, with_controls).copy()
    there, then = lay_out(wide, (160, 90), 4), lay_out(with_controls, (160, 90), 4)
    assert there.notes != then.notes
    below = there.strips[0][1]
    np.testing.assert_array_equal(moved[below:], before[below:])
    np.testing.assert_array_equal(painter.paint(scene, wide), before)


@pytest.mark.parametrize(("after_s", "of_new"), [(0.1, 0), (0.15, 1)])
def test_words_go_before_others_come(after_s: float, of_new: int) -> None:
    """Two words that cross over read as a third one."""
    chair, church = (dataclasses.replace(scene_of(0, ONE), names=(name,)) for name in ("chair", "church"))
    _, seen = steps(chair, church, (0.0, after_s))
    left, top, _, height = lay_out(SIZE, (160, 90), 1).strips[0]
    word = np.s_[top : top + height, left + 8 : left + 130]
    written = compose((chair, church)[of_new], SIZE)[word].astype(int)
    share = (seen[word].astype(int) - DARK.ground).sum() / (written - DARK.ground).sum()
    assert 0 < share < 0.5
    expected = DARK.ground + share * (written - DARK.ground)
    assert np.abs(seen[word] - expected).max() <= 2
