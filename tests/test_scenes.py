"""Results, crops, new sizes, pauses and jumps in any order: what is on the screen belongs together.

The threads of one source are played by the test: frames are read, searched, lost and shown in the order that
hypothesis chooses. A frame's number says which objects it has, an object's track which rows, and the
brightness of a crop of which row it is.
"""

from __future__ import annotations

import math
import queue
import threading
import time
import zlib
from collections import deque
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, TypeAlias

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtsearch._util.metrics import Meter
from rtsearch.config import load_settings
from rtsearch.library.thumbnails import ThumbCache, ThumbPlaces
from rtsearch.live import Controls, Steadied
from rtsearch.live.capture_side import CaptureSide, Orders
from rtsearch.live.live_frame import Latest, LiveFrame
from rtsearch.live.live_index import LiveIndex
from rtsearch.live.report import Tally
from rtsearch.live.shared import Shared
from rtsearch.live.view import View
from rtsearch.sources import Source
from rtsearch.types import Detections, F32Array, Frame, I32Array, Neighbours, Scene, U8Array

SETTINGS = load_settings(None, ["show.results=5", "show.fill=false", "show.window_wh=[320, 240]"])
ROWS, K, FPS, FRAMES = 24, 5, 25, 400
OBJECTS_OF = (2, 2, 1, 3, 0, 2)  # by number of the frame; often as many as before, so that no count tells
Act: TypeAlias = tuple[str, int]

ACTS: list[Act] = [
    *[("capture", 0)] * 12,
    *[("result", 0)] * 8,
    *[("result with crops", 0)] * 3,
    *[("idle", 0)] * 10,
    *[("lose", 0)] * 5,
    *[("step", 0)] * 5,
    *[("step back", 0)] * 2,
    *[("pause", 0)] * 10,
    ("pause", 1),
    *[("go to", number) for number in (0, 7, 200)],
    *[("crops", height) for height in (0, 60, 76)],
    *[("thumb height", height) for height in (60, 76, 110)],
    *[("width", width) for width in (320, 360)],
]
acts = st.lists(st.sampled_from(ACTS), min_size=20, max_size=60)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> ThumbPlaces:
    """Crops of one brightness, which says of which row they are."""
    jpegs = [
        cv2.imencode(".jpg", np.full((40, 40, 3), 10 * row, np.uint8))[1].tobytes() for row in range(ROWS)
    ]
    pack = tmp_path_factory.mktemp("pack") / "0.pack"
    pack.write_bytes(b"".join(jpegs))
    length = np.array([len(jpeg) for jpeg in jpegs], np.int32)
    offset = np.concatenate([[0], length.cumsum()[:-1]]).astype(np.int64)
    crc32 = np.array([zlib.crc32(jpeg) for jpeg in jpegs], np.int64)
    return ThumbPlaces(np.zeros(ROWS, np.int32), offset, length, crc32, (pack,))


def rows_of(track: int) -> list[int]:
    return [(7 * track + i) % ROWS for i in range(K)]


def tracks_of(number: int) -> list[int]:
    return [10 * number + i for i in range(OBJECTS_OF[number % len(OBJECTS_OF)])]


def objects_of(number: int) -> Steadied:
    tracks = tracks_of(number)
    n = len(tracks)
    found = Detections(
        np.tile(np.array([5, 5, 30, 40], np.float32), (n, 1)),
        np.ones(n, np.float32),
        np.zeros(n, np.int32),
        np.zeros((n, 0), np.float32),
        np.array(tracks, np.int64),
    )
    row = np.array([rows_of(track) for track in tracks], np.int32).reshape(n, K)
    near = Neighbours(row, np.ones((n, K), np.float32))
    return Steadied(found, near, tuple(range(n)), (0,) * n, np.zeros((n, 4), np.float32), n)


class Film(Source):
    """A file by the wall clock, whose frames are there at once."""

    live = paced = seekable = True

    def __init__(self) -> None:
        super().__init__("film", fps=FPS, frames=FRAMES, wh=(64, 48))
        self._next_id = self._number = 0

    def __next__(self) -> Frame:
        number, self._number = self._number, self._number + 1
        self._next_id += 1
        bgr = np.full((48, 64, 3), number % 250, np.uint8)
        return Frame(self._next_id - 1, time.monotonic(), number / FPS, bgr)

    def seek(self, seconds: float) -> bool:
        self._number = math.ceil(max(0.0, seconds) * FPS - 1e-6)
        return True

    def close(self) -> None:
        pass


class Index:
    """What the notes say of an index."""

    class library:  # noqa: N801
        photo_count = 1
        state = ""

    def __len__(self) -> int:
        return ROWS

    def shapes(self, rows: I32Array) -> F32Array:
        return np.ones(len(rows), np.float32)

    heights = shapes


def number_of(frame: Frame) -> int:
    assert frame.pts_s is not None
    return round(frame.pts_s * FPS)


class Bench:
    """One source, its threads, and what must be on the screen."""

    def __init__(self, places: ThumbPlaces) -> None:
        self.controls = Controls(SETTINGS.detect, SETTINGS.show)
        self.cache = ThumbCache(places, 1 << 22)
        index: Any = Index()
        crops: Any = SimpleNamespace(of=lambda _: self.cache, drifting=lambda _: ())
        shared = Shared(
            *(index, LiveIndex(index), SETTINGS.search, self.controls, crops, Meter()),
            *(("cup",), 1, threading.Event()),
        )
        orders: Orders = queue.SimpleQueue()
        newest, tally, film = Latest[LiveFrame](), Tally(), Film()
        self.reader = CaptureSide(0, film, self.controls, orders, newest, tally)
        self.film = film
        self.view = View(0, film, shared, orders, newest, tally)
        self.waiting: deque[LiveFrame] = deque()
        self.scene: Scene | None = None
        self.epoch = 0  # of the frame on the screen
        self.arrived: list[LiveFrame] = []
        self.place = 0  # number of the frame that the user looks at or has gone to
        self.exact = False  # nothing but the frame of this number may come next

    # Acts -------------------------------------------------------------------------------------------------

    def act(self, name: str, value: int) -> None:
        if name in ("capture", "idle"):
            getattr(self, name)()
        elif name.startswith("result"):
            self.result(with_crops=name.endswith("crops"))
        elif name == "lose":
            if len(self.waiting) > 1:  # the newest is never lost
                self.waiting.popleft()
        elif name == "crops":
            height = self.scene.thumb_height if self.scene is not None else 76
            self.cache.prefetch(range(ROWS), value or height)
        elif name == "pause":
            self.controls.change(paused=bool(value))
            self.exact = self.exact and bool(value)
        elif name == "step":
            self.controls.change(paused=True)
            self.view.step()
        elif name == "step back":
            self.controls.change(paused=True)
            self.view.step_back()
            self.goes(max(0, self.place - 1))
        elif name == "go to":
            self.view.go_to(value / FPS)
            self.goes(value)
        else:
            key, wanted = ("thumb_height", value) if name == "thumb height" else ("window_wh", (value, 240))
            self.controls.change(show=self.controls.now.show.model_copy(update={key: wanted}))

    def goes(self, number: int) -> None:
        self.place, self.exact = number, self.controls.now.paused

    def capture(self) -> None:
        if self.reader._take_orders() or not self.controls.now.paused:
            self.waiting.append(self.reader._handed_on(next(self.film)))

    def result(self, *, with_crops: bool = False) -> None:
        if not self.waiting or (self.controls.now.paused and not self.view.steps):
            return
        read = self.waiting.popleft()
        objects = objects_of(number_of(read.frame))
        found = replace(read, detections=objects.detections, objects=objects, behind=True)
        if with_crops:  # as a file's results have them
            lines = objects.neighbours.row.tolist()
            found = replace(
                found, crops=tuple(tuple(self.cache.get(row, 76) for row in line) for line in lines)
            )
        epoch = self.view._epoch
        if not self.view.wants(found):
            if self.view._epoch > epoch:  # back to the first of the frames that were left out
                self.goes(self.place + 1)
            return
        self.arrived.append(found)
        if self.view.take(found):
            self.put(self.view.scene(found), found.epoch, own=True)
        assert self.scene is not None
        if self.scene.frame is found.frame:
            assert self.scene.detections.track.tolist() == tracks_of(number_of(found.frame))

    def idle(self) -> None:
        guess = None if self.controls.now.paused and not self.view.steps else self.view.guess()
        if guess is not None:
            scene, warning = guess
            assert not self.controls.now.paused
            self.put(scene, self.view._epoch, own=False, warning=warning)
        elif (better := self.view.better()) is not None:
            assert self.scene is not None
            assert better.frame is self.scene.frame
            assert better.detections is self.scene.detections
            self.put(better, self.epoch, own=None)

    # What must be on the screen ---------------------------------------------------------------------------

    def put(self, scene: Scene, epoch: int, *, own: bool | None, warning: str = "") -> None:
        before, self.scene = self.scene, self.view.draw(scene, warning)[0]
        number = number_of(scene.frame)
        if own is not None and (before is None or before.frame is not scene.frame):
            self.check_order(before, number, epoch)
            assert before is None or scene.frame.id > before.frame.id
            self.place, self.exact, self.epoch = number, False, epoch
        if own:
            assert scene.detections.track.tolist() == tracks_of(number)
        elif own is False:  # moved along: the objects of the last result, of the same place in the film
            last = self.arrived[-1]
            assert (last.epoch, scene.detections.track.tolist()) == (epoch, tracks_of(number_of(last.frame)))
        self.check_crops(before)

    def check_order(self, before: Scene | None, number: int, epoch: int) -> None:
        assert epoch == self.view._epoch
        if not self.controls.now.paused or before is None:
            return
        if epoch == self.epoch:
            assert number == number_of(before.frame) + 1
        elif self.exact:
            assert number == self.place
        else:
            assert number >= self.place

    def check_crops(self, before: Scene | None) -> None:
        scene = self.scene
        assert scene is not None
        tracks = scene.detections.track.tolist()
        assert scene.neighbours.row.tolist() == [rows_of(track) for track in tracks]
        for track, crops in zip(tracks, scene.thumbs, strict=True):
            assert all(c is None or row_of(c) == row for c, row in zip(crops, rows_of(track), strict=True))
        if before is not None and before.detections is scene.detections:  # no crop is taken away
            for old, new in zip(before.thumbs, scene.thumbs, strict=True):
                assert all(was is None or now is not None for was, now in zip(old, new, strict=True))

    def settle(self) -> None:
        """Let everything that is under way come to its end, in a pause."""
        self.act("pause", 1)
        for _ in range(12):
            self.capture()
            while self.waiting and self.view.steps:
                self.result()
        self.act("crops", 0)
        self.idle()


def row_of(crop: U8Array) -> int:
    return round(float(crop[len(crop) // 2, crop.shape[1] // 2].mean()) / 10)  # a small one has a dark ground


@settings(max_examples=200)
@given(acts)
def test_what_is_on_the_screen_belongs_together(places: ThumbPlaces, order: list[Act]) -> None:
    bench = Bench(places)
    for name, value in order:
        bench.act(name, value)
    bench.settle()
    assert bench.view.steps == 0  # every step has been made
    if bench.scene is not None:
        assert all(crop is not None for crops in bench.scene.thumbs for crop in crops)
