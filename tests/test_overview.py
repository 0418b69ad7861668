"""The pictures of a library: every object has a place of its own, and sheets leave the own photo out."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtsearch.config import Settings
from rtsearch.index import open_index
from rtsearch.library import Library
from rtsearch.overview import map_picture, neighbour_sheet, to_grid
from rtsearch.records import U8Array


@given(count=st.integers(1, 60), seed=st.integers(0, 1000))
def test_every_place_gets_a_cell_of_its_own(count: int, seed: int) -> None:
    places = np.random.default_rng(seed).normal(size=(count, 2))
    side = int(np.ceil(np.sqrt(count)))
    cells = to_grid(places, side)
    assert cells.min() >= 0
    assert cells.max() < side
    assert len({tuple(cell) for cell in cells.tolist()}) == count


def test_places_that_lie_on_the_grid_stay() -> None:
    lines, columns = np.divmod(np.arange(49), 7)
    places = np.stack([columns, lines], axis=1).astype(float)
    assert np.array_equal(to_grid(places, 7), places)


def test_equal_places_fill_the_cells_around_them() -> None:
    cells = to_grid(np.zeros((9, 2)), 5)
    assert len({tuple(cell) for cell in cells.tolist()}) == 9


def _occupied(picture: U8Array, cell_px: int) -> int:
    """Cells that hold more than the ground."""
    lines, columns = picture.shape[0] // cell_px, picture.shape[1] // cell_px
    cells = picture[: lines * cell_px, : columns * cell_px].reshape(lines, cell_px, columns, cell_px, 3)
    spread = cells.max((1, 3, 4)).astype(int) - cells.min((1, 3, 4))
    return int((spread > 20).sum())


def test_a_map_shows_every_object_once(library: Path) -> None:
    pytest.importorskip("sklearn", reason="needs scikit-learn (extra demo)")
    index = open_index(Library.open(library), Settings())
    picture = map_picture(index, objects=30)
    assert _occupied(picture, 44) == min(30, len(index))


def test_a_sheet_has_a_line_per_object(library: Path) -> None:
    index = open_index(Library.open(library), Settings())
    picture = neighbour_sheet(index, objects=4, results=5)
    assert picture.shape == (400, 110 + 6 * 100 + 8, 3)
    first = picture[:, 110:210]
    assert all(cv2.Laplacian(first[y : y + 100], cv2.CV_64F).std() > 1 for y in range(0, 400, 100))
