"""The window in programs of its own: messages, places, resolutions, the first picture of a full screen."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import forked
import numpy as np
import pytest
from screens import SCREEN_WH, WAIT_S, Run, Screen, open_screen, strip_tops

pytestmark = pytest.mark.window


@pytest.fixture(scope="module")
def screen() -> Iterator[Screen]:
    with open_screen() as opened:
        yield opened


def expect_said(program: str, said: str, screen: Screen, folder: Path) -> None:
    """Run a program on a screen, in a folder; it must end well and print one line."""
    done = forked.run(
        [sys.executable, "-c", program],
        check=False,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        cwd=folder,
        env=screen.environment,
    )
    assert (done.returncode, done.stdout) == (0, f"{said}\n"), done.stderr


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
from collections.abc import Iterator
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


def test_what_is_told_in_a_pause_comes_first_and_then_goes(screen, tmp_path):
    said = ["paused    8.94 s", "loop", "+5 s", "+5 s", "+5 s", "paused    8.94 s"]
    expect_said(TOLD_IN_A_PAUSE, str(said), screen, tmp_path)


def test_a_window_that_the_user_closes(screen, tmp_path):
    expect_said(CLOSED_BY_THE_USER, "well", screen, tmp_path)


PARTLY_BELOW = """
import time
from collections.abc import Iterator
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


def test_a_window_that_opens_partly_below_the_screen_is_brought_up(screen, tmp_path):
    expect_said(PARTLY_BELOW, "inside", screen, tmp_path)


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
