"""A screen in memory with windows of rtsearch on it: keys, mouse, screenshots, and what they show."""

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
import forked
import numpy as np
import pytest
from PIL import ImageGrab

from rtsearch.render.sliders import SLIDERS, panel_wh
from rtsearch.render.theme import OBJECT_COLOURS
from rtsearch.ui.keys import HELP

SCREEN_WH = (1600, 900)
WINDOW_WH = (1280, 720)
PANEL_WH = panel_wh()
PANEL_XY = (WINDOW_WH[0] - PANEL_WH[0] - 8, 8)
KNOB = (80, 175, 255)
INK = (232, 232, 232)
TOOLS = ("Xvfb", "xdotool")
WAIT_S = 30


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
        done = forked.run(
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


class Run:
    """``rtsearch run``, or another command, with a window on a screen."""

    def __init__(self, screen: Screen, folder: Path, *args: object, command: str = "run") -> None:
        words = [Path(sys.executable).parent / "rtsearch", command, *args, "--json"]
        self.folder = folder
        self.process = forked.Popen(
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
