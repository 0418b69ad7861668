"""The pictures of a library: a map shows every object once, sheets leave the own photo out."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from rtsearch.config import Settings
from rtsearch.library import Library
from rtsearch.library.index import open_index
from rtsearch.render import contact_sheet
from rtsearch.render.contact_sheet import crop_sheet, map_picture, neighbour_sheet
from rtsearch.render.grid_sort import grid_shape
from rtsearch.types import U8Array


def _occupied(picture: U8Array, cell_px: int) -> int:
    """Cells that hold more than the ground."""
    lines, columns = picture.shape[0] // cell_px, picture.shape[1] // cell_px
    cells = picture[: lines * cell_px, : columns * cell_px].reshape(lines, cell_px, columns, cell_px, 3)
    spread = cells.max((1, 3, 4)).astype(int) - cells.min((1, 3, 4))
    return int((spread > 20).sum())


@pytest.mark.parametrize("objects", [1, 2, 7, 30])
def test_a_map_shows_every_object_once(library: Path, objects: int) -> None:
    index = open_index(Library.open(library), Settings())
    told: list[tuple[str, float]] = []
    picture = map_picture(index, objects, progress=lambda what, share: told.append((what, share)))
    lines, columns = grid_shape(min(objects, len(index)))
    cell = picture.shape[1] // columns
    assert picture.shape == (lines * cell, columns * cell, 3)
    assert _occupied(picture, cell) == min(objects, len(index))
    assert {what for what, _ in told} == {"arranging", "drawing"}
    assert told[-1] == ("drawing", 1)


def test_a_map_is_as_large_as_a_screen(library: Path) -> None:
    """Crops fill their squares: of the ground only lines between them are seen."""
    picture = map_picture(open_index(Library.open(library), Settings()), 100_000)
    height, width = picture.shape[:2]
    assert width <= 3840
    assert 1.4 < width / height < 2.1
    assert (picture == 22).all(-1).mean() < 0.1


@pytest.mark.parametrize(("objects", "wh"), [(1, (400, 424)), (3, (1200, 424)), (20, (1280, 3 * 184))])
def test_chosen_objects_are_large_where_they_are_few(
    library: Path, objects: int, wh: tuple[int, int]
) -> None:
    index = open_index(Library.open(library), Settings())
    rows = list(range(objects))[::-1]
    picture = crop_sheet(index, rows)
    assert picture.shape == (wh[1], wh[0], 3)


def test_chosen_objects_are_named(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = open_index(Library.open(library), Settings())
    drawn: list[str] = []
    monkeypatch.setattr(contact_sheet, "draw_text", lambda _picture, text, *_more: drawn.append(text))
    crop_sheet(index, [7, 3])
    names = [hit["label"] for hit in index.hits(np.array([7, 3], np.int32))]
    assert drawn == [f"1  {names[0]} 7", f"2  {names[1]} 3"]


def test_small_crops_are_no_larger_than_is_sharp() -> None:
    """They stand on the ground of a sheet; a map, whose squares are full, has smaller squares for them."""
    thumb = np.full((20, 40, 3), 255, np.uint8)
    lit = (contact_sheet._square(thumb, 200) == 255).all(-1)
    assert (lit.any(1).sum(), lit.any(0).sum()) == (30, 60)
    assert (contact_sheet._cut_square(thumb, 200) == 255).all()


def test_a_sheet_has_a_line_per_object(library: Path) -> None:
    index = open_index(Library.open(library), Settings())
    picture = neighbour_sheet(index, objects=4, results=5)
    assert picture.shape == (400, 110 + 6 * 100 + 8, 3)
    first = picture[:, 110:210]
    assert all(cv2.Laplacian(first[y : y + 100], cv2.CV_64F).std() > 1 for y in range(0, 400, 100))
