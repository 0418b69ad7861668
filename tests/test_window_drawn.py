"""What the window draws over the picture: help and messages, in windows of any size."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from rtsearch.config import Settings
from rtsearch.render.layout import Canvas, canvas_of
from rtsearch.ui import window
from rtsearch.ui.keys import HELP


def over(draw: Callable[[np.ndarray, Canvas], None], wh: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A white picture that something was drawn over, and where it is not white any more."""
    picture = np.full((wh[1], wh[0], 3), 255, np.uint8)
    draw(picture, canvas_of(Settings().show.model_copy(update={"window_wh": wh})))
    return picture, (picture != 255).any(2)


SIZES = [(320, 240), (424, 720), (1280, 720), (3840, 2160), (2160, 3840)]


@pytest.mark.parametrize("wh", SIZES)
def test_help_is_whole_in_any_window(wh: tuple[int, int]) -> None:
    picture, covered = over(window._draw_help, wh)
    rows, columns = np.flatnonzero(covered.any(1)), np.flatnonzero(covered.any(0))
    assert rows[0] > 0
    assert rows[-1] < wh[1] - 1
    assert columns[0] > 0
    assert columns[-1] < wh[0] - 1
    assert covered[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()  # a ground for all of it
    assert np.median(picture[covered]) < 50
    inner = np.any(picture[rows[0] + 2 : rows[-1] - 1, columns[0] + 2 : columns[-1] - 1] > 120, axis=2)
    lines = np.diff(inner.any(1).astype(int)) == 1
    assert lines.sum() >= len(HELP) * 0.8  # commas and descenders may bridge two lines where they are close
    assert not inner[:, [0, -1]].any()


@pytest.mark.parametrize("wh", SIZES)
@pytest.mark.parametrize(
    "text", ["loop", "could not save rtsearch-20261231-235959.png in /home/somebody/pictures"]
)
def test_messages_are_never_cut_off(wh: tuple[int, int], text: str) -> None:
    picture, covered = over(lambda picture, canvas: window._draw_banner(picture, text, canvas), wh)
    rows, columns = np.flatnonzero(covered.any(1)), np.flatnonzero(covered.any(0))
    assert wh[1] // 2 < rows[0]
    assert rows[-1] < wh[1] - 1
    assert abs(columns[0] + columns[-1] + 1 - wh[0]) <= 1  # in the middle
    ink = np.all(picture[rows[0] + 2 : rows[-1] - 1, columns[0] + 2 : columns[-1] - 1] > 200, axis=2)
    assert ink.any()
    assert not ink[:, :6].any()
    assert not ink[:, -6:].any()
