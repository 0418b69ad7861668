"""A kiosk on a screen in memory: it comes back, visitors' keys do nothing, and at night it is black."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import forked
import numpy as np
import pytest
from screens import SCREEN_WH, WAIT_S, Run, Screen, open_screen
from sent import until

pytestmark = [pytest.mark.window, pytest.mark.slow]

LONG_S = 4 * WAIT_S


@pytest.fixture
def screen() -> Iterator[Screen]:
    with open_screen() as opened:
        yield opened


class Kiosk:
    """``rtsearch kiosk`` on a screen."""

    def __init__(self, screen: Screen, folder: Path, *args: object) -> None:
        self._command = [str(Path(sys.executable).parent / "rtsearch"), "kiosk"]
        self._environment = {**screen.environment, "XDG_RUNTIME_DIR": str(folder)}
        self._process = forked.Popen(
            [*self._command, *map(str, args)],
            cwd=folder,
            env=self._environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        screen.shown = self._process

    def status(self) -> dict[str, Any]:
        done = forked.run(
            [*self._command, "status", "--json"],
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return json.loads(done.stdout) or {}

    def until(self, state: str, starts: int = 1) -> None:
        """Wait for a state; asking without a pause would take a core from the kiosk."""
        until(lambda: self.status().items() >= {"state": state, "starts": starts}.items(), LONG_S, 0.5)

    def end(self) -> tuple[int, str]:
        """Exit code and messages after SIGTERM."""
        self._process.terminate()
        _, said = self._process.communicate(timeout=LONG_S)
        return self._process.returncode, said

    def wait(self) -> int:
        self._process.communicate(timeout=LONG_S)
        return self._process.returncode

    def __enter__(self) -> Kiosk:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.returncode is None:
            self._process.terminate()
            self._process.communicate(timeout=LONG_S)


def test_a_kiosk_comes_back_and_heeds_no_keys(screen, library, clip, tmp_path):
    options = ["--source", clip, "--set", "show.keys=false"]
    with Kiosk(screen, tmp_path, library, *options) as kiosk:
        screen.until(lambda shot: shot[:, 1400:].any(), LONG_S)  # the whole screen
        first = kiosk.status()
        assert (first["state"], first["starts"]) == ("playing", 1)
        for key in ("q", "Escape", "c", "h", "space"):
            screen.key(key)
        before = screen.shot()
        screen.until(lambda shot: (shot != before).any())  # neither paused nor gone
        os.kill(first["child"], signal.SIGKILL)
        kiosk.until("playing", starts=2)
        screen.until(lambda shot: shot[:, 1400:].any(), LONG_S)
        code, said = kiosk.end()
    assert code == 0, said
    assert "the run ended: signal 9; it starts again in 1 s" in said
    assert kiosk.status()["state"] == "ended"
    assert not screen.shot().any()


def test_a_kiosk_at_night_and_without_a_display(screen, library, clip, tmp_path):
    hour = time.localtime().tm_hour
    night = f"{(hour + 2) % 24:02d}:00-{(hour + 3) % 24:02d}:00"
    with Kiosk(screen, tmp_path, library, "--source", clip, "--set", f"show.hours={night}") as kiosk:
        kiosk.until("playing")
        windows = screen.call("xdotool", "search", "--onlyvisible", "--name", "rtsearch").split()
        assert windows
        assert not np.any(screen.shot())
        screen.stop()
        assert kiosk.wait() == 75


@pytest.mark.skipif(shutil.which("xrandr") is None, reason="xrandr is not installed")
@pytest.mark.parametrize("manager", ["", "openbox"])
def test_a_monitor_is_filled_and_no_other(screen, library, clip, tmp_path, manager):
    if manager and shutil.which(manager) is None:
        pytest.skip(f"{manager} is not installed")
    width, height = SCREEN_WH
    for name, x in (("left", 0), ("right", width // 2)):
        screen.call("xrandr", "--setmonitor", name, f"{width // 2}/200x{height}/200+{x}+0", "none")
    desktop = subprocess.Popen([manager], env=screen.environment) if manager else None
    try:
        if manager:
            screen.until(lambda _: bool(screen.call("xdotool", "get_num_desktops").strip()))
        options = ["--set", "show.fullscreen=true", "--loop", "--set"]
        with Run(screen, tmp_path, library, "--source", clip, *options, "show.monitor=right") as run:
            shot = screen.until(lambda shot: shot[:, -200:].any() and shot[-60:, width // 2 :].any(), LONG_S)
            assert not shot[:, : width // 2].any()
            screen.key("q")
            run.end()
    finally:
        if desktop is not None:
            desktop.terminate()
            desktop.wait(WAIT_S)
    with Run(screen, tmp_path, library, "--source", clip, *options, "show.monitor=TV") as run:
        _, said = run.process.communicate(timeout=LONG_S)
    assert run.process.returncode == 2
    assert "show.monitor = 'TV': there is no such monitor, but 0 (left), 1 (right)" in said
