"""The card before the first picture: black, then a sentence that pulses, never white."""

from __future__ import annotations

import numpy as np
import pytest

from rtsearch.config import ShowSettings
from rtsearch.render.layout import Canvas, canvas_of
from rtsearch.ui.waiting_card import WaitingCard


def canvas(theme: str = "dark", wh: tuple[int, int] = (640, 360)) -> Canvas:
    return canvas_of(ShowSettings(theme=theme, window_wh=wh))


def cards(theme: str, until_s: float = 12.0) -> dict[float, np.ndarray]:
    """By time: every card that differs from the one before."""
    card, size = WaitingCard(100.0), canvas(theme)
    drawn = {t_s: card.picture(100 + t_s, size) for t_s in np.arange(0, until_s, 0.02).round(2)}
    return {t_s: picture for t_s, picture in drawn.items() if picture is not None}


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_black_comes_first_and_nothing_flashes(theme: str) -> None:
    drawn = cards(theme)
    assert not drawn[0.0].any()
    assert min(t_s for t_s, card in drawn.items() if card.any()) >= 1.0
    jumps = [
        np.abs(b.astype(int) - a).max()
        for a, b in zip(drawn.values(), list(drawn.values())[1:], strict=False)
    ]
    assert max(jumps) <= 40


def test_the_sentence_pulses_slowly_on_the_ground() -> None:
    drawn = cards("dark")
    ink = np.array([card.max() for t_s, card in drawn.items() if t_s > 3])
    assert ink.max() >= 230
    assert ink.min() >= 60  # it never goes out
    turns = np.flatnonzero(np.diff(np.sign(np.diff(ink.astype(int)))) < 0)
    assert len(turns) in (2, 3)  # a pulse in four seconds
    last = list(drawn.values())[-1]
    assert last[0, 0].tolist() == [15, 15, 14]
    rows, columns = np.nonzero((last != last[0, 0]).any(2))
    assert abs(columns.min() + columns.max() - 640) <= 4
    assert abs(rows.min() + rows.max() - 360) <= 24  # letters reach above the middle of their line
    assert len(drawn) < 12 * 13  # ten a second or so, for four cores have better things to do


def test_another_size_is_drawn_at_once() -> None:
    card = WaitingCard(0.0)
    assert card.picture(5.0, canvas()) is not None
    assert card.picture(5.0, canvas()) is None
    small = card.picture(5.0, canvas(wh=(320, 240)))
    assert small is not None
    assert small.shape == (240, 320, 3)
