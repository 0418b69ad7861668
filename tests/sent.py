"""Scenes for the tests of outlets, and a library that knows any row."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rtsearch.send import SentScene
from rtsearch.types import Detections, I32Array, Neighbours

NAMES = ("person", "cell phone", "cup")
WH = (640, 480)


class AnyLibrary:
    """Library in which row n is a cup of photo n."""

    def hits(self, rows: I32Array, /) -> list[dict[str, Any]]:
        return [{"photo": f"é/{row}.jpg", "xyxy": [0, 0, 9, 9], "label": "cup"} for row in rows.tolist()]


def scene(
    number: int,
    objects: Sequence[tuple[int, int, tuple[float, float, float, float]]] = (),
    *,
    row: int = 7,
    missed: int = 0,
    at_s: float | None = None,
    library: Any = None,
) -> SentScene:
    """Scene of objects ``(track, label, xyxy)``, the last of them missed, whose rows begin with ``row``."""
    n = len(objects)
    found = Detections(
        xyxy=np.array([box for _, _, box in objects], np.float32).reshape(n, 4),
        score=np.full(n, 0.5, np.float32),
        label=np.array([label for _, label, _ in objects], np.int32),
        vector=np.zeros((n, 0), np.float32),
        track=np.array([track for track, _, _ in objects], np.int64),
    )
    rows = np.tile(np.array([[row, row + 1]], np.int32), (n, 1))
    near = Neighbours(rows, np.full(rows.shape, 0.25, np.float32))
    at_s = number / 25 if at_s is None else at_s
    strips, t_s = tuple(range(n)), number / 25
    return SentScene(
        number, t_s, at_s, WH, found, near, strips, n - missed, 2, NAMES, library or AnyLibrary()
    )


def person(track: int, x: float = 64.0) -> tuple[int, int, tuple[float, float, float, float]]:
    return track, 0, (x, 48.0, x + 128, 240.0)


class Seen:
    """List that threads append to and a test waits for."""

    def __init__(self) -> None:
        self.items: list[Any] = []
        self._changed = threading.Condition()

    def add(self, item: Any) -> None:
        with self._changed:
            self.items.append(item)
            self._changed.notify_all()

    def wait(self, until: Callable[[list[Any]], bool], seconds: float = 20) -> list[Any]:
        """Wait until the items satisfy a condition."""
        with self._changed:
            assert self._changed.wait_for(lambda: until(self.items), seconds), self.items
            return list(self.items)

    def count(self, n: int) -> list[Any]:
        """Wait for n items."""
        return self.wait(lambda items: len(items) >= n)


def until(condition: Callable[[], Any], seconds: float = 20, pause_s: float = 0.005) -> None:
    """Wait until a condition of another thread holds that makes no event."""
    end_s = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(pause_s)
