"""A wall: the camera, two bands of large crops, and the library where there is no object."""

from __future__ import annotations

import dataclasses
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtsearch.config import ShowSettings
from rtsearch.live.room import StripRoom, WallRoom, lies_before
from rtsearch.render.drift import DriftPicture, line_px
from rtsearch.render.layout import Canvas, Place, canvas_of
from rtsearch.render.painter import Painter, compose
from rtsearch.render.plan import Plan
from rtsearch.render.theme import DARK
from rtsearch.render.wall import CROPS, compose_wall, hero_px, wall_places
from rtsearch.types import Detections, Frame, Neighbours, Scene, Stop, U8Array

WIDE, UPRIGHT = (1280, 720), (1080, 1920)
RNG = np.random.default_rng(0)
LIBRARY: tuple[U8Array, ...] = tuple(
    RNG.integers(60, 255, (90, 60 + i, 3), dtype=np.uint8) for i in range(24)
)


def scene(
    strips: tuple[int, ...],
    crops: int = CROPS,
    shape: float = 0.8,
    frame_wh: tuple[int, int] = (640, 360),
    now_s: float = 0.0,
) -> Scene:
    """Objects in these bands, each with crops of one colour."""
    n, (width, height) = len(strips), frame_wh
    box = np.array([0.4 * width, 0.4 * height, 0.6 * width, 0.7 * height], np.float32)
    found = Detections(
        np.tile(box, (n, 1)), np.full(n, 0.5, np.float32), np.zeros(n, np.int32), np.zeros((n, 0), np.float32)
    )
    rows = np.arange(n * crops, dtype=np.int32).reshape(n, crops)
    crop = np.full((100, round(100 * shape), 3), (0, 200, 0), np.uint8)
    frame = Frame(0, 0.0, None, np.full((height, width, 3), (60, 50, 40), np.uint8))
    near = Neighbours(rows, np.ones(rows.shape, np.float32))
    return Scene(
        *(frame, found, ("cup",) * n, near, 0, ((crop,) * crops,) * n),
        strips=strips,
        rows=2,
        drift=LIBRARY,
        now_s=now_s,
    )


def canvas(wh: tuple[int, int]) -> Canvas:
    return canvas_of(ShowSettings(window_wh=wh, composition="wall"))


def meet(a: Place, b: Place) -> bool:
    return a[0] < b[0] + b[2] and b[0] < a[0] + a[2] and a[1] < b[1] + b[3] and b[1] < a[1] + a[3]


def places_of(plan: Plan) -> list[Place]:
    return [plan.frame, *(item.place for item in plan.items), *(belt.place for belt in plan.belts)]


@given(
    st.sampled_from([(320, 240), (640, 480), WIDE, UPRIGHT, (3840, 2160), (2000, 500), (500, 2000)]),
    st.sampled_from([(), (0,), (1,), (0, 1), (1, 0), (0, 1, 2, 3)]),
    st.integers(0, CROPS),
    st.floats(1 / 3, 2),
    st.integers(0, 9),
)
def test_nothing_lies_upon_anything_else_or_outside(
    wh: tuple[int, int], strips: tuple[int, ...], crops: int, shape: float, large: int
) -> None:
    found = dataclasses.replace(scene(strips, crops, shape), large=(min(large, crops),) * len(strips))
    plan = compose_wall(found, canvas(wh))
    for x, y, width, height in places_of(plan):
        assert x >= 0
        assert y >= 0
        assert width > 0
        assert height > 0
        assert x + width <= wh[0] + 1  # widths are rounded
        assert y + height <= wh[1]
    touching = [(a, b) for a, b in combinations(places_of(plan), 2) if meet(a, b)]
    assert not touching


@pytest.mark.parametrize("shape", [0.4, 0.8, 1.5])
def test_crops_can_be_seen_from_afar(shape: float) -> None:
    plan = compose_wall(scene((0, 1), shape=shape), canvas(WIDE))
    for strip in (0, 1):
        heights = [item.place[3] for item in plan.items if item.key[0] == strip and item.row >= 0]
        heroes = sorted(height for height in heights if height >= 0.22 * 720)
        assert 2 <= len(heroes) <= 6
        assert heights[0] == heroes[-1] > 1.3 * heroes[0]  # twice as large
        assert len(heights) >= 7


@pytest.mark.parametrize(("large", "heroes"), [(0, 0), (1, 1), (2, 2), (3, 3)])
def test_no_crop_is_lost_in_a_large_place(large: int, heroes: int) -> None:
    """What is too low for large places is in lines that are as low as those below these, and fills them."""
    size = canvas(UPRIGHT)
    plan = compose_wall(dataclasses.replace(scene((0,), shape=0.5), large=(large,)), size)
    places = [item.place for item in plan.items if item.row >= 0]
    high = [place for place in places if place[3] >= hero_px(size)]
    assert len(high) == heroes
    assert max(place[3] for place in places[heroes:]) < 0.5 * hero_px(size)
    band = wall_places(UPRIGHT, size.px(10)).bands[0]
    head = min(place[1] for place in places) - band[1]
    shown = sum(place[2] * place[3] for place in places)
    assert shown > 0.8 * band[2] * (band[3] - head)


@pytest.mark.parametrize("wh", [WIDE, UPRIGHT])
def test_the_camera_never_moves(wh: tuple[int, int]) -> None:
    frames = {compose_wall(scene(strips), canvas(wh)).frame for strips in ((), (0,), (0, 1), (1, 0, 2))}
    assert frames == {wall_places(wh, canvas(wh).px(10)).camera}


@pytest.mark.parametrize("frame_wh", [(640, 360), (360, 640), (640, 480)])
def test_the_camera_is_filled_and_the_screen_is_not_black(frame_wh: tuple[int, int]) -> None:
    picture = compose(scene((0, 1), frame_wh=frame_wh), canvas(WIDE))
    x, y, width, height = compose_wall(scene(()), canvas(WIDE)).frame
    assert (picture[y : y + height, x : x + width].max(2) >= 60).all()
    assert (picture.max(2) <= 16).mean() < 0.15
    assert (picture == DARK.ink).all(2).any()  # the word
    empty = compose(scene((), frame_wh=frame_wh), canvas(WIDE))
    assert (empty.max(2) <= 16).mean() < 0.1


@pytest.mark.parametrize("wh", [WIDE, UPRIGHT, (638, 720)])
def test_no_head_is_cut_at_the_top_of_the_camera(wh: tuple[int, int]) -> None:
    upright = scene((), frame_wh=(480, 640))
    upright.frame.bgr[:4] = 250
    assert (compose(upright, canvas(wh))[0, : wall_places(wh, 10).camera[2]] > 200).all()


def test_corners_and_a_line_join_an_object_and_its_band() -> None:
    picture = compose(scene((0,)), canvas(WIDE))
    width = compose_wall(scene(()), canvas(WIDE)).frame[2]
    lit = np.asarray(picture[:, :width, 2] > 120)  # the frame is dark
    columns = np.flatnonzero(lit.any(0))
    assert (columns >= round(0.62 * width)).sum() > 0.34 * width  # from the object to the edge
    assert not lit[:, : round(0.3 * width)].any()
    held = dataclasses.replace(scene((0,)), held=frozenset({0}), faint=frozenset({0}))
    assert not (compose(held, canvas(WIDE))[:, :width, 2] > 120).any()


def test_an_object_without_crops_has_no_band() -> None:
    both, one = scene((0, 1)), scene((0,))
    found = dataclasses.replace(both, thumbs=(both.thumbs[0], ()))
    plan = compose_wall(found, canvas(WIDE))
    assert plan.shown == {0}
    assert [belt.place for belt in plan.belts] == [
        belt.place for belt in compose_wall(one, canvas(WIDE)).belts
    ]
    np.testing.assert_array_equal(compose(found, canvas(WIDE)), compose(one, canvas(WIDE)))


def test_the_library_drifts_slowly_through_a_free_band() -> None:
    painter, size = Painter(), canvas(WIDE)
    place = compose_wall(scene((0,)), size).belts[0].place
    x, y, width, height = place
    first, second = (
        painter.paint(scene((0,), now_s=now_s), size)[y : y + height, x : x + width].copy()
        for now_s in (0.0, 0.5)
    )
    np.testing.assert_array_equal(first[:, 7:], second[:, :-7])  # 14 px a second
    assert (first.max(2) > 30).mean() > 0.8


def test_an_object_takes_the_place_of_the_library_softly_and_wholly() -> None:
    painter, size = Painter(), canvas(WIDE)
    painter.paint(scene((0,), now_s=0.0), size)
    few = scene((0, 1), crops=3)
    at_once = painter.paint(dataclasses.replace(few, now_s=0.1), size).copy()
    half = painter.paint(dataclasses.replace(few, now_s=0.3), size).copy()
    last = painter.paint(dataclasses.replace(few, now_s=0.5), size).copy()
    band = wall_places(WIDE, size.px(10)).bands[1]
    area = np.s_[band[1] : band[1] + band[3], band[0] : band[0] + band[2]]
    np.testing.assert_array_equal(last[area], compose(few, size)[area])
    assert (at_once[area] != half[area]).any()
    assert (half[area] != last[area]).any()


def stops(first: int, count: int) -> tuple[Stop, ...]:
    crop = np.full((100, 80, 3), (200, 0, 0), np.uint8)
    return tuple(
        Stop(number, "cup", tuple(range(20)), (crop,) * 20, (0.8,) * 20, 20)
        for number in range(first, first + count)
    )


def test_a_band_of_the_library_says_so_in_small_letters() -> None:
    size = canvas(WIDE)
    said = dataclasses.replace(scene((0,)), about="library: 1,204 photos")
    plan = compose_wall(said, size)
    (words,) = (item for item in plan.items if item.key == ("library", 1))
    word = next(item for item in plan.items if item.key == (0, "word"))
    inks = [
        np.flatnonzero((item.pixels.max(2) > 60).any(1)) for item in (words, word) if item.pixels is not None
    ]
    heights = [np.ptp(rows) for rows in inks]
    assert 0 < heights[0] < 0.65 * heights[1]
    assert plan.belts[0].place[1] == words.place[1] + words.place[3]
    silent = canvas_of(ShowSettings(window_wh=WIDE, composition="wall", text="none"))
    assert all(item.key != ("library", 1) for item in compose_wall(said, silent).items)


def test_the_library_looks_paler_and_smaller_than_what_is_found() -> None:
    belt = compose_wall(scene(()), canvas(WIDE)).belts[0]
    picture = DriftPicture(belt.place[2:], DARK.ground).window(belt, 1.0)
    colourful = np.stack([crop for crop in LIBRARY if crop.shape == LIBRARY[0].shape])
    assert np.ptp(picture.astype(int), axis=2).mean() < 0.3 * np.ptp(colourful.astype(int), axis=3).mean()
    assert line_px(belt.place[3]) < 0.5 * hero_px(canvas(WIDE))


@pytest.mark.parametrize("wh", [WIDE, UPRIGHT, (1920, 1080), (3840, 2160), (2160, 3840)])
def test_large_crops_have_a_fifth_of_the_height_of_any_screen(wh: tuple[int, int]) -> None:
    plan = compose_wall(scene((0, 1)), canvas(wh))
    for strip in (0, 1):
        heights = [item.place[3] for item in plan.items if item.key[0] == strip and item.row >= 0]
        assert 3 <= sum(height >= 0.22 * wh[1] for height in heights) <= 6


def test_a_walk_fills_the_bands_in_turn_and_makes_way() -> None:
    size = canvas(WIDE)
    bands = wall_places(WIDE, size.px(10)).bands
    one = compose_wall(dataclasses.replace(scene(()), walk=stops(0, 1)), size)
    assert len(one.belts) == 1
    two = compose_wall(dataclasses.replace(scene(()), walk=stops(1, 2)), size)
    assert two.walks
    assert two.belts == ()
    for number in (1, 2):
        tops = [item.place[1] for item in two.items if item.key[0] == ("walk", number)]
        assert min(tops) == bands[number % 2][1]
    seen = compose_wall(dataclasses.replace(scene((1,)), walk=stops(1, 2)), size)
    assert not seen.walks
    assert all(item.key[0] == 1 for item in seen.items)


def test_a_walk_has_gone_softly_within_300_ms() -> None:
    painter, size = Painter(), canvas(WIDE)
    painter.paint(dataclasses.replace(scene((), now_s=0.0), walk=stops(1, 2)), size)
    someone = scene((0, 1))
    pictures = {
        now_s: painter.paint(dataclasses.replace(someone, now_s=now_s), size).copy()
        for now_s in (0.1, 0.2, 0.3, 0.4)
    }
    band = wall_places(WIDE, size.px(10)).bands[0]
    area = np.s_[band[1] : band[1] + band[3], band[0] : band[0] + band[2]]
    assert (pictures[0.2][area] != pictures[0.3][area]).any()
    assert not painter.restless
    last = compose(dataclasses.replace(someone, now_s=0.4), size)
    np.testing.assert_array_equal(pictures[0.4][area], last[area])
    np.testing.assert_array_equal(pictures[0.4], pictures[0.4])


def test_full_screen_is_a_wall_unless_it_is_said_otherwise() -> None:
    said = [
        canvas_of(ShowSettings.model_validate({"fullscreen": full, "composition": composition})).composition
        for full, composition in ((False, "auto"), (True, "auto"), (True, "strips"), (False, "wall"))
    ]
    assert said == ["strips", "wall", "strips", "wall"]


def test_sure_large_central_and_whole_objects_come_first() -> None:
    boxes = np.array(
        [
            [400, 100, 440, 140],  # small
            [250, 100, 390, 260],  # large, in the middle
            [0, 100, 140, 260],  # as large, cut by the edge
            [250, 100, 390, 260],  # as the second, but doubtful
        ],
        np.float32,
    )
    score = np.array([0.9, 0.9, 0.9, 0.3], np.float32)
    found = Detections(boxes, score, np.zeros(4, np.int32), np.zeros((4, 0), np.float32))
    importance = WallRoom((640, 360)).importance(found)
    assert importance.argmax() == 1
    assert importance[1] > 1.5 * importance[[0, 2, 3]].max()


def test_what_is_held_up_comes_before_a_table_and_with_its_holder() -> None:
    person, cup, table = [200, 0, 440, 340], [380, 190, 440, 260], [0, 220, 640, 360]
    found = Detections(
        np.array([person, table, cup], np.float32),
        np.array([0.9, 0.6, 0.8], np.float32),
        np.arange(3, dtype=np.int32),
        np.zeros((3, 0), np.float32),
    )
    for room in (WallRoom((640, 360)), StripRoom(canvas_of(ShowSettings()), (640, 360))):
        weights = room.ground(found)
        person_s, table_s, cup_s = (weights * room.importance(found)).tolist()
        assert cup_s > person_s > 1.5 * table_s
        assert weights[2] == 1


@given(st.lists(st.tuples(*[st.integers(0, 400)] * 4, st.integers(0, 1)), max_size=8))
def test_what_lies_before_what(boxes: list[tuple[int, int, int, int, int]]) -> None:
    xyxy = np.array([[x, y, x + w + 1, y + h + 1] for x, y, w, h, _ in boxes], np.float32).reshape(-1, 4)
    label = np.array([box[-1] for box in boxes], np.int32)
    n = len(boxes)
    before = lies_before(Detections(xyxy, np.ones(n, np.float32), label, np.zeros((n, 0), np.float32)))
    assert before.shape == (n, n)
    assert not (before & before.T).any()
    for i, j in np.argwhere(before):
        assert label[i] != label[j]
        (a, b), (left, right) = xyxy[i].reshape(2, 2), xyxy[j].reshape(2, 2)
        assert (b - a).prod() < 0.35 * (right - left).prod()
        assert (np.minimum(b, right) - np.maximum(a, left)).prod() > 0.4 * (b - a).prod()


def test_small_pictures_have_no_rows_of_specks() -> None:
    """Two walls side by side have bands whose rest is lower than a crop that can be seen."""
    for wh in ((640, 720), WIDE, UPRIGHT):
        plan = compose_wall(scene((0, 1)), canvas(wh))
        assert min(item.place[3] for item in plan.items if item.row >= 0) >= 0.04 * wh[1]
