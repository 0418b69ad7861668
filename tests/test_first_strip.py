"""How soon a strip is whole: with its object where its crops are in memory, soon after where none is."""

from __future__ import annotations

import threading
import time
from typing import Any

import blobs
import numpy as np
import pytest
from playing import SETTINGS, Watcher

from rtsearch.live import Outputs, play
from rtsearch.sources import Source
from rtsearch.types import Frame, Scene, U8Array

pytestmark = pytest.mark.usefixtures("no_thread_is_left")

FPS = 30
COLD, GONE, AGAIN, END = 5, 10, 32, 36  # frames at which the objects come, go, come back; tracks live shorter
AT_MOST_LATER = 2
RUNS = 3


class Coming(Source):
    """A camera before which the objects of a photo appear twice."""

    live = True

    def __init__(self, photo: int) -> None:
        super().__init__("coming", fps=FPS, wh=(160, 120))
        self._photo: U8Array = blobs.draw(photo)
        self._closed = threading.Event()
        self._next = 0
        self._begun_s = 0.0

    def __next__(self) -> Frame:
        self._begun_s = self._begun_s or time.monotonic()
        due_s = self._begun_s + self._next / FPS
        if self._next >= END or self._closed.wait(max(0.0, due_s - time.monotonic())):
            raise StopIteration
        number, self._next = self._next, self._next + 1
        there = COLD <= number < GONE or number >= AGAIN
        return Frame(number, time.monotonic(), None, self._photo if there else np.zeros_like(self._photo))

    def close(self) -> None:
        self._closed.set()


def is_whole(scene: Scene) -> bool:
    return all(crop is not None for strip in scene.thumbs for crop in strip)


def later(scenes: list[Scene], since: int) -> int:
    """Frames from the first that shows objects, at or after one, to the first whose strips are whole."""
    shown = [scene for scene in scenes if scene.frame.id >= since and len(scene.detections) > len(scene.held)]
    return next(scene.frame.id for scene in shown if is_whole(scene)) - shown[0].frame.id


def test_a_strip_comes_with_its_object_or_two_frames_later(blob_index: Any) -> None:
    """Each run has a cache of its own, so every first appearance finds it empty.

    What is promised of a machine that keeps up: so the median of the runs is held to it on one that is busy
    with other things; where crops are in memory there is nothing to wait for, whatever else goes on.
    """
    cold, warm = [], []
    for photo in range(RUNS):
        screen = Watcher()
        pipeline: Any = blobs.BlobPipeline()
        play(Coming(photo), pipeline, blob_index, SETTINGS, Outputs(screen))
        cold.append(later(screen.scenes, COLD))
        warm.append(later(screen.scenes, AGAIN))
    assert warm == [0] * RUNS
    assert sorted(cold)[RUNS // 2] <= AT_MOST_LATER, cold
