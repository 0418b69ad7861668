"""A source with given frames and a screen that keeps what it is shown: playing without a camera or window."""

from __future__ import annotations

import contextlib
import functools
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import blobs

from rtsearch.config import load_settings
from rtsearch.library.index import SearchIndex
from rtsearch.live import Outputs, play
from rtsearch.sources import Source
from rtsearch.types import Frame

PHOTOS = 12
SETTINGS = load_settings(None, ["show.results=5", "show.window_wh=[640, 480]", "show.distinct=false"])


class Given(Source):
    """Frames of the blob photos, by number, 25 a second; ``before`` is called with each number."""

    def __init__(
        self,
        numbers: list[int],
        *,
        live: bool = False,
        every_s: float = 0,
        before: Callable[[int], object] = lambda _: None,
    ) -> None:
        super().__init__("given", fps=25.0, frames=len(numbers), wh=(160, 120))
        self.live = live
        self.closed = threading.Event()
        self._numbers = enumerate(numbers)
        self._every_s = every_s
        self._before = before

    def __next__(self) -> Frame:
        turn, number = next(self._numbers)
        self._before(number)
        if self.closed.wait(self._every_s) if self._every_s else self.closed.is_set():
            raise StopIteration
        return Frame(number, time.monotonic(), turn / 25, blobs.draw(number % PHOTOS))

    def close(self) -> None:
        self.closed.set()


class Watcher:
    """A screen that keeps what it was shown; ``pump`` answers by ``goes_on``."""

    def __init__(self, goes_on: Callable[[Watcher], bool] = lambda _: True) -> None:
        self.scenes = []
        self.pictures = []
        self.threads = set()
        self._goes_on = goes_on

    def show(self, scene, picture) -> None:
        self.threads.add(threading.current_thread())
        self.scenes.append(scene)
        self.pictures.append(picture.copy())

    def pump(self) -> bool:
        return self._goes_on(self)


def three_chances(test: Callable[..., None]) -> Callable[..., None]:
    """For what is promised of a machine that keeps up: one that stands still for seconds is no fault of ours.

    What fails three times in a row fails.
    """

    @functools.wraps(test)
    def patiently(*args, **kwargs) -> None:
        for _ in range(2):
            with contextlib.suppress(AssertionError, StopIteration):
                return test(*args, **kwargs)
        return test(*args, **kwargs)

    return patiently


def run(source: Source, index: SearchIndex, outputs: Outputs | None = None, pipeline=None, **more):
    return play(source, blobs.as_pipeline(pipeline), index, SETTINGS, outputs or Outputs(), **more)


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
