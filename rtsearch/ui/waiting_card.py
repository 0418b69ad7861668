"""Draw what stands in the window until the first picture: black, and after a moment one calm sentence."""

from __future__ import annotations

import math

import numpy as np

from rtsearch.render.boxes import WAITING
from rtsearch.render.layout import Canvas
from rtsearch.render.text import draw_text, fit_text, text_wh
from rtsearch.render.theme import Colour, mixed
from rtsearch.types import U8Array

__all__ = ["WaitingCard"]

_BLACK_S = 1.0  # most pictures come sooner, and a sentence that flashes up would disturb
_RISES_S = 1.0  # time in which the ground comes up from black
_PULSE_S = 4.0
_LEAST_LIGHT = 0.3  # of the sentence
_STEPS = 24
_BLACK: Colour = (0, 0, 0)
_TEXT_PX = 28


class WaitingCard:
    """Card that pulses slowly.

    Args:
        now_s: time at which the window opens, s.
    """

    def __init__(self, now_s: float) -> None:
        self._since_s = now_s + _BLACK_S
        self._drawn: tuple[Colour, Colour, Canvas] | None = None

    def picture(self, now_s: float, canvas: Canvas) -> U8Array | None:
        """Return the card at a time, (H, W, 3) uint8 BGR; None while it looks as it did before."""
        waited_s = now_s - self._since_s
        ground = mixed(_BLACK, canvas.theme.ground, _stepped(waited_s / _RISES_S))
        ink = mixed(ground, canvas.theme.ink, _light(waited_s))
        if (ground, ink, canvas) == self._drawn:
            return None
        self._drawn = ground, ink, canvas
        card = np.full((canvas.wh[1], canvas.wh[0], 3), ground, np.uint8)
        size = canvas.px(_TEXT_PX)
        text = fit_text(WAITING, size, round(0.9 * canvas.wh[0]), canvas.font)
        width, height = text_wh(text, size, canvas.font)
        draw_text(
            card, text, ((canvas.wh[0] - width) // 2, (canvas.wh[1] - height) // 2), size, ink, canvas.font
        )
        return card


def _light(waited_s: float) -> float:
    """Return the light of the sentence, 0..1: it comes up, then goes to and fro."""
    wave = (1 - math.cos(2 * math.pi * max(0.0, waited_s) / _PULSE_S)) / 2
    least = 0.0 if waited_s < _PULSE_S / 2 else _LEAST_LIGHT
    return _stepped(least + (1 - least) * wave)


def _stepped(share: float) -> float:
    """Return a share of 0..1 in a few steps, so that the card is drawn ten times a second and no more."""
    return round(min(1.0, max(0.0, share)) * _STEPS) / _STEPS
