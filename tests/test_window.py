"""The window: opened on a screen in memory, driven with keys and mouse, looked at in screenshots."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from clips import shorten
from screens import (
    INK,
    WAIT_S,
    WINDOW_WH,
    Run,
    Screen,
    banner_is_shown,
    help_is_shown,
    is_there,
    knob_place,
    knob_x,
    open_screen,
    strip_height,
    strip_tops,
)

from rtsearch.render.sliders import SLIDERS
from rtsearch.render.theme import OBJECT_COLOURS

pytestmark = pytest.mark.window


@pytest.fixture(scope="module")
def screen() -> Iterator[Screen]:
    with open_screen() as opened:
        yield opened


def has_crops(shot: np.ndarray) -> bool:
    """Whether the first strip shows photographs, not a plane."""
    return any(shot[top : top + 76, 140:300].std() > 15 for top in strip_tops(shot)[:1])


@pytest.fixture(scope="module")
def paused(
    screen: Screen, library: Path, clip: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Run]:
    """A run of the real clip, paused at a picture with a strip, whose crops are all there.

    Tests leave it as they found it, but for the last one, which ends it.
    """
    options = ["--set", "detect.whole_image=true", "--set", "show.text=all", "--realtime"]
    with Run(screen, tmp_path_factory.mktemp("paused"), library, "--source", clip, *options) as run:
        # The first process on a loaded machine takes its time; crops that fade in stand still in a pause.
        screen.until(lambda shot: is_there(shot) and has_crops(shot), 2 * WAIT_S)
        screen.key("space")
        paused = screen.until(banner_is_shown)
        strips = np.s_[strip_tops(paused)[0] : 600, : WINDOW_WH[0]]
        last = [screen.shot()[strips]]

        def is_still(shot: np.ndarray) -> bool:
            before = last.pop()
            last.append(shot[strips])
            return np.array_equal(before, last[0])

        time.sleep(0.5)  # longer than the other crops take to come, and to fade in
        screen.until(is_still)
        yield run


def test_the_picture_has_its_parts(screen, paused):
    def has_notes(shot: np.ndarray) -> bool:
        top = strip_tops(shot)[0]  # they stand above it, or beside a large frame where it is the only one
        places = shot[top - 120 : top - 2], shot[200 : top - 2, 1060 : WINDOW_WH[0]]
        return any((np.abs(notes.astype(int) - INK).max(2) < 12).sum() > 50 for notes in places)

    shot = screen.until(has_notes)  # in a pause, notes go on to come
    assert (shot[: WINDOW_WH[1], WINDOW_WH[0] :] == 0).all()  # the screen beyond the window
    assert shot[:200, :900].std() > 20  # a photograph, not a plane
    tops = strip_tops(shot)
    assert strip_height(shot) >= 76
    assert tops[-1] + strip_height(shot) <= WINDOW_WH[1]
    assert has_crops(shot)
    for row, slider in enumerate(SLIDERS):
        value = {
            "threshold": 0.3,
            "max overlap": 0.65,
            "header height, at least": 200,
            "thumb height, at least": 76,
            "results, at least": 16,
        }
        assert abs(knob_x(shot, row) - knob_place(row, value[slider.label])[0]) <= 1


def test_a_click_on_a_crop_shows_its_photo_and_escape_goes_back(screen, paused):
    before = screen.shot()
    screen.call("xdotool", "mousemove", 200, strip_tops(before)[0] + 30, "click", 1)
    photo = screen.until(lambda shot: not strip_tops(shot))
    assert (photo[WINDOW_WH[1] - 30 : WINDOW_WH[1] - 8, :200].max(2) > 150).any()  # its name
    screen.key("Return")
    screen.until(lambda shot: not strip_tops(shot) and bool((shot != photo).any(2).mean() > 0.2))
    screen.key("Escape")
    screen.until(lambda shot: np.array_equal(shot[:500, :900], photo[:500, :900]))
    screen.call("xdotool", "mousemove", 300, 300, "click", 1)
    screen.until(lambda shot: np.array_equal(shot[:200, :600], before[:200, :600]))


def test_full_screen_and_back(screen, paused):
    """No window manager is there, so the window itself takes the screen."""
    screen.key("f")
    screen.until(lambda shot: bool(shot[-1].any()) and bool(shot[:, -1].any()))
    screen.key("f")
    screen.until(lambda shot: banner_is_shown(shot) and not shot[:, WINDOW_WH[0] :].any())


def test_keys(screen, paused):
    before = screen.shot()
    screen.call("xdotool", "mousemove", 300, 300, "click", 4, "click", 4)  # the wheel
    screen.key("h")
    screen.until(help_is_shown)
    screen.key("h")
    screen.until(lambda shot: not help_is_shown(shot))
    screen.key("c")
    hidden = screen.until(lambda shot: knob_x(shot, 0) is None)
    # Still paused; the notes between frame and strips are written anew, for there is more room for them.
    parts = np.s_[:200, :600], np.s_[strip_tops(before)[0] : 600, : WINDOW_WH[0]]
    for part in parts:
        np.testing.assert_array_equal(hidden[part], before[part])
    screen.key("c")
    screen.until(lambda shot: knob_x(shot, 0) is not None)
    screen.key("s")
    deadline_s = time.monotonic() + WAIT_S
    while not (saved := list(paused.folder.glob("rtsearch-*.png"))) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    picture = None
    while picture is None and time.monotonic() < deadline_s:
        picture = cv2.imread(str(saved[0]))
    assert picture is not None
    assert picture.shape == (WINDOW_WH[1], WINDOW_WH[0], 3)
    for part in parts:
        np.testing.assert_array_equal(picture[part], before[part])
    assert knob_x(picture, 0) is None  # the picture, not the controls on it
    for _ in ("names only", "none"):
        last = screen.shot()
        screen.key("t")
        screen.until(lambda shot, last=last: (shot[210:600] != last[210:600]).any())
    screen.key("t")
    strip = slice(strip_tops(before)[0], strip_tops(before)[0] + 70)  # above it, notes go on to come
    screen.until(lambda shot: np.array_equal(shot[strip], before[strip]))
    for key in ("period", "Right", "comma"):
        before = screen.shot()
        screen.key(key)
        screen.until(lambda shot, before=before: (shot[:200, :300] != before[:200, :300]).any())
        screen.until(banner_is_shown)  # still paused
    screen.key("l")
    before = screen.shot()
    screen.key("space")
    screen.until(lambda shot: not banner_is_shown(shot) and (shot[:200, :300] != before[:200, :300]).any())
    screen.key("space")
    screen.until(banner_is_shown)


def test_sliders_are_dragged_with_the_mouse(screen, paused):
    before = screen.shot()
    screen.drag(knob_place(3, 76), knob_place(3, 150))
    screen.until(lambda shot: abs(knob_x(shot, 3) - knob_place(3, 150)[0]) <= 2)
    screen.drag(knob_place(2, 200), (WINDOW_WH[0] - 1, 600))  # beyond the panel: to the end of its range
    shot = screen.until(lambda shot: abs(knob_x(shot, 2) - knob_place(2, 480)[0]) <= 2)
    for row in (0, 1, 4):
        assert knob_x(shot, row) == knob_x(before, row)
    screen.key("space")
    changed = screen.until(lambda shot: strip_tops(shot)[:1] >= [482] and strip_height(shot) >= 148)
    assert len(strip_tops(changed)) == 1  # there is room for one
    screen.key("Escape")
    assert 0 < paused.end()["frames_shown"] < 250


def test_a_card_stands_where_the_picture_is_waited_for(screen, library, tmp_path):
    options = ["--patient", "--source", "http://127.0.0.1:9/none.mjpg"]
    with Run(screen, tmp_path, library, *options) as run:
        shot = screen.until(lambda shot: bool((shot[300:420, 400:880] > 150).any()), 2 * WAIT_S)
        assert (shot[:300, : WINDOW_WH[0]] <= 16).all()
        assert (np.all(shot > 150, axis=2)).mean() < 0.02  # letters, and no white
        screen.key("q")
        assert run.end()["frames_shown"] == 0


def test_strips_that_do_not_fit_are_scrolled_to(screen, library, photos, tmp_path):
    options = [
        "--set",
        "detect.threshold=0.02",
        "--set",
        "detect.max_overlap=1",
        "--set",
        "show.thumb_height=160",
    ]
    with Run(screen, tmp_path, library, "--source", photos / "skimage-coffee.png", *options) as run:
        before = screen.until(lambda shot: len(strip_tops(shot)) == 3, 2 * WAIT_S)
        colours = [OBJECT_COLOURS.index(tuple(before[top, 2].tolist())) for top in strip_tops(before)]
        assert colours == [0, 1, 2]
        for key, first in (("Down", 1), ("Up", 0), ("Up", 0)):
            screen.key(key)
            screen.until(
                lambda shot, first=first: (
                    [OBJECT_COLOURS.index(tuple(shot[top, 2].tolist())) for top in strip_tops(shot)]
                    == [first, first + 1, first + 2]
                )
            )
        screen.key("q")
        assert run.end()["frames_shown"] == 1


def test_a_window_opens_smaller_where_the_screen_is(screen, library, photos, tmp_path):
    options = ["--set", "show.window_wh=[3000,1000]"]
    with Run(screen, tmp_path, library, "--source", photos / "skimage-coffee.png", *options) as run:
        screen.call("xdotool", "mousemove", 300, 300)  # keys go to the window under the pointer
        shot = screen.until(lambda shot: bool((shot[500] != shot[899]).any()))
        assert (shot[:534].max((0, 2)) > 0).all()
        assert not shot[534:].any()
        screen.key("q")
        run.end()


def test_sliders_show_the_values_that_are_set(screen, library, photos, tmp_path):
    options = ["--set", "show.header_height=300", "--set", "show.results=40"]
    with Run(screen, tmp_path, library, "--source", photos / "skimage-coffee.png", *options) as run:
        shot = screen.until(is_there)
        for row, value in enumerate((0.3, 0.65, 300, 76, 40)):
            assert abs(knob_x(shot, row) - knob_place(row, value)[0]) <= 2
        screen.key("q")
        run.end()


def test_the_clip_ends_and_so_does_the_window(screen, library, clip, tmp_path):
    short = tmp_path / "clip.mp4"
    shutil.copyfile(clip, short)
    shorten(short, 45)
    with Run(screen, tmp_path, library, "--source", short) as run:
        report = run.end()
    assert report["frames_shown"] + report["dropped"] == 45
    assert report["frames_shown"] > 9
    assert {"draw", "show"} <= report["stage_ms"].keys()
    assert (screen.shot() == 0).all()


def test_the_demo_plays_a_camera(screen, demo_run, model, clip, tmp_path, monkeypatch):
    """A clip in the place of the camera; the demo's library is there already."""
    shutil.copytree(demo_run[0] / "demo-out", tmp_path / "demo-out")
    options = ["--offline", "--set", f"live.source={clip}", "--set", "live.loop=true"]
    monkeypatch.setitem(screen.environment, "XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setitem(screen.environment, "RTSEARCH_ENGINES", str(model.parent))
    with Run(screen, tmp_path, "--camera", *options, command="demo") as run:
        screen.until(is_there, 2 * WAIT_S)
        screen.key("q")
        report = run.end()
    assert report["frames_shown"] > 0
    assert report["library_objects"] >= 40


def test_a_photo_stays_until_the_user_leaves(screen, library, photos, tmp_path):
    with Run(screen, tmp_path, library, "--source", photos / "skimage-coffee.png") as run:
        screen.until(is_there, 2 * WAIT_S)
        time.sleep(1)
        shot = screen.shot()
        assert is_there(shot)
        assert len(strip_tops(shot)) >= 2  # a cup and a spoon on a table
        screen.key("q")
        assert run.end()["frames_shown"] == 1
