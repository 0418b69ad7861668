"""The window: opened on a screen in memory, driven with keys and mouse, looked at in screenshots."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from clips import shorten
from PIL import ImageGrab

from rtsearch.config import Settings
from rtsearch.render.layout import Canvas, canvas_of
from rtsearch.render.sliders import SLIDERS, panel_wh
from rtsearch.render.theme import OBJECT_COLOURS
from rtsearch.ui import window
from rtsearch.ui.keys import HELP

SCREEN_WH = (1600, 900)
WINDOW_WH = (1280, 720)
PANEL_WH = panel_wh()
PANEL_XY = (WINDOW_WH[0] - PANEL_WH[0] - 8, 8)
KNOB = (80, 175, 255)
INK = (232, 232, 232)
TOOLS = ("Xvfb", "xdotool")
WAIT_S = 30

# What stands over the picture ------------------------------------------------------------------------------


def over(draw: Callable[[np.ndarray, Canvas], None], wh: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A white picture that something was drawn over, and where it is not white any more."""
    picture = np.full((wh[1], wh[0], 3), 255, np.uint8)
    draw(picture, canvas_of(Settings().show.model_copy(update={"window_wh": wh})))
    return picture, (picture != 255).any(2)


SIZES = [(320, 240), (424, 720), (1280, 720), (3840, 2160), (2160, 3840)]


@pytest.mark.parametrize("wh", SIZES)
def test_help_is_whole_in_any_window(wh: tuple[int, int]) -> None:
    picture, covered = over(window._draw_help, wh)
    rows, columns = np.flatnonzero(covered.any(1)), np.flatnonzero(covered.any(0))
    assert rows[0] > 0
    assert rows[-1] < wh[1] - 1
    assert columns[0] > 0
    assert columns[-1] < wh[0] - 1
    assert covered[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()  # a ground for all of it
    assert np.median(picture[covered]) < 50
    inner = np.any(picture[rows[0] + 2 : rows[-1] - 1, columns[0] + 2 : columns[-1] - 1] > 120, axis=2)
    lines = np.diff(inner.any(1).astype(int)) == 1
    assert lines.sum() >= len(HELP) * 0.8  # commas and descenders may bridge two lines where they are close
    assert not inner[:, [0, -1]].any()


@pytest.mark.parametrize("wh", SIZES)
@pytest.mark.parametrize(
    "text", ["loop", "could not save rtsearch-20261231-235959.png in /home/somebody/pictures"]
)
def test_messages_are_never_cut_off(wh: tuple[int, int], text: str) -> None:
    picture, covered = over(lambda picture, canvas: window._draw_banner(picture, text, canvas), wh)
    rows, columns = np.flatnonzero(covered.any(1)), np.flatnonzero(covered.any(0))
    assert wh[1] // 2 < rows[0]
    assert rows[-1] < wh[1] - 1
    assert abs(columns[0] + columns[-1] + 1 - wh[0]) <= 1  # in the middle
    ink = np.all(picture[rows[0] + 2 : rows[-1] - 1, columns[0] + 2 : columns[-1] - 1] > 200, axis=2)
    assert ink.any()
    assert not ink[:, :6].any()
    assert not ink[:, -6:].any()


# A screen, a window on it ----------------------------------------------------------------------------------


class Screen:
    """A display in memory: keys, mouse, screenshots."""

    def __init__(self, display: str, server: subprocess.Popen[bytes]) -> None:
        self.display = display
        self._server = server
        self.shown: subprocess.Popen[str] | None = None  # the latest run on it
        self.environment = {**os.environ, "DISPLAY": display}
        self.environment.pop("WAYLAND_DISPLAY", None)

    def stop(self) -> None:
        """End the X server."""
        self._server.terminate()
        self._server.wait(WAIT_S)

    def call(self, *command: object) -> str:
        done = subprocess.run(
            [str(part) for part in command],
            check=False,
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            env=self.environment,
        )
        return done.stdout

    def key(self, name: str) -> None:
        self.call("xdotool", "key", name)

    def drag(self, start: tuple[int, int], end: tuple[int, int]) -> None:
        middle = ((start[0] + end[0]) // 2, (start[1] + end[1]) // 2)
        self.call("xdotool", "mousemove", *start, "mousedown", 1)
        for x, y in (middle, end):
            time.sleep(0.1)
            self.call("xdotool", "mousemove", x, y)
        time.sleep(0.1)
        self.call("xdotool", "mouseup", 1)

    def shot(self) -> np.ndarray:
        """What the screen shows, (h, w, 3) BGR."""
        return np.asarray(ImageGrab.grab(xdisplay=self.display).convert("RGB"))[:, :, ::-1]

    def until(self, holds: Callable[[np.ndarray], bool], wait_s: float = WAIT_S) -> np.ndarray:
        """The first screenshot of which something holds."""
        deadline_s = time.monotonic() + wait_s
        telling = np.zeros((8, 8, 3), np.uint8)
        while True:
            shot = self.shot()
            if holds(shot):
                return shot
            telling = shot if shot.any() else telling
            if time.monotonic() > deadline_s:
                path = Path(os.environ.get("TMPDIR", "/tmp")) / "rtsearch-window-test.png"
                cv2.imwrite(str(path), telling)
                raise AssertionError(
                    f"it never came to that; the last that was seen is {path}; {self.said()}"
                )
            time.sleep(0.1)

    def said(self) -> str:
        """How the latest run fares, which is ended by this."""
        if self.shown is None:
            return "nothing was run"
        state = (
            f"the run has ended with {code}" if (code := self.shown.poll()) is not None else "it still ran"
        )
        self.shown.kill()
        out, err = self.shown.communicate()
        return f"{state}, and said: {err}{out}"


@contextlib.contextmanager
def open_screen(*options: object) -> Iterator[Screen]:
    """A display of its own, without a window manager."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"no {', '.join(missing)}: apt install {' '.join(tool.lower() for tool in TOOLS)}")
    reads, writes = os.pipe()
    command = ["Xvfb", "-displayfd", str(writes), "-screen", "0", f"{SCREEN_WH[0]}x{SCREEN_WH[1]}x24"]
    # Without -noreset it starts afresh each time its last client goes, and ends whoever just connects.
    command += ["-nolisten", "tcp", "-noreset", *map(str, options)]
    server = subprocess.Popen(command, pass_fds=[writes], stderr=subprocess.DEVNULL, start_new_session=True)
    os.close(writes)
    try:
        with os.fdopen(reads) as said:
            number = said.readline().strip()  # Xvfb chooses a free one, and says so when it is ready
        if not number:
            pytest.skip("Xvfb does not start here")
        yield Screen(f":{number}", server)
    finally:
        server.terminate()
        server.wait(WAIT_S)


@pytest.fixture(scope="module")
def screen() -> Iterator[Screen]:
    with open_screen() as opened:
        yield opened


class Run:
    """``rtsearch run``, or another command, with a window on a screen."""

    def __init__(self, screen: Screen, folder: Path, *args: object, command: str = "run") -> None:
        words = [Path(sys.executable).parent / "rtsearch", command, *args, "--json"]
        self.folder = folder
        self.process = subprocess.Popen(
            [str(part) for part in words],
            cwd=folder,
            env=screen.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        screen.shown = self.process

    def end(self) -> dict:
        """The report of a run that ends by itself."""
        out, err = self.process.communicate(timeout=WAIT_S)
        assert self.process.returncode == 0, err
        assert "Traceback" not in err
        return json.loads(out)

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.returncode is None:
            self.process.kill()
            self.process.communicate()


# What screenshots show -------------------------------------------------------------------------------------


def is_there(shot: np.ndarray) -> bool:
    """Sliders, and a strip: the first picture has come."""
    return knob_x(shot, 0) is not None and bool(strip_tops(shot))


def knob_x(shot: np.ndarray, row: int) -> Any:
    """Where the knob of a slider stands, px; None where there is none."""
    y = PANEL_XY[1] + 6 + row * 36 + 20  # above the line, so that only the knob is met
    columns = np.flatnonzero((shot[y, : WINDOW_WH[0]] == KNOB).all(1))
    inside = columns[
        (columns >= PANEL_XY[0]) & (columns < PANEL_XY[0] + PANEL_WH[0])
    ]  # boxes have its colour too
    return int(inside.mean().round()) if len(inside) > 3 else None  # a knob is wider than a line


def knob_place(row: int, value: float) -> tuple[int, int]:
    slider = SLIDERS[row]
    share = (value - slider.low) / (slider.high - slider.low)
    return round(PANEL_XY[0] + 14 + share * (PANEL_WH[0] - 28)), PANEL_XY[1] + 6 + row * 36 + 25


def strip_tops(shot: np.ndarray) -> list[int]:
    """Upper edges of the strips, by the bars of their objects' colours.

    Boxes at the left edge have such colours too, but only strips go on to the next strip or the lower edge.
    """
    bar = [tuple(colour) in OBJECT_COLOURS for colour in shot[: WINDOW_WH[1], 2].tolist()]
    return [y for y in range(200, len(bar) - 20) if all(bar[y : y + 20]) and not bar[y - 1]]


def strip_height(shot: np.ndarray) -> int:
    top = strip_tops(shot)[0]
    colour = shot[top, 2]
    return int((~(shot[top:, 2] == colour).all(1)).argmax())


def help_is_shown(shot: np.ndarray) -> bool:
    """The keys of the help, in their own colour, in the middle of the window."""
    middle = shot[150:430, 430:540].astype(int)
    return int((np.abs(middle - KNOB).max(2) < 12).sum()) > 10 * len(HELP)


def banner_is_shown(shot: np.ndarray) -> bool:
    area = shot[WINDOW_WH[1] - 60 : WINDOW_WH[1] - 20, 560:720].astype(int)
    return int((np.abs(area - INK).max(2) < 12).sum()) > 60


@pytest.fixture
def paused(screen: Screen, library: Path, clip: Path, tmp_path: Path) -> Iterator[Run]:
    """A run of the real clip, paused at a picture with a strip, whose crops are all there."""
    options = ["--set", "detect.whole_image=true", "--set", "show.text=all", "--realtime"]
    with Run(screen, tmp_path, library, "--source", clip, *options) as run:
        screen.until(is_there, 2 * WAIT_S)  # the first process on a loaded machine takes its time
        screen.key("space")
        strips = np.s_[strip_tops(screen.until(banner_is_shown))[0] : 600, : WINDOW_WH[0]]
        last = [screen.shot()[strips]]

        def is_still(shot: np.ndarray) -> bool:
            before = last.pop()
            last.append(shot[strips])
            return np.array_equal(before, last[0])

        time.sleep(0.5)  # longer than crops take to come, and to fade in
        screen.until(is_still)
        yield run


@pytest.mark.window
def test_the_picture_has_its_parts(screen, paused):
    shot = screen.shot()
    assert (shot[: WINDOW_WH[1], WINDOW_WH[0] :] == 0).all()  # the screen beyond the window
    assert shot[:200, :900].std() > 20  # a photograph, not a plane
    tops = strip_tops(shot)
    notes = shot[tops[0] - 120 : tops[0] - 2].astype(int)
    assert (np.abs(notes - INK).max(2) < 12).sum() > 50
    assert strip_height(shot) >= 76
    assert tops[-1] + strip_height(shot) <= WINDOW_WH[1]
    assert shot[tops[0] : tops[0] + 76, 140:300].std() > 15  # crops
    for row, slider in enumerate(SLIDERS):
        value = {
            "threshold": 0.3,
            "max overlap": 0.65,
            "header height": 200,
            "thumb height": 76,
            "results": 16,
        }
        assert abs(knob_x(shot, row) - knob_place(row, value[slider.label])[0]) <= 1
    screen.key("q")
    report = paused.end()
    assert 0 < report["frames_shown"] < 250


@pytest.mark.window
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
    screen.key("Escape")
    assert paused.end()["frames_shown"] < 250


@pytest.mark.window
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
    screen.key("Escape")
    paused.end()


@pytest.mark.window
def test_a_card_stands_where_the_picture_is_waited_for(screen, library, tmp_path):
    options = ["--patient", "--source", "http://127.0.0.1:9/none.mjpg"]
    with Run(screen, tmp_path, library, *options) as run:
        shot = screen.until(lambda shot: bool((shot[300:420, 400:880] > 150).any()), 2 * WAIT_S)
        assert (shot[:300, : WINDOW_WH[0]] <= 16).all()
        assert (np.all(shot > 150, axis=2)).mean() < 0.02  # letters, and no white
        screen.key("q")
        assert run.end()["frames_shown"] == 0


@pytest.mark.window
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


@pytest.mark.window
def test_a_window_opens_smaller_where_the_screen_is(screen, library, photos, tmp_path):
    options = ["--set", "show.window_wh=[3000,1000]"]
    with Run(screen, tmp_path, library, "--source", photos / "skimage-coffee.png", *options) as run:
        shot = screen.until(lambda shot: bool((shot[500] != shot[899]).any()))
        assert (shot[:534].max((0, 2)) > 0).all()
        assert not shot[534:].any()
        screen.key("q")
        run.end()


@pytest.mark.window
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
    screen.key("q")
    paused.end()


@pytest.mark.window
def test_full_screen_and_back(screen, paused):
    """No window manager is there, so the window itself takes the screen."""
    screen.key("f")
    screen.until(lambda shot: bool(shot[-1].any()) and bool(shot[:, -1].any()))
    screen.key("f")
    screen.until(lambda shot: banner_is_shown(shot) and not shot[:, WINDOW_WH[0] :].any())
    screen.key("q")
    paused.end()


@pytest.mark.window
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


@pytest.mark.window
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


@pytest.mark.window
def test_a_photo_stays_until_the_user_leaves(screen, library, photos, tmp_path):
    with Run(screen, tmp_path, library, "--source", photos / "skimage-coffee.png") as run:
        screen.until(is_there, 2 * WAIT_S)
        time.sleep(1)
        shot = screen.shot()
        assert is_there(shot)
        assert len(strip_tops(shot)) >= 2  # a cup and a spoon on a table
        screen.key("q")
        assert run.end()["frames_shown"] == 1


CLOSED_BY_THE_USER = """
import ctypes
from pathlib import Path
from types import SimpleNamespace
import cv2
import numpy as np
from rtsearch.config import Settings
from rtsearch.live import Controls
from rtsearch.ui.window import Window

settings = Settings()
window = Window("closed", Controls(settings.detect, settings.show), Path.cwd())
assert window.pump(), "nothing was shown yet"
window.show(SimpleNamespace(frame=SimpleNamespace(pts_s=0.0)), np.zeros((720, 1280, 3), np.uint8))
assert window.pump(), "it is open"
cv2.destroyWindow("closed")
assert not window.pump(), "it is closed"
window.close()
try:
    ctypes.CDLL("libX11-xcb.so.1")
except OSError:
    pass  # not installed
else:
    assert ctypes.CDLL(None).XSetEventQueueOwner, "the library of the system comes before that of OpenCV"
print("well")
"""


TOLD_IN_A_PAUSE = """
import time
from pathlib import Path
from types import SimpleNamespace
import cv2
import numpy as np
from rtsearch.ui import window as module
from rtsearch.config import Settings
from rtsearch.live import Controls

said = []
module._draw_banner = lambda picture, text, scale: said.append(text)
settings = Settings()
controls = Controls(settings.detect, settings.show, paused=True)
window = module.Window("told", controls, Path.cwd())
window.show(SimpleNamespace(frame=SimpleNamespace(pts_s=8.94)), np.zeros((720, 1280, 3), np.uint8))
for key in (ord("l"), 0xFF53, 0xFF53, 0xFF53):
    window._on_key(key)
    window.pump()
deadline_s = time.monotonic() + 20
while not said[-1].startswith("paused") and time.monotonic() < deadline_s:
    window.pump()
    time.sleep(0.02)
window.close()
print(said)
"""


@pytest.mark.window
def test_what_is_told_in_a_pause_comes_first_and_then_goes(screen, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", TOLD_IN_A_PAUSE],
        check=False,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        cwd=tmp_path,
        env=screen.environment,
    )
    said = ["paused    8.94 s", "loop", "+5 s", "+5 s", "+5 s", "paused    8.94 s"]
    assert (done.returncode, done.stdout) == (0, f"{said}\n"), done.stderr


@pytest.mark.window
def test_a_window_that_the_user_closes(screen):
    done = subprocess.run(
        [sys.executable, "-c", CLOSED_BY_THE_USER],
        check=False,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        env=screen.environment,
    )
    assert (done.returncode, done.stdout) == (0, "well\n"), done.stderr


PARTLY_BELOW = """
import time
from pathlib import Path
from types import SimpleNamespace
import cv2
import numpy as np
from rtsearch.config import Settings
from rtsearch.live import Controls
from rtsearch.ui.window import Window

settings = Settings()
window = Window("low", Controls(settings.detect, settings.show), Path.cwd())
window.show(SimpleNamespace(frame=SimpleNamespace(pts_s=0.0)), np.zeros((720, 1280, 3), np.uint8))
cv2.moveWindow("low", 500, 400)  # as a desktop may place it
deadline_s = time.monotonic() + 20
while time.monotonic() < deadline_s:
    window.pump()
    x, y, width, height = cv2.getWindowImageRect("low")
    if x + width <= 1600 and y + height <= 900:
        print("inside")
        break
    time.sleep(0.02)
window.close()
"""


@pytest.mark.window
def test_a_window_that_opens_partly_below_the_screen_is_brought_up(screen, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", PARTLY_BELOW],
        check=False,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        cwd=tmp_path,
        env=screen.environment,
    )
    assert (done.returncode, done.stdout) == (0, "inside\n"), done.stderr


@pytest.mark.window
def test_a_full_screen_is_black_until_its_first_picture(library, photos, tmp_path):
    """And the pointer is away: Xvfb draws it into the memory of its screen, which no screenshot shows."""
    with open_screen("-fbdir", tmp_path) as screen:
        screen.call("xdotool", "mousemove", 40, SCREEN_WH[1] - 40)
        options = ["--set", "show.fullscreen=true", "--set", "detect.whole_image=true"]
        options += ["--set", "show.composition=strips"]
        options += ["--set", "show.text=none"]
        with Run(screen, tmp_path, library, "--source", photos / "skimage-coffee.png", *options) as run:
            shots: list[np.ndarray] = []

            def is_lit(shot: np.ndarray) -> bool:
                shots.append(shot)
                return bool(shot.any())

            first = screen.until(is_lit, 2 * WAIT_S)
            assert len(shots) > 1
            assert strip_tops(first)
            assert first[-1].any()
            assert np.array_equal(pixels(tmp_path), screen.shot())
            screen.call("xdotool", "mousemove_relative", 5, 5)
            deadline_s = time.monotonic() + WAIT_S
            while np.array_equal(pixels(tmp_path), screen.shot()):
                assert time.monotonic() < deadline_s, "the pointer never came"
            screen.key("q")
            run.end()


def pixels(folder: Path) -> np.ndarray:
    """The screen's memory, (h, w, 3) BGR."""
    data = np.fromfile(folder / "Xvfb_screen0", np.uint8)
    width, height = SCREEN_WH
    return data[-4 * width * height :].reshape(height, width, 4)[:, :, :3]


@pytest.mark.window
def test_pixels_of_a_fine_screen_stay_what_they_are(screen, tmp_path):
    """Qt would make a window of 1280x720 twice as large at 144 dots per inch, and blurred."""
    resources = ["xprop", "-root", "-f", "RESOURCE_MANAGER", "8s", "-set", "RESOURCE_MANAGER"]
    if shutil.which("xprop") is None:
        pytest.skip("no xprop: apt install x11-utils")
    screen.call(*resources, "Xft.dpi:\t144\n")
    try:
        done = screen.call(sys.executable, "-c", SIZE_OF_A_WINDOW)
    finally:
        screen.call("xprop", "-root", "-remove", "RESOURCE_MANAGER")
    assert done == "(640, 480)\n"


SIZE_OF_A_WINDOW = """
import subprocess
import cv2
import numpy as np
from rtsearch.ui.display import prepare_windows

prepare_windows()
cv2.namedWindow("fine", cv2.WINDOW_NORMAL | cv2.WINDOW_FREERATIO | cv2.WINDOW_GUI_NORMAL)
cv2.resizeWindow("fine", 640, 480)
cv2.imshow("fine", np.full((480, 640, 3), 255, np.uint8))
for _ in range(20):
    cv2.waitKey(20)
shape = subprocess.run(
    ["xdotool", "search", "--sync", "--name", "^fine$", "getwindowgeometry", "--shell"],
    capture_output=True, text=True, check=True,
).stdout.split()
print(tuple(int(line.partition("=")[2]) for line in shape if line.startswith(("WIDTH", "HEIGHT"))))
"""
