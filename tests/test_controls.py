"""Where the user can go, and what the picture says there."""

from __future__ import annotations

import queue
import re
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from playing import Given

from rtsearch._util.metrics import Meter
from rtsearch.config import Settings
from rtsearch.live import Controls, Steadied
from rtsearch.live.capture_side import GoTo, Orders
from rtsearch.live.compositor import Appearance, Compositor, _large_first, crop_height
from rtsearch.live.controls import Scroll, Seek, Skip, Step, StepBack
from rtsearch.live.live_frame import Latest
from rtsearch.live.live_index import LiveIndex
from rtsearch.live.report import Tally
from rtsearch.live.shared import Shared
from rtsearch.live.view import View
from rtsearch.render.layout import canvas_of
from rtsearch.render.wall import hero_px
from rtsearch.sources import Source, Status
from rtsearch.types import Detections, F32Array, Frame, I32Array, Neighbours, Scene, U8Array

FRAME = Frame(0, 0.0, 0.0, np.zeros((30, 40, 3), np.uint8))
LARGE = Settings().show.model_copy(update={"window_wh": (640, 480)})


class Going(Given):
    """A source with a timeline."""

    seekable = True


def view_of(source: Source, controls: Controls | None = None) -> tuple[View, Orders]:
    settings = Settings()
    controls = controls or Controls(settings.detect, settings.show)
    index: Any = Index()
    crops: Any = SimpleNamespace(of=lambda _: Crops(76), drifting=lambda _: ())
    found = LiveIndex(index)
    shared = Shared(
        *(index, found, settings.search, controls, crops, Meter(), ("cup",), 1, threading.Event())
    )
    orders: Orders = queue.SimpleQueue()
    return View(0, source, shared, orders, Latest(), Tally()), orders


class Index:
    """What the notes say of an index; each row's crop is wider than that of the row before, and higher."""

    library = SimpleNamespace(photo_count=1, state="")

    def __len__(self) -> int:
        return 7

    def shapes(self, rows: I32Array) -> F32Array:
        return (1 + rows / 10).astype(np.float32)

    def heights(self, rows: I32Array) -> F32Array:
        return (10 * rows).astype(np.float32)

    def label(self, row: int) -> int:
        return 0


@pytest.mark.parametrize(
    ("frames", "to_s", "goes_s"),
    [(0, 15, 15), (0, -1, 0), (225, 3, 3), (225, 15, 8.94), (225, -3, 0), (1, 5, 0)],
)
def test_nobody_goes_beyond_the_end(frames: int, to_s: float, goes_s: float) -> None:
    view, orders = view_of(Going([0] * frames))
    view.go_to(to_s)
    order = orders.get_nowait()
    assert isinstance(order, GoTo)
    assert (order.epoch, order.to_s, view.position_s) == (1, pytest.approx(goes_s), pytest.approx(goes_s))


def test_steps_back_add_up() -> None:
    controls = Controls(Settings().detect, Settings().show)
    view, orders = view_of(Going([0] * 225), controls)
    view.go_to(4)
    for _ in range(3):
        view.step_back()
    asked = [orders.get_nowait() for _ in range(4)]
    places = [(order.epoch, order.to_s) for order in asked if isinstance(order, GoTo)]
    assert places == [(i + 1, pytest.approx(at_s)) for i, at_s in enumerate((4, 3.94, 3.9, 3.86))]
    assert view.position_s == pytest.approx(4 - 3 / 25)


def test_commands_are_taken_once_and_in_order() -> None:
    controls = Controls(Settings().detect, Settings().show)
    controls.step()
    controls.skip(-5)
    controls.step_back()
    controls.seek(3)
    controls.scroll(1)
    assert controls.now.paused
    assert controls.commands() == [Step(), Skip(-5), StepBack(), Seek(3), Scroll(1)]
    assert controls.commands() == []


def test_changes_come_into_force_all_at_once() -> None:
    controls = Controls(Settings().detect, Settings().show, mirror=True)
    before = controls.now
    controls.change(paused=True, mirror=False)
    assert (before.paused, before.mirror) == (False, True)
    assert (controls.now.paused, controls.now.mirror) == (True, False)


class Crops:
    """A cache that holds crops of some heights."""

    def __init__(self, *heights: int) -> None:
        self.heights = set(heights)
        self._crops: dict[tuple[int, int], U8Array] = {}

    def peek(self, row: int, height: int) -> U8Array | None:
        if height not in self.heights:
            return None
        return self._crops.setdefault((row, height), np.full((height, height, 3), row, np.uint8))


def test_while_crops_of_a_new_height_come_those_before_serve() -> None:
    larger = LARGE.model_copy(update={"thumb_height": 200})
    before, after = (crop_height(show, FRAME, 1) for show in (LARGE, larger))
    cache: Any = Crops(before)
    draws, first = Compositor(("cup",), cache, Index()), Appearance(LARGE)
    draws.draw(draws.scene(FRAME, cup(rows=[3, 5]), None, LARGE), first)
    look = Appearance(larger)
    for _ in range(2):
        scene = draws.draw(draws.scene(FRAME, cup(rows=[3, 5]), None, look.show), look).scene
        assert scene.thumb_height == after != before
        assert [len(crop) for crop in scene.thumbs[0] if crop is not None] == [before] * 2
        assert draws.better(look) is None
    cache.heights.add(after)
    better = draws.better(look)
    assert better is not None
    assert [len(crop) for crop in better.thumbs[0] if crop is not None] == [after] * 2
    draws.draw(better, look)
    assert draws.better(look) is None


def test_crops_that_come_late_complete_their_own_scene() -> None:
    """Other objects have been found meanwhile: they are of a frame that is not drawn yet."""
    cache: Any = Crops()
    draws, look = Compositor(("cup",), cache, Index()), Appearance(LARGE)
    first = draws.draw(draws.scene(FRAME, cup(rows=[3, 5]), None, LARGE), look).scene
    draws.scene(FRAME, cup(rows=[8, 9]), None, LARGE)
    cache.heights.add(first.thumb_height)
    better = draws.better(look)
    assert better is not None
    assert [crop[0, 0, 0] for crop in better.thumbs[0] if crop is not None] == [3, 5]
    assert better.neighbours.row.tolist() == [[3, 5]]


def test_no_crop_is_lost_when_those_of_a_new_height_are_not_there() -> None:
    """A file's crops come with their frame, and not through the cache of the drawing thread."""
    draws, crop = compositor(), np.zeros((50, 50, 3), np.uint8)
    draws.draw(draws.scene(FRAME, cup(rows=[3, 5]), ((crop, crop),), LARGE), Appearance(LARGE))
    better = draws.better(Appearance(LARGE.model_copy(update={"thumb_height": 100})))
    assert better is not None
    assert better.thumbs == ((crop, crop),)


@pytest.mark.parametrize(
    "change", [{"first": 2}, {"show": {"text": "none"}}, {"lost_s": 0.5}, {"notes": ("other",)}, {}]
)
def test_a_picture_is_drawn_again_when_it_is_to_look_otherwise(change: dict[str, Any]) -> None:
    draws, look = compositor(), Appearance(LARGE)
    draws.draw(draws.scene(FRAME, cup(), None, LARGE), look)
    if "show" in change:
        change = {"show": LARGE.model_copy(update=change["show"])}
    again = draws.better(replace(look, **change))
    assert (again is not None) == bool({"first", "show", "lost_s"} & change.keys())


def test_crops_that_are_high_enough_take_the_large_places_of_a_wall() -> None:
    wall = LARGE.model_copy(update={"composition": "wall"})
    cache: Any = Crops()
    draws = Compositor(("cup",), cache, Index())
    least = hero_px(canvas_of(wall)) / 1.5
    few, many = int(least // 10), int(least // 10) + 1  # rows of crops just too low, and high enough
    first = draws.scene(FRAME, cup(rows=[few, many, 0, many + 1]), None, wall)
    assert (first.order, first.large) == (((1, 3, 0, 2),), (2,))
    then = draws.scene(FRAME, cup(rows=[few, many, 0, many + 1, many + 2]), None, wall)
    assert (then.order, then.large) == (((1, 3, 0, 2, 4),), (2,))  # what is shown stays in its place
    strips = Compositor(("cup",), cache, Index())
    assert strips.scene(FRAME, cup(rows=[few, many]), None, LARGE).order == ((0, 1),)


def compositor() -> Compositor:
    cache: Any = Crops()
    return Compositor(("cup",), cache, Index())


def cup(missed: int = 0, rows: Sequence[int] = ()) -> Steadied:
    found = Detections(
        np.array([[2, 2, 20, 20]], np.float32),
        np.ones(1, np.float32),
        np.zeros(1, np.int32),
        np.zeros((1, 0), np.float32),
        np.array([7]),
    )
    near = Neighbours(np.array([rows], np.int32), np.ones((1, len(rows)), np.float32))
    return Steadied(found, near, (0,), (missed,), np.zeros((1, 4), np.float32), 1)


def test_in_a_pause_the_notes_are_those_of_the_picture() -> None:
    controls = Controls(Settings().detect, Settings().show)
    source = Going([0] * 250)
    view, _ = view_of(source, controls)

    def seconds() -> list[str]:
        """What the notes say of three pictures a tenth of a second apart."""
        drawn = [view.draw(scene_at(at_s))[0].notes[0] for at_s in (0.95, 1.0, 1.05)]
        return [note.split()[1] for note in drawn]

    def scene_at(at_s: float) -> Scene:
        frame = replace(FRAME, pts_s=at_s)
        return compositor().scene(frame, cup(), None, Settings().show)

    assert seconds() == ["0:00"] * 3
    controls.change(paused=True)
    assert seconds() == ["0:00", "0:01", "0:01"]


def test_a_box_is_faint_once_its_object_was_missed_for_more_than_five_frames() -> None:
    faint = [missed for missed in range(12) if compositor().scene(FRAME, cup(missed), None, LARGE).faint]
    assert faint == [6, 7, 8, 9, 10, 11]


def strips_of(rows: int, **tracks: int) -> Steadied:
    """One object with a crop per track, in the strip given; the tracks are called a, b, c ..."""
    n = len(tracks)
    found = Detections(
        np.tile(np.array([2, 2, 20, 20], np.float32), (n, 1)),
        np.ones(n, np.float32),
        np.zeros(n, np.int32),
        np.zeros((n, 0), np.float32),
        np.array([ord(name) for name in tracks], np.int64),
    )
    near = Neighbours(np.ones((n, 1), np.int32), np.ones((n, 1), np.float32))
    return Steadied(found, near, tuple(tracks.values()), (0,) * n, np.zeros((n, 4), np.float32), rows)


def test_places_of_crops_keep_their_shape_while_their_strip_lasts() -> None:
    draws = compositor()

    def shaped(*rows: int) -> list[float]:
        return [round(shape, 1) for shape in draws.scene(FRAME, cup(rows=rows), None, LARGE).shapes[0]]

    assert shaped(1, 2) == [1.1, 1.2]
    assert shaped(7, 2, 3) == [1.1, 1.2, 1.3]
    assert shaped(7) == [1.1]
    assert shaped(7, 5) == [1.1, 1.5]
    assert shaped(8, 9) == [1.8, 1.9]  # other crops altogether
    draws.scene(FRAME, strips_of(2), None, LARGE)
    assert shaped(7, 5) == [1.7, 1.5]


def test_words_are_shown_instead_of_names() -> None:
    for labels, word in (((), "cup"), (("dog=Hund", "cup = Tasse"), "Tasse"), (("cup=",), "")):
        show = LARGE.model_copy(update={"labels": labels})
        assert compositor().scene(FRAME, cup(), None, show).names == (word,)


def test_a_grid_changes_by_a_glide() -> None:
    draws, look = compositor(), Appearance(LARGE)

    def grid(rows: int, at_s: float) -> float:
        frame = replace(FRAME, pts_s=at_s)
        return draws.draw(draws.scene(frame, strips_of(rows), None, LARGE), look).scene.grid

    assert [grid(2, 0.0), grid(4, 1.0)] == [2, 2]
    on_the_way = [grid(4, 1 + t / 10) for t in (1, 2, 3)]
    assert on_the_way == sorted(on_the_way)
    assert on_the_way[1] == pytest.approx(3)
    assert 2 < on_the_way[0] < on_the_way[2] < 4
    assert [grid(4, 1.4), grid(4, 9.0)] == [4, 4]
    assert grid(2, 0.5) == 2  # the source has gone back


def test_a_camera_whose_picture_stands_still_is_drawn_until_transitions_are_over() -> None:
    draws, look = compositor(), Appearance(LARGE)
    draws.draw(draws.scene(replace(FRAME, pts_s=1.0), strips_of(2, a=0), None, LARGE), look)
    draws.draw(draws.scene(replace(FRAME, pts_s=1.1), strips_of(2, a=0, b=1), None, LARGE), look)
    assert draws.better(look) is None
    half = draws.better(look, 1.2)
    assert half is not None
    assert half.now_s == 1.2
    draws.draw(half, look)
    last = draws.better(look, 1.6)
    assert last is not None
    draws.draw(last, look)
    assert draws.better(look, 1.7) is None


class Flickering(Going):
    """A camera that is lost while ``lost`` is set."""

    lost = False

    @property
    def status(self) -> Status:
        return "reconnecting" if self.lost else "ok"


@pytest.mark.parametrize("text", ["all", "names", "none"])
def test_a_lost_camera_is_seen_and_told(
    text: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever hides all text sees the picture fade; the log says when it was lost, and when it was back."""
    now_s = [100.0]
    clock = SimpleNamespace(monotonic=lambda: now_s[0], strftime=time.strftime)
    monkeypatch.setattr("rtsearch.live.view.time", clock)
    show = Settings().show.model_copy(update={"text": text})
    source = Flickering([0])
    view, _ = view_of(source, Controls(Settings().detect, show))
    bright = replace(FRAME, bgr=np.full((30, 40, 3), 200, np.uint8))

    def brightest() -> int:
        scene = view.better() or compositor().scene(bright, strips_of(0), None, show)
        drawn, picture = view.draw(scene)
        notes.append(drawn.notes)
        return int(np.percentile(picture, 90))  # of the frame, not of letters

    notes: list[tuple[str, ...]] = []
    pictures = [brightest()]
    for lost in (True, True, False):
        source.lost = lost
        view.watch()
        now_s[0] += 2.0
        pictures.append(brightest())
    if text == "all":  # the lines beside the frame are as bright as ever
        assert "connection lost, trying again" in notes[1] + notes[2]
    else:
        assert pictures[0] == pictures[3] > 1.5 * pictures[1] == 1.5 * pictures[2]
    said = [record.getMessage() for record in caplog.records]
    assert [line.split(" ", 1)[1] for line in said] == [
        "given: connection lost, trying again",
        "given: back after 4 s",
    ]
    assert all(re.match(r"\d\d:\d\d:\d\d ", line) for line in said)


def test_the_largest_place_of_a_wall_is_not_for_a_narrow_crop() -> None:
    heights, shapes = np.array([400, 90, 400, 400], np.float32), np.array([0.35, 1.0, 0.4, 0.9], np.float32)
    assert _large_first(heights, shapes, 200.0) == (3, 0, 2, 1)
    assert _large_first(heights, np.full(4, 0.35, np.float32), 200.0) == (0, 2, 3, 1)
    assert _large_first(heights[:0], shapes[:0], 200.0) == ()


def test_the_largest_place_of_a_wall_is_filled_where_a_crop_is_high_enough() -> None:
    shapes = np.ones(3, np.float32)
    assert _large_first(np.array([250, 100, 300], np.float32), shapes, 200.0) == (2, 0, 1)
    assert _large_first(np.array([250, 100, 270], np.float32), shapes, 200.0) == (0, 2, 1)
