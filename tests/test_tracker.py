"""Numbers that stay with their objects, and strips that do not jump."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtsearch.live.tracker import STAYS_S, Strips, Tracker
from rtsearch.types import WHOLE_IMAGE_TRACK, F32Array


def boxes(*corners: tuple[float, float], side: float = 60) -> F32Array:
    xy = np.array(corners, np.float32).reshape(-1, 2)
    return np.concatenate([xy, xy + np.float32(side)], axis=1)


def update(tracker: Tracker, xyxy: F32Array, whole: tuple[int, ...] = ()):
    return tracker.update(xyxy, np.isin(np.arange(len(xyxy)), whole))


def test_nothing_to_follow() -> None:
    tracks = update(Tracker(), boxes())
    assert [len(part) for part in (tracks.number, tracks.step, tracks.missed, tracks.missed_xyxy)] == [0] * 4


def test_objects_that_move_keep_their_numbers_in_any_order() -> None:
    tracker = Tracker()
    first = update(tracker, boxes((0, 100), (500, 100))).number
    assert len({*first.tolist(), WHOLE_IMAGE_TRACK}) == 3
    for t in range(1, 60):
        places = [(8 * t, 100), (500 - 2 * t, 100 + t)]
        turn = 1 if t % 2 else -1
        tracks = update(tracker, boxes(*places[::turn]))
        assert tracks.number[::turn].tolist() == first.tolist()
    assert tracks.step[::turn][0] == pytest.approx([8, 0, 8, 0], abs=0.5)


@pytest.mark.parametrize(
    ("seen", "misses", "kept"), [(10, 1, True), (10, 8, True), (10, 20, False), (1, 4, False)]
)
def test_short_misses_are_bridged(seen: int, misses: int, kept: bool) -> None:
    tracker = Tracker()
    for t in range(seen):
        number = update(tracker, boxes((10 * t, 0))).number[0]
    for miss in range(misses):
        missed = update(tracker, boxes())
        assert missed.missed_for.tolist() == [miss + 1] * len(missed.missed)
    assert (number in missed.missed) == kept
    if kept:
        assert abs(missed.missed_xyxy[0, 0] - 10 * (seen + misses - 1)) < 20
    assert (update(tracker, boxes((10 * (seen + misses), 0))).number[0] == number) == kept


def test_the_whole_image_needs_no_following() -> None:
    tracker = Tracker()
    frame = np.array([[0, 0, 640, 480]], np.float32)
    person = np.array([[5, 5, 630, 470]], np.float32)
    both = update(tracker, np.concatenate([frame, person]), whole=(0,)).number
    assert both[0] == WHOLE_IMAGE_TRACK
    assert both[1] != WHOLE_IMAGE_TRACK
    alone = update(tracker, frame, whole=(0,))
    assert alone.number.tolist() == [WHOLE_IMAGE_TRACK]
    assert WHOLE_IMAGE_TRACK not in alone.missed


def test_after_a_reset_all_numbers_are_new() -> None:
    tracker = Tracker()
    before = update(tracker, boxes((0, 0))).number
    tracker.reset()
    after = update(tracker, boxes((0, 0)))
    assert after.number[0] != before[0]
    assert len(after.missed) == 0


# Strips ----------------------------------------------------------------------------------------------------

FPS = 25
STAYS = round(STAYS_S * FPS)
LONG = 9  # frames after which what is missed makes way


class Film:
    """Strips of a film."""

    def __init__(self) -> None:
        self.strips, self.frames = Strips(), 0

    def place(
        self,
        tracks: list[int],
        visible: int,
        missed: list[int] | None = None,
        wishes: dict[int, int] | None = None,
    ) -> list[int]:
        self.frames += 1
        return self.strips.place(tracks, visible, self.frames / FPS, missed or [], wishes)

    def free_below(self, strip: int, visible: int = 4) -> int:
        return self.strips.free_below(strip, visible, self.frames / FPS)


def test_a_strip_that_falls_free_waits_for_its_object_while_others_are_free() -> None:
    strips = Film()
    assert strips.place([], 4) == []
    assert strips.place([5, 6, 7], 4) == [0, 1, 2]
    assert strips.place([7, 5], 4) == [2, 0]
    assert strips.place([8, 7, 5], 4) == [3, 2, 0]
    assert strips.place([9, 8, 7, 5], 4) == [1, 3, 2, 0]


def test_an_object_that_has_come_back_has_the_strip_it_wishes() -> None:
    strips = Film()
    assert strips.place([5, 6, 7], 4) == [0, 1, 2]
    assert strips.place([5], 4) == [0]
    assert strips.place([8, 5, 9], 4, wishes={9: 1}) == [3, 0, 1]
    assert strips.place([8, 5, 9, 10], 4, wishes={10: 0}) == [3, 0, 1, 2]  # another has it


def test_a_strip_continues_in_those_below_that_have_been_free_for_two_seconds() -> None:
    strips = Film()
    strips.place([1], 4)
    assert [strips.free_below(0, visible) for visible in (4, 1)] == [3, 0]
    strips.place([1, 2, 3], 4)
    assert strips.free_below(0) == 0
    for t in range(STAYS):
        assert strips.place([1, 3], 4) == [0, 2]
        assert [strips.free_below(strip) for strip in (0, 2)] == [int(t >= 2 * FPS), 1]
    assert strips.place([1, 3, 2], 4, wishes={2: 1}) == [0, 2, 1]  # it is back in time
    assert strips.free_below(0) == 0
    for _ in range(STAYS + 1):
        strips.place([1, 3], 4)
    assert strips.place([1, 3], 4) == [0, 1]  # the gap is closed
    assert [strips.free_below(strip) for strip in (0, 1)] == [0, 2]


def test_a_strip_out_of_sight_moves_up_when_there_is_room() -> None:
    strips = Film()
    assert strips.place([1, 2, 3, 4], 2) == [0, 1, 2, 3]
    assert strips.place([2, 3, 4], 2) == [1, 0, 2]


def test_the_last_strip_fills_a_gap_out_of_sight() -> None:
    strips = Film()
    assert strips.place([1, 2, 3, 4, 5, 6], 2) == [0, 1, 2, 3, 4, 5]
    assert strips.place([1, 2, 3, 5, 6], 2) == [0, 1, 2, 4, 3]


def test_a_gap_is_closed_by_the_lowest_strip_but_late() -> None:
    strips = Film()
    assert strips.place([1, 2, 3, 4], 6) == [0, 1, 2, 3]
    assert [strips.place([1, 3, 4], 6) for _ in range(STAYS)] == [[0, 2, 3]] * STAYS
    assert strips.place([1, 3, 4], 6) == [0, 2, 1]
    assert [strips.place([3, 4], 6) for _ in range(STAYS)] == [[2, 1]] * STAYS
    assert strips.place([3, 4], 6) == [0, 1]


def test_a_gap_that_was_needed_meanwhile_stays_open_for_as_long_again() -> None:
    strips = Film()
    strips.place([1, 2, 3], 6)
    for tracks in ([1, 3], [1, 3, 9], [1, 3]):
        placed = [strips.place(tracks, 3) for _ in range(STAYS)]
        assert placed == [[0, 2, 1][: len(tracks)]] * STAYS
    assert strips.place([1, 3], 3) == [0, 1]


@given(st.lists(st.lists(st.integers(0, 9), unique=True), min_size=1, max_size=8), st.integers(1, 6))
def test_no_gap_stays_for_long(frames: list[list[int]], visible: int) -> None:
    strips = Film()
    for tracks in frames:
        strips.place(tracks, visible)
    for _ in range(STAYS + len(frames[-1])):
        placed = strips.place(frames[-1], visible)
    assert sorted(placed) == list(range(len(placed)))


@given(st.lists(st.lists(st.integers(0, 12), unique=True), max_size=30), st.integers(1, 6))
def test_strips_never_jump_while_they_are_seen(frames: list[list[int]], visible: int) -> None:
    strips, before = Film(), dict[int, int]()
    for tracks in frames:
        now = dict(zip(tracks, strips.place(tracks, visible), strict=True))
        assert len(set(now.values())) == len(tracks)
        assert all(now[t] == before[t] for t in now.keys() & before.keys() if before[t] < visible)
        hidden = [strip for strip in now.values() if strip >= visible]
        assert not hidden or set(now.values()) == set(range(len(now)))  # no gaps while one is hidden
        before = now


def test_what_is_seen_takes_the_strip_of_what_was_missed_longest() -> None:
    strips = Film()
    assert strips.place([1, 2, 3], 3) == [0, 1, 2]
    assert strips.place([1, 3, 2], 3, [0, 0, LONG]) == [0, 2, 1]
    assert strips.place([1, 3, 2], 3, [0, LONG, 10]) == [0, 2, 1]  # missed, but none needs their strips
    assert strips.place([1, 4, 3, 2], 3, [0, 0, 7, 8]) == [0, 3, 2, 1]  # not for long: both may come back
    assert strips.place([1, 4, 3, 2], 3, [0, 0, LONG, 10]) == [0, 1, 2, 3]
    assert strips.place([1, 4, 5, 3, 2], 3, [0, 0, 0, LONG, 10]) == [0, 1, 2, 4, 3]
    assert strips.place([1, 4, 5, 2], 3, [0] * 4) == [0, 1, 2, 3]  # seen again: nobody in sight makes way


@given(
    st.lists(st.tuples(st.lists(st.integers(0, 12), unique=True), st.integers(0, 5)), max_size=30),
    st.integers(1, 6),
)
def test_nothing_seen_is_below_while_something_missed_is_above(
    frames: list[tuple[list[int], int]], visible: int
) -> None:
    strips = Film()
    for tracks, seen in frames:
        placed = strips.place(tracks, visible, [LONG * int(i >= seen) for i in range(len(tracks))])
        assert len(set(placed)) == len(tracks)
        assert max(placed[:seen], default=-1) < visible or min(placed[seen:], default=visible) >= visible
