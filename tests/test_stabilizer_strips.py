"""The order of strips and of a wall: what is on the screen stays where it is."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_stabilizer import BLACK, DIM, EXACT, HERE, K, Place, Rows, at, found, opposite, walk

from rtsearch.live.neighbour_hysteresis import POOL_FRAMES, Room, Shown
from rtsearch.live.stabilizer import Stabilizer, Steadied
from rtsearch.live.tracker import STAYS_S
from rtsearch.types import Detections, F32Array, Frame

# What is on the screen --------------------------------------------------------------------------------------


def rows_of(seen: Steadied) -> list[list[int]]:
    return [[row for row in rows if row >= 0] for rows in seen.neighbours.row.tolist()]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 4), st.sampled_from([0.0, 0.05, 0.5]), st.integers(1, 3))
def test_no_crop_is_shown_twice_and_one_of_each_photo(
    seed: int, objects: int, step: float, of_a_photo: int
) -> None:
    index = Rows(200, seed, of_a_photo)
    steady = Stabilizer(index, EXACT)
    points = walk(objects, 0.1, seed)
    for t in range(30):
        points = points + walk(objects, step, seed + t)
        seen = steady.update(Frame(t, t / 30, None, BLACK), at(found(objects), points), HERE)
        shown = rows_of(seen)
        assert objects * of_a_photo > 4 or all(len(rows) == K for rows in shown)  # of 4 K candidates each
        assert len({row for rows in shown for row in rows}) == sum(map(len, shown))
        assert all(len({row // of_a_photo for row in rows}) == len(rows) for rows in shown)


def test_crops_change_one_at_a_time_twice_a_second() -> None:
    index, fps = Rows(2000), 30
    steady = Stabilizer(index, EXACT)
    before: list[list[int]] = []
    changes = []
    for t, point in enumerate(walk(10 * fps, 0.02, 7)):
        points = np.stack([point, -point])
        seen = rows_of(steady.update(Frame(t, t / fps, t / fps, BLACK), at(found(2), points), HERE))
        if t > POOL_FRAMES:
            changes.append(
                sum(
                    a != b
                    for old, new in zip(before, seen, strict=True)
                    for a, b in zip(old, new, strict=True)
                )
            )
        before = seen
    when = np.flatnonzero(changes)
    assert len(when) >= 10  # the objects do change
    assert np.diff(when).min() >= fps / 2
    assert max(changes) <= 2  # one row gives way, or two change places


def test_nothing_beyond_the_largest_distance_is_shown() -> None:
    index = Rows(300)
    nearest = index.near(index.vectors[:1], 4).distance[0]
    limit = float(nearest[2:].mean())
    steady = Stabilizer(index, EXACT, limit)
    for t in range(5):
        seen = steady.update(Frame(t, t / 30, None, BLACK), at(found(), index.vectors[:1]), HERE)
        assert rows_of(seen) == [index.near(index.vectors[:1], 3).row[0].tolist()]
    far = np.full((1, DIM), 50, np.float32)
    assert rows_of(steady.update(Frame(5, 1.0, None, BLACK), at(found(1, 500), far), HERE))[0] == []


@pytest.mark.parametrize("near", [0, 1, 2, 7])
def test_things_alike_share_the_crops_that_are_near_enough(near: int) -> None:
    """The first leaves the second half of them; what each has then stays in its place."""
    index = Rows(500)
    point = index.vectors[:1]
    far = index.near(point, near + 1).distance[0]
    steady = Stabilizer(index, EXACT, float(far[near - 1 : near + 1].mean()) if near else far[0] - 1)
    place = Place(crops=30)
    alone = rows_of(steady.update(Frame(0, 0.0, 0.0, BLACK), at(found(1), point), place))[0]
    assert len(alone) == near
    for t in range(1, 30):
        seen = rows_of(steady.update(Frame(t, 0.0, t / 30, BLACK), at(found(2), point[[0, 0]]), place))
        kept = (near + 1) // 2
        assert seen[0] == alone[:kept]
        assert sorted(seen[1]) == sorted(alone[kept:])


def test_what_one_thing_leaves_is_shared_by_those_that_stay() -> None:
    index, n = Rows(500), 12
    point = index.vectors[:1]
    far = index.near(point, n + 1).distance[0]
    steady = Stabilizer(index, EXACT, float(far[n - 1 : n + 1].mean()))
    counts = []
    for t in range(60):
        there = [0, 1, 2] if t < 10 else [0, 2]
        objects = at(found(3), point[[0, 0, 0]]).rows(there)
        seen = rows_of(steady.update(Frame(t, 0.0, t / 30, BLACK), objects, Place(crops=30)))
        assert len({row for rows in seen for row in rows}) == sum(map(len, seen)) == n
        counts.append([len(rows) for rows in seen])
    assert counts[9] == [3, 6, 3]
    assert counts[-1] == [5, 7]


@pytest.mark.parametrize(("away_s", "strip"), [(1.0, 1), (STAYS_S - 1, 1), (STAYS_S + 1, 0)])
def test_an_object_that_comes_back_soon_has_its_strip_again(away_s: float, strip: int) -> None:
    """The first of two leaves too; the second comes back elsewhere, among the strips that wait for both."""
    index, fps = Rows(500), 10
    steady = Stabilizer(index, EXACT)
    none = at(found(0), np.zeros((0, DIM), np.float32))
    for t in range(20):
        two = steady.update(Frame(t, 0.0, t / fps, BLACK), at(found(2), index.vectors[:2]), HERE)
    gone = 20 + round(away_s * fps) + 5  # it is missed for half a second first
    for t in range(20, gone):
        steady.update(Frame(t, 0.0, t / fps, BLACK), none, HERE)
    back = steady.update(
        Frame(gone, 0.0, gone / fps, BLACK), at(found(1, 900), index.vectors[1:2] + np.float32(0.01)), HERE
    )
    assert two.strips == (0, 1)
    assert back.strips == (strip,)
    assert back.detections.track[0] not in two.detections.track
    assert rows_of(back)[0] == rows_of(two)[1]


def test_another_object_takes_a_strip_that_waits_for_nobody() -> None:
    index, fps = Rows(500), 10
    steady = Stabilizer(index, EXACT)
    here, there = opposite(index)
    for t in range(20):
        steady.update(Frame(t, 0.0, t / fps, BLACK), at(found(), here), HERE)
    none = at(found(0), np.zeros((0, DIM), np.float32))
    for t in range(20, 30):
        steady.update(Frame(t, 0.0, t / fps, BLACK), none, HERE)
    other = steady.update(Frame(30, 0.0, 3.0, BLACK), at(found(1, 900), there), HERE)
    assert other.strips == (1,)


def test_lines_are_filled_and_free_strips_below_too() -> None:
    class Lines(Place):
        def room(self, grid: int, lines: int, most_distance: float) -> Room:
            return Room(40, line=4.0, lines=lines, distance=most_distance)

    index = Rows(500)
    steady = Stabilizer(index, EXACT)
    for n, crops in ((1, [12]), (2, [4, 8]), (3, [4, 4, 4])):
        seen = steady.update(
            Frame(n, 0.0, None, BLACK), at(found(n), index.vectors[:n]), Lines(crops=40, strips=3)
        )
        assert [len(rows) for rows in rows_of(seen)] == crops


# A wall -----------------------------------------------------------------------------------------------------


def sized(*sides: float, left: float = 0) -> Detections:
    """Objects of one class, squares with these sides, beside each other."""
    xyxy = np.array([[left + 300 * i, 0, left + 300 * i + side, side] for i, side in enumerate(sides)])
    n = len(sides)
    boxes = xyxy.astype(np.float32).reshape(-1, 4)
    return Detections(boxes, np.full(n, 0.5, np.float32), np.zeros(n, np.int32), np.zeros((n, 3), np.float32))


@dataclasses.dataclass(frozen=True)
class Bands(Place):
    """Two bands, that stay for four seconds, for the largest objects."""

    strips: int = 2

    @property
    def stays_s(self) -> float:
        return 4.0

    def importance(self, found: Detections) -> F32Array:
        return found.xyxy[:, 2] - found.xyxy[:, 0]


def test_a_band_stays_for_four_seconds_although_its_object_has_gone() -> None:
    index, fps = Rows(500), 10
    steady = Stabilizer(index, EXACT)
    for t in range(10):
        seen = steady.update(Frame(t, 0.0, t / fps, BLACK), at(sized(80), index.vectors[:1]), Bands())
    none = at(sized(), np.zeros((0, DIM), np.float32))
    for t in range(10, 60):
        left = steady.update(Frame(t, 0.0, t / fps, BLACK), none, Bands())
        if t < 40:
            assert rows_of(left) == rows_of(seen)
            assert left.strips == (0,)
            assert left.held == {0}
    assert left.strips == ()


def test_an_object_that_comes_back_elsewhere_goes_on_in_its_band() -> None:
    """Its tracker has lost it; its crops and the four seconds of its band go on."""
    index, fps = Rows(500), 10
    steady = Stabilizer(index, EXACT)
    none = at(sized(), np.zeros((0, DIM), np.float32))
    moved = dataclasses.replace(sized(80), xyxy=sized(80).xyxy + np.float32(300))
    for t in range(60):
        objects = (
            at(moved if 20 <= t < 22 else sized(80), index.vectors[:1]) if t < 10 or 20 <= t < 22 else none
        )
        seen = steady.update(Frame(t, 0.0, t / fps, BLACK), objects, Bands())
        if t == 9:
            before = seen
        if 9 < t < 40:
            assert seen.strips == (0,)
            assert rows_of(seen) == rows_of(before)
    assert seen.strips == ()


def kinds(sides: list[tuple[int, float]], left: float = 0) -> Detections:
    """Objects of a class and a side each, beside each other."""
    objects = sized(*(side for _, side in sides), left=left)
    return dataclasses.replace(objects, label=np.array([label for label, _ in sides], np.int32))


def test_another_object_of_a_class_goes_on_in_the_band_of_a_lost_one() -> None:
    """Cups that are moved about are lost and found; their band is that of a cup all the time."""
    index, fps = Rows(500), 10
    steady = Stabilizer(index, EXACT)
    for t in range(35):
        objects = kinds([(0, 80.0), (1, 50.0)] + [(1, 30.0)] * (t > 5), left=t)
        objects = at(objects, index.vectors[: len(objects)])
        objects = objects.rows([0, 2]) if t > 20 else objects
        seen = steady.update(Frame(t, 0.0, t / fps, BLACK), objects, Bands())
        bands = dict(zip(seen.strips, seen.detections.label.tolist(), strict=True))
        assert (bands[0], bands[1]) == (0, 1)
        if t > 26:  # half a second of it is that of a missed object
            assert seen.strips == (0, 1)


@pytest.mark.parametrize(("frames", "second", "shown"), [(2, 2, False), (30, 2, True), (30, 0, False)])
def test_no_glimpse_takes_a_band_of_ground_and_no_second_of_a_kind(
    frames: int, second: int, shown: bool
) -> None:
    index, fps = Rows(500), 10
    steady, place = Stabilizer(index, EXACT), BandsOnTable()
    for t in range(40):
        objects = kinds([(0, 80.0), (1, 60.0)] + [(second, 90.0)] * (10 <= t < 10 + frames))
        seen = steady.update(Frame(t, 0.0, t / fps, BLACK), at(objects, index.vectors[: len(objects)]), place)
        if t == 12:
            bands = dict(zip(seen.strips, seen.detections.label.tolist(), strict=True))
            assert (bands[1] == 2) is shown


class Table(Place):
    """The first class is the ground of the second while that is there."""

    def ground(self, found: Detections) -> F32Array:
        under = (found.label == 0) & (found.label == 1).any()
        return np.where(under, 0.35, 1).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class BandsOnTable(Bands):
    """Bands in which the second class is the ground of all others."""

    def ground(self, found: Detections) -> F32Array:
        return np.where(found.label == 1, 0.35, 1).astype(np.float32)


def test_what_is_held_up_takes_the_strip_of_a_table_that_comes_back_late() -> None:
    """It comes and goes; for two seconds after it has gone its strip waits for it."""
    index, fps = Rows(500), 10
    steady, place = Stabilizer(index, EXACT), Table(strips=2)
    strips = []
    for t in range(60):
        objects = found(3 if 10 <= t < 30 else 2)
        objects = dataclasses.replace(objects, label=np.array([2, 0, 1], np.int32)[: len(objects)])
        seen = steady.update(Frame(t, 0.0, t / fps, BLACK), at(objects, index.vectors[: len(objects)]), place)
        strips.append(dict(zip(seen.detections.label.tolist(), seen.strips, strict=True)))
    assert {each[2] for each in strips} == {0}  # who holds it stays
    assert [each[0] for each in strips[:10]] == [1] * 10
    assert [(each[0], each[1]) for each in strips[10:30]] == [(2, 1)] * 20
    back = next(t for t in range(30, 60) if strips[t][0] == 1)
    assert 50 <= back <= 56  # half a second of it is that of a missed object
    assert [each[0] for each in strips[back:]] == [1] * (60 - back)


@pytest.mark.parametrize(("side", "takes_s"), [(200, 4.0), (90, None)])
def test_a_clearly_more_important_object_takes_a_band_after_four_seconds(
    side: float, takes_s: float | None
) -> None:
    index, fps = Rows(500), 10
    steady = Stabilizer(index, EXACT)
    taken = None
    for t in range(80):
        objects = at(sized(80, 70) if t < 5 else sized(80, 70, side), index.vectors[: 2 if t < 5 else 3])
        strips = steady.update(Frame(t, 0.0, t / fps, BLACK), objects, Bands()).strips
        assert strips[0] == 0
        if taken is None and t >= 5 and strips[2] < 2:
            taken = t / fps
    assert taken == takes_s


def test_another_index_begins_with_its_own_points():
    """A pooled query must not mix the points of two projections."""
    shown = Shown(DIM)
    for _ in range(3):
        shown.look(np.ones(DIM, np.float32), 0, 5)
    shown.forget()
    query = shown.look(np.full(DIM, 7, np.float32), 0, 5)
    np.testing.assert_array_equal(query, np.full(DIM, 7, np.float32))
