"""Pictures that carry their own number, a camera that gives them, a screen that keeps what it is shown."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np

from rtsearch.sources import Source
from rtsearch.types import Frame, Scene, U8Array

WH = (320, 240)


def picture(number: int) -> U8Array:
    """Its number as a bar code of eight squares below, and one rectangle that moves by 3 px a frame."""
    bgr = np.zeros((WH[1], WH[0], 3), np.uint8)
    x = 10 + 3 * (number % 80)
    bgr[40:90, x : x + 50] = (20, 30, 220)
    for bit in range(8):
        bgr[200:240, 40 * bit : 40 * bit + 40] = 90 * ((number >> bit) & 1)  # too dark to be an object
    return bgr


def number_of(bgr: U8Array) -> int:
    return int(sum((int(bgr[220, 40 * bit + 20, 0]) > 45) << bit for bit in range(8)))


class Moving(Source):
    """A camera that gives ``picture(n)``."""

    live = True

    def __init__(self, count: int, every_s: float) -> None:
        super().__init__("moving", fps=1 / every_s if every_s else None, wh=WH)
        self.closed = threading.Event()
        self._count, self._every_s = count, every_s
        self._next = 0
        self._begun_s = 0.0

    def __next__(self) -> Frame:
        self._begun_s = self._begun_s or time.monotonic()
        due_s = self._begun_s + self._next * self._every_s
        if self._next >= self._count or self.closed.wait(max(0.0, due_s - time.monotonic())):
            raise StopIteration
        self._next += 1
        return Frame(self._next - 1, time.monotonic(), None, picture(self._next - 1))

    def close(self) -> None:
        self.closed.set()


class Watcher:
    """A screen that keeps scenes, and stops the run when ``goes_on`` says so."""

    def __init__(self, goes_on: Callable[[Watcher], bool] = lambda _: True) -> None:
        self.scenes: list[Scene] = []
        self.shown_s: list[float] = []
        self._goes_on = goes_on

    def show(self, scene: Scene, picture: U8Array) -> None:
        self.scenes.append(scene)
        self.shown_s.append(time.monotonic())

    def pump(self) -> bool:
        return self._goes_on(self)
