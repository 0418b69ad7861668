"""Room for strips: there at once, given up late, laid out anew after a cut."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from playing import SETTINGS, Given, Watcher, run

from rtsearch.live import Controls, Outputs, StripReservation
from rtsearch.live.session import scrolled
from rtsearch.live.tracker import STAYS_S
from rtsearch.render.layout import canvas_of

FPS = 25
FRAMES = round(STAYS_S * FPS)


def kept(needed: list[int]) -> list[int]:
    """Room kept in frames with so many objects each, all of which go on from the frame before."""
    rows = StripReservation()
    return [rows.keep(range(1, n + 1), range(n), 7 + t / FPS) for t, n in enumerate(needed)]


@pytest.mark.parametrize(
    ("needed", "kept_last"),
    [
        ([0], 0),
        ([1], 1),
        ([1, 3], 3),
        ([3, 1], 3),
        ([3] + [1] * (FRAMES - 1), 3),
        ([3] + [1] * FRAMES, 1),
        ([3] + [0] * FRAMES, 0),
        ([3, 1, 2] + [1] * (FRAMES - 1), 2),
    ],
)
def test_room_stays_for_two_seconds(needed: list[int], kept_last: int) -> None:
    assert kept(needed)[-1] == kept_last


@given(st.lists(st.integers(0, 9), max_size=200))
def test_there_is_always_room_for_what_is_shown_and_it_rarely_shrinks(needed: list[int]) -> None:
    rows = kept(needed)
    assert all(there >= wanted for there, wanted in zip(rows, needed, strict=True))
    shrinks = [t for t in range(1, len(rows)) if rows[t] < rows[t - 1]]
    for t in shrinks:
        assert max(needed[t - FRAMES + 1 : t + 1]) < rows[t - 1] == needed[t - FRAMES]


@pytest.mark.parametrize(
    ("after", "room"), [([], 3), ([0], 3), ([7], 1), ([0, 7], 2), ([7, 2], 3), ([1, 2, 3], 3)]
)
def test_when_no_object_goes_on_it_was_a_cut(after: list[int], room: int) -> None:
    rows = StripReservation()
    rows.keep([0, 1, 2], range(3), 0.0)
    assert rows.keep(after, range(len(after)), 0.1) == room


def test_another_photo_is_laid_out_anew() -> None:
    rows = StripReservation()
    rows.keep([], [], 0.0)
    rows.keep([0, 1, 2], range(3), 0.0)
    rows.clear()
    assert rows.keep([0], [0], 0.0) == 1


@pytest.mark.parametrize(("at_s", "room"), [(11.9, 3), (12.0, 1), (9.9, 1)])
def test_times_decide_not_frames(at_s: float, room: int) -> None:
    """A source that has gone back keeps nothing for what is to come."""
    rows = StripReservation()
    rows.keep([1, 2, 3], range(3), 10.0)
    assert rows.keep([1], [0], at_s) == room


def test_objects_that_come_and_go_leave_the_picture_as_it_is(blob_index: Any) -> None:
    """They are gone for longer than their strips are held."""

    class Blinking(Given):
        def __next__(self) -> Any:
            frame = super().__next__()
            if 3 <= frame.id // 12 < 12:
                frame.bgr[:] = 0
            return frame

    screen = Watcher()
    run(Blinking([12 * i for i in range(15)]), blob_index, Outputs(screen))
    shown = [len(scene.detections) for scene in screen.scenes]
    assert min(shown[:3]) > min(shown) == 0 < min(shown[12:])
    assert len({scene.rows for scene in screen.scenes}) == 1


def test_strips_out_of_sight_are_scrolled_into_sight(blob_index: Any) -> None:
    show = SETTINGS.show.model_copy(update={"window_wh": (320, 240), "header_height": 160})
    most = canvas_of(show).most_strips
    controls = Controls(SETTINGS.detect, show)

    def goes_on(screen: Watcher) -> bool:
        if len(screen.scenes) == 3:
            controls.scroll(1)
        return True

    screen = Watcher(goes_on)
    run(Given([0, 12, 24, 36, 48, 60]), blob_index, Outputs(screen), controls=controls)
    objects = len(screen.scenes[-1].detections)
    assert objects > most >= 1
    firsts = [scene.first for scene in screen.scenes]
    assert set(firsts) == {0, 1}
    assert controls.now.first_strip == 1


@pytest.mark.parametrize(
    ("first", "last", "by", "then"),
    [(0, 0, 1, 0), (0, 0, -1, 0), (0, 3, 1, 1), (2, 3, 6, 3), (2, 3, -6, 0), (9, 3, -1, 2), (9, 3, 1, 3)],
)
def test_strips_are_scrolled_no_further_than_to_the_last(first: int, last: int, by: int, then: int) -> None:
    assert scrolled(first, last, by) == then
