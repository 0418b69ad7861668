"""The grid of strips: chosen once, changed late."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from playing import SETTINGS, Given, Watcher, run

from rtsearch.live import Controls, GridChoice, Outputs
from rtsearch.live.session import scrolled
from rtsearch.live.strip_grid import GROWS_AFTER_S, GROWS_SOON_S, SHRINKS_AFTER_S
from rtsearch.render.layout import canvas_of

FPS = 25
GROWS, SHRINKS = round(GROWS_AFTER_S * FPS), round(SHRINKS_AFTER_S * FPS)


def kept(objects: list[int]) -> list[int]:
    """Grids of frames with so many objects each, where two strips are the least and six the most."""
    grid = GridChoice()
    return [grid.keep(n, 2, 6, 7 + t / FPS) for t, n in enumerate(objects)]


@pytest.mark.parametrize(
    ("objects", "last"),
    [
        ([0], 2),
        ([1], 2),
        ([5], 5),  # a picture begins with a grid for what it shows
        ([9], 6),
        ([1] + [4] * GROWS, 2),
        ([1] + [4] * (GROWS + 1), 4),
        ([1] + [4, 5] * GROWS, 4),  # four were there all the time
        ([1] + [4] * (GROWS - 1) + [2] + [4] * (GROWS - 1), 2),
        ([4] + [1] * SHRINKS, 4),
        ([4] + [1] * (SHRINKS + 1), 2),
        ([4] + [1, 3] * SHRINKS, 3),
        ([4] + [1] * (SHRINKS - 1) + [4] + [1] * (SHRINKS - 1), 4),
    ],
)
def test_the_grid_changes_only_after_a_need_of_seconds(objects: list[int], last: int) -> None:
    assert kept(objects)[-1] == last


@given(st.lists(st.integers(0, 9), min_size=1, max_size=400))
def test_the_grid_never_changes_twice_within_five_seconds(objects: list[int]) -> None:
    grids = kept(objects)
    assert all(2 <= grid <= 6 for grid in grids)
    changes = [t for t in range(1, len(grids)) if grids[t] != grids[t - 1]]
    assert all(later - sooner >= GROWS for sooner, later in pairwise([0, *changes]))


def test_it_gets_soon_what_moves_nothing_else() -> None:
    grid = GridChoice()
    grids = [grid.keep(1 if t < 5 else 5, 2, 6, t / FPS, 3) for t in range(GROWS + 30)]
    assert grids.index(3) == 5 + GROWS_SOON_S * FPS
    assert grids.index(5) == 5 + GROWS_SOON_S * FPS + 1 + GROWS


def test_another_photo_is_laid_out_anew() -> None:
    grid = GridChoice()
    assert grid.keep(5, 2, 6, 0.0) == 5
    grid.clear()
    assert grid.keep(3, 2, 6, 0.0) == 3


def test_another_shape_of_the_picture_is_laid_out_anew() -> None:
    grid = GridChoice()
    assert [grid.keep(1, base, 9, 0.0) for base in (2, 6, 2)] == [2, 6, 2]


def test_a_source_that_has_gone_back_counts_anew() -> None:
    grid = GridChoice()
    grid.keep(0, 2, 6, 10.0)
    grid.keep(4, 2, 6, 11.0)
    assert [grid.keep(4, 2, 6, at_s) for at_s in (3.0, 7.9, 8.0)] == [2, 2, 4]


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
