"""What the user does to time: pause, step, go elsewhere, loop. The picture itself says which frame it is."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import blobs
import cv2
import pytest
from barcode import WH, number_of, picture
from playing import Given, Watcher, three_chances

from rtsearch.config import LiveSettings, load_settings
from rtsearch.library.index import SearchIndex
from rtsearch.live import Controls, LiveReport, Outputs, play
from rtsearch.sources import Paced, Source, open_source
from rtsearch.types import Frame, Scene, U8Array

pytestmark = pytest.mark.usefixtures("no_thread_is_left")

SETTINGS = load_settings(None, ["show.results=5", "show.window_wh=[640, 480]"])
FRAMES, FPS = 60, 25


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), FPS, WH)
    for number in range(FRAMES):
        writer.write(picture(number))
    writer.release()
    return path


class User:
    """A screen whose user acts once a given frame has been shown: a list of (after so many shows, act)."""

    def __init__(self, controls: Controls, *acts: Callable[[Controls], object]) -> None:
        self.scenes: list[Scene] = []
        self._controls = controls
        self._acts = list(acts)
        self._idle = 0
        self._seen = 0

    def show(self, scene: Scene, picture: U8Array) -> None:
        assert scene.detections.xyxy[0, 0] == 10 + 3 * number_of(scene.frame.bgr)  # boxes of this very frame
        self.scenes.append(scene)

    def pump(self) -> bool:
        """The next act comes when nothing new was shown for a while, the first after five pictures."""
        self._idle = self._idle + 1 if len(self.scenes) == self._seen else 0
        self._seen = len(self.scenes)
        due = self._idle >= 6 if self._controls.now.paused else self._seen >= 5
        if due and self._acts:
            self._idle = 0
            self._acts.pop(0)(self._controls)
        return bool(self._acts) or not self._controls.now.paused or self._idle < 12

    @property
    def numbers(self) -> list[int]:
        """Of the pictures; one that is shown again because its crops have come counts once."""
        numbers = [number_of(scene.frame.bgr) for scene in self.scenes]
        return [number for number, _ in groupby(numbers)]


def pause(controls: Controls) -> None:
    controls.change(paused=True)


def go_on(controls: Controls) -> None:
    controls.change(paused=False)


def run(
    source: Source, index: SearchIndex, *acts: Callable[[Controls], object], slow_s: float = 0.0
) -> tuple[User, LiveReport]:
    controls = Controls(SETTINGS.detect, SETTINGS.show)
    user = User(controls, *acts)
    pipeline: Any = blobs.BlobPipeline(blobs.BlobDetector(slow_s))
    report = play(source, pipeline, index, SETTINGS, Outputs(screen=user), controls=controls)
    return user, report


def opened(clip: Path, clock: str) -> Source:
    source = open_source(str(clip), LiveSettings())
    return Paced(source) if clock == "wall" else source


@pytest.mark.parametrize("clock", ["wall", "every"])
@pytest.mark.parametrize("slow_s", [0.0, 0.1])
def test_a_step_shows_the_next_frame_and_no_other(
    clip: Path, barcode_index: SearchIndex, clock: str, slow_s: float
) -> None:
    """Also where most frames are left out because detection takes its time."""
    user, _ = run(opened(clip, clock), barcode_index, pause, *[Controls.step] * 6, slow_s=slow_s)
    last = user.numbers[-7:]
    assert last == list(range(last[0], last[0] + 7))


class Impatient(User):
    """Pauses at the third picture whose boxes were only moved along, then takes one step after the other."""

    STEPS = 4

    def __init__(self, controls: Controls) -> None:
        super().__init__(controls)
        self.guessed: list[int] = []  # numbers of these pictures
        self._steps = 0
        self._leaves_s = math.inf

    def show(self, scene: Scene, picture: U8Array) -> None:
        if any("moved along" in note for note in scene.notes):
            assert not self._controls.now.paused
            self.guessed.append(number_of(scene.frame.bgr))
            self.scenes.append(scene)
            self._controls.change(paused=len(self.guessed) == 3)
        else:
            super().show(scene, picture)

    def pump(self) -> bool:
        if self._controls.now.paused and self.numbers[-1] == self.guessed[-1] + self._steps:
            self._leaves_s = time.monotonic() + 10
            if self._steps == self.STEPS:
                return False
            self._steps += 1
            self._controls.step()
        return time.monotonic() < self._leaves_s


@three_chances
def test_a_step_after_a_pause_shows_the_frames_own_boxes(clip: Path, barcode_index: SearchIndex) -> None:
    """Detection is behind when the user pauses: the picture on the screen has boxes of an earlier one."""
    controls = Controls(SETTINGS.detect, SETTINGS.show)
    user = Impatient(controls)
    pipeline: Any = blobs.BlobPipeline(blobs.BlobDetector(0.12))
    play(opened(clip, "wall"), pipeline, barcode_index, SETTINGS, Outputs(screen=user), controls=controls)
    paused_at = user.guessed[-1]
    assert len(user.guessed) == 3
    assert user.numbers[-5:] == list(range(paused_at, paused_at + 5))


def test_each_of_several_goes_on_from_its_own_place(clip: Path, barcode_index: SearchIndex) -> None:
    sources = [opened(clip, "wall") for _ in range(2)]
    sources[1].seek(30 / FPS)
    controls = Controls(SETTINGS.detect, SETTINGS.show)
    places: list[list[int]] = []

    def note(_: Controls) -> None:
        places.append([[n for n in user.numbers if (n < 30) == first][-1] for first in (True, False)])

    def go(by_s: float) -> Callable[[Controls], None]:
        return lambda c: c.skip(by_s)

    user = User(controls, pause, note, go(0.4), note, go(-0.4), note, go(9))
    pipeline: Any = blobs.BlobPipeline()
    play(sources, pipeline, barcode_index, SETTINGS, Outputs(screen=user), controls=controls)
    (a, b), on, back = places
    assert on == [a + 10, b + 10]
    assert back == [a, b]
    assert [number_of(scene.frame.bgr) for scene in user.scenes[-2:]] == [FRAMES - 1] * 2  # no further


@pytest.mark.parametrize("clock", ["wall", "every"])
@three_chances
def test_a_step_back_shows_the_frame_before(clip: Path, barcode_index: SearchIndex, clock: str) -> None:
    user, _ = run(opened(clip, clock), barcode_index, pause, *[Controls.step] * 2, *[Controls.step_back] * 4)
    shown = user.numbers
    highest = shown.index(max(shown))
    assert highest >= 5  # stepped forward to here
    assert shown[-1] == shown[highest] - 4
    assert shown[highest:] == sorted(shown[highest:], reverse=True)


@three_chances
def test_quick_presses_add_up(clip: Path, barcode_index: SearchIndex) -> None:
    def back_by_three(controls: Controls) -> None:
        for _ in range(3):
            controls.step_back()

    user, _ = run(opened(clip, "every"), barcode_index, pause, back_by_three)
    assert user.numbers[-1] == user.numbers[-2] - 3


@pytest.mark.parametrize("clock", ["wall", "every"])
@three_chances
def test_another_place_in_a_pause(clip: Path, barcode_index: SearchIndex, clock: str) -> None:
    user, _ = run(opened(clip, clock), barcode_index, pause, lambda c: c.seek(40 / FPS), Controls.step)
    assert user.numbers[-2:] == [40, 41]
    assert user.numbers.count(40) == 1


@pytest.mark.parametrize("clock", ["wall", "every"])
@three_chances
def test_another_place_while_it_plays(clip: Path, barcode_index: SearchIndex, clock: str) -> None:
    user, _ = run(opened(clip, clock), barcode_index, lambda c: c.seek(30 / FPS))
    jump = next(i for i, (a, b) in enumerate(zip(user.numbers, user.numbers[1:], strict=False)) if b - a > 15)
    assert user.numbers[jump + 1] in ((30,) if clock == "every" else range(30, 34))
    assert user.numbers[-1] == FRAMES - 1
    assert user.numbers == sorted(user.numbers)


class Leaping(Given):
    """Each jump leaves out a hundred numbers."""

    seekable = True

    def __init__(self) -> None:
        super().__init__([*range(40)], every_s=0.02)
        self.jumps = 0

    def __next__(self) -> Frame:
        frame = super().__next__()
        return replace(frame, id=frame.id + 100 * self.jumps, bgr=picture(frame.id))

    def seek(self, seconds: float) -> bool:
        self.jumps += 1
        return True


def test_frames_that_a_jump_leaves_out_are_not_dropped(barcode_index: SearchIndex) -> None:
    source = Leaping()
    _, report = run(source, barcode_index, lambda c: c.seek(1), lambda c: c.seek(0))
    assert source.jumps >= 1
    assert report.dropped == 0


def test_other_frames_that_are_left_out_are_dropped(barcode_index: SearchIndex) -> None:
    source = Leaping()
    _, report = run(source, barcode_index, lambda _: source.seek(1))  # it leaps, and nobody asked for that
    assert report.dropped == 100


def test_going_back_begins_new_tracks(clip: Path, barcode_index: SearchIndex) -> None:
    user, _ = run(opened(clip, "every"), barcode_index, pause, lambda c: c.seek(50 / FPS), Controls.step)
    before, after = user.scenes[0].detections.track[0], user.scenes[-1].detections.track[0]
    assert before != after
    assert user.scenes[-1].held == frozenset()


def test_a_loop_is_left_when_it_is_switched_off(clip: Path, barcode_index: SearchIndex) -> None:
    controls = Controls(SETTINGS.detect, SETTINGS.show, loop=True)

    class Twice(User):
        def pump(self) -> bool:
            controls.change(loop=self.numbers.count(30) < 2)
            return True

    user = Twice(controls)
    pipeline: Any = blobs.BlobPipeline()
    play(opened(clip, "every"), pipeline, barcode_index, SETTINGS, Outputs(screen=user), controls=controls)
    assert user.numbers == [*range(FRAMES)] * 2


def test_a_source_without_a_timeline_takes_no_harm(barcode_index: SearchIndex, tmp_path: Path) -> None:
    for number in range(4):
        cv2.imwrite(str(tmp_path / f"{number}.png"), picture(number))
    live = load_settings(None, ["live.random_s=0.1"]).live
    slides = Paced(open_source(str(tmp_path), live))
    controls = Controls(SETTINGS.detect, SETTINGS.show)

    class Looker(User):
        def pump(self) -> bool:
            super().pump()
            return self.numbers[-1:] != [3]

    looker = Looker(controls, lambda c: c.seek(9))
    pipeline: Any = blobs.BlobPipeline()
    play(slides, pipeline, barcode_index, SETTINGS, Outputs(screen=looker), controls=controls)
    assert looker.numbers == [0, 1, 2, 3]


def test_the_last_photo_is_shown_though_somewhere_else_was_asked_for(blob_index: SearchIndex) -> None:
    """It has been read already when the key is pressed, and nothing comes after it."""
    controls = Controls(SETTINGS.detect, SETTINGS.show)
    source = Given([0], before=lambda _: controls.seek(9))
    source.slides = True
    looker = Watcher(lambda screen: not screen.scenes)
    pipeline: Any = blobs.BlobPipeline()
    report = play(source, pipeline, blob_index, SETTINGS, Outputs(screen=looker), controls=controls)
    assert report.frames_shown == 1
