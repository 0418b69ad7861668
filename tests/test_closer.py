"""A closer look: the photo of an object, and the objects that are like it."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from playing import SETTINGS, Given, Watcher, lines, run

from rtsearch.config import SearchSettings, ShowSettings
from rtsearch.library.index import SearchIndex
from rtsearch.library.reader import Library
from rtsearch.live import Controls, Outputs
from rtsearch.live.inspector import Inspector
from rtsearch.live.library_crops import LibraryCrops
from rtsearch.live.object_frame import object_frame
from rtsearch.render.closer import Caption, alike_picture, photo_picture, row_at
from rtsearch.render.layout import canvas_of
from rtsearch.render.plan import Item
from rtsearch.render.strips import compose_strips
from rtsearch.types import U8Array

SHOW = ShowSettings(window_wh=(800, 600), text="names")
CANVAS = canvas_of(SHOW)
HERE = (Item((0,), (0, 0, 50, 50), None, row=3), Item((1,), (60, 0, 50, 50), None))
CAPTION = Caption("cup", "folder/photo.jpg")


def accents(picture: U8Array) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of what has the colour of corners."""
    rows, columns = np.nonzero((picture == CANVAS.theme.accent).all(2))
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


@pytest.mark.parametrize("wh", [(1600, 1200), (400, 300), (100, 500), (3000, 100)])
def test_a_photo_is_whole_and_its_object_has_corners(wh: tuple[int, int]) -> None:
    grey = np.full((wh[1], wh[0], 3), 90, np.uint8)
    box = np.array([wh[0] * 0.25, wh[1] * 0.25, wh[0] * 0.75, wh[1] * 0.75], np.float32)
    picture = photo_picture(grey, box, CAPTION, CANVAS).picture
    assert picture.shape == (600, 800, 3)
    above = picture[: 600 - 34]
    rows, columns = np.nonzero((above == 90).all(2))
    size = columns.max() + 1 - columns.min(), rows.max() + 1 - rows.min()
    scale = min(1.5, 800 / wh[0], 566 / wh[1])
    assert np.abs(np.array(size) - np.array(wh) * scale).max() <= 2
    left, top, right, bottom = accents(above)
    middle = (left + right) / 2, (top + bottom) / 2
    assert np.abs(np.array(middle) - (400, 283)).max() <= 3
    assert abs((right - left) - wh[0] * scale / 2) <= 4
    assert picture[600 - 34 :].max() > 200  # the line of text


def test_those_that_are_alike_fill_lines_and_can_be_clicked() -> None:
    rng = np.random.default_rng(0)
    crops = [rng.integers(60, 255, (100, rng.integers(40, 250), 3), dtype=np.uint8) for _ in range(30)]
    rows = list(range(100, 130))
    closer = alike_picture(rows, crops, CAPTION, CANVAS)
    assert [item.row for item in closer.items] == rows[: len(closer.items)]
    assert len({item.place[1] for item in closer.items}) == 3
    for item in closer.items:
        x, y, width, height = item.place
        assert row_at(closer.items, (x + width // 2, y + height // 2)) == item.row
    ends = [a.place[0] + a.place[2] for a, b in pairwise(closer.items) if b.place[0] == 0]
    assert all(abs(end - 800) <= 1 for end in ends)
    x, y, width, height = closer.items[0].place
    corners = np.array(accents(closer.picture))
    assert np.abs(corners - (x, y, x + width, y + height)).max() <= 2
    assert row_at(closer.items, (400, 590)) == -1


# Looking ---------------------------------------------------------------------------------------------------


@pytest.fixture
def inspector(blob_index: SearchIndex):
    with Inspector(LibraryCrops(10**7, ""), SearchSettings(), 100.0) as opened:
        yield opened


def come(inspector: Inspector, index: SearchIndex, show: ShowSettings = SHOW) -> U8Array:
    """The next picture, which a thread draws."""
    while not inspector.update(index, show):
        time.sleep(0.005)
    assert inspector.picture is not None
    return inspector.picture


def test_a_click_shows_the_photo_and_another_goes_back(inspector: Inspector, blob_index: SearchIndex) -> None:
    inspector.click((200, 200), HERE, blob_index)  # beside the crops
    inspector.click((70, 10), HERE, blob_index)  # on a label
    assert not inspector.looks
    inspector.click((10, 10), HERE, blob_index)
    assert inspector.looks
    assert inspector.picture is None  # the live one stays until the photo is there
    picture = come(inspector, blob_index)
    photo = object_frame(blob_index, 3, 100.0).bgr
    x1, _, x2, _ = blob_index.boxes[3]
    scaled_up = photo_picture(photo, blob_index.boxes[3], Caption("", ""), CANVAS).picture
    np.testing.assert_array_equal(picture[:566], scaled_up[:566])
    assert accents(picture[:566])[2] - accents(picture[:566])[0] >= (x2 - x1)
    assert not inspector.update(blob_index, SHOW)  # nothing new
    inspector.click((10, 10), HERE, blob_index)
    assert not inspector.looks
    assert inspector.picture is None


def test_more_like_this_and_on(inspector: Inspector, blob_index: SearchIndex) -> None:
    inspector.more()
    assert not inspector.looks
    inspector.click((10, 10), HERE, blob_index)
    photo = come(inspector, blob_index).copy()
    inspector.more()
    first = come(inspector, blob_index).copy()
    inspector.more()  # it is there already
    assert not inspector.update(blob_index, SHOW)
    items = inspector._items
    assert items[0].row == 3
    others = [item.row for item in items[1:]]
    assert 3 not in others
    photos = blob_index.photo_numbers[[item.row for item in items]].tolist()
    assert len(set(photos)) == len(photos) == 12
    x, y, *_ = items[1].place
    inspector.click((x + 5, y + 5), HERE, blob_index)
    second = come(inspector, blob_index).copy()
    assert inspector._items[0].row == items[1].row
    assert (second != first).any()
    x, y, *_ = inspector._items[0].place
    inspector.click((x + 5, y + 5), HERE, blob_index)  # the object itself: its photo
    come(inspector, blob_index)
    for before in (second, first, photo):
        inspector.back()
        np.testing.assert_array_equal(come(inspector, blob_index), before)
    inspector.back()
    assert not inspector.looks


def test_a_photo_that_has_gone_is_told_of_in_the_picture(
    inspector: Inspector, blob_index: SearchIndex, tmp_path: Path
) -> None:
    library = blob_index.library
    moved = Library(library.folder, library.manifest, tmp_path)
    there, library = blob_index.library, moved
    blob_index.library = moved
    try:
        inspector.click((10, 10), HERE, blob_index)
        picture = come(inspector, blob_index)
    finally:
        blob_index.library = there
    crop = LibraryCrops(10**6, "").of(blob_index).get(3)
    inner = accents(picture[:566])
    assert abs((inner[2] - inner[0]) - 1.5 * crop.shape[1]) <= 2  # its crop, and no larger
    assert picture[566:, 400:].max() > 120  # a long line: the path and the reason


def test_another_size_of_the_window_is_drawn_anew(inspector: Inspector, blob_index: SearchIndex) -> None:
    inspector.click((10, 10), HERE, blob_index)
    assert come(inspector, blob_index).shape == (600, 800, 3)
    small = SHOW.model_copy(update={"window_wh": (640, 480)})
    assert come(inspector, blob_index, small).shape == (480, 640, 3)


def test_what_is_looked_at_stays_in_its_state_of_the_library(
    inspector: Inspector, blob_index: SearchIndex
) -> None:
    newer: Any = SimpleNamespace(library=object())  # whose rows are others
    inspector.click((10, 10), HERE, blob_index)
    photo = come(inspector, newer).copy()
    inspector.more()
    come(inspector, newer)
    inspector.back()
    np.testing.assert_array_equal(come(inspector, blob_index), photo)


# In a run --------------------------------------------------------------------------------------------------


def test_the_run_goes_on_behind_a_photo_and_is_recorded(blob_index: SearchIndex, tmp_path: Path) -> None:
    controls = Controls(SETTINGS.detect, SETTINGS.show)
    canvas = canvas_of(SETTINGS.show)
    photo: list[U8Array] = []

    def click(watcher: Watcher) -> bool:
        """Click on a crop, once there is one."""
        plan = compose_strips(watcher.scenes[-1], canvas) if watcher.scenes else None
        item = next((item for item in plan.items if item.row >= 0), None) if plan else None
        if item is None:
            return False
        x, y, width, height = item.place
        controls.click((x + width // 2, y + height // 2))
        bgr, box = object_frame(blob_index, item.row, 100.0).bgr, blob_index.boxes[item.row]
        photo.append(photo_picture(bgr, box, CAPTION, canvas).picture[: -canvas.px(34)])
        return True

    def is_shown(watcher: Watcher) -> bool:
        if not np.array_equal(watcher.pictures[-1][: len(photo[0])], photo[0]):
            return False
        assert controls.now.looks
        controls.back()
        return True

    def is_gone(watcher: Watcher) -> bool:
        return not np.array_equal(watcher.pictures[-1][: len(photo[0])], photo[0])

    steps = [click, is_shown, is_gone]

    def goes_on(watcher: Watcher) -> bool:
        if steps[0](watcher):
            steps.pop(0)
        return bool(steps)

    source, out = Given(list(range(3000)), every_s=0.002), tmp_path / "seen.jsonl"
    report = run(source, blob_index, Outputs(Watcher(goes_on), records=(out,)), controls=controls)
    assert steps == []
    assert not controls.now.looks
    assert len([line for line in lines(out) if "objects" in line]) == report.frames_shown
