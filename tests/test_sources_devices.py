"""Cameras at this computer, and its screen."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import pytest

from rtsearch.config import LiveSettings
from rtsearch.errors import MissingDependencyError, SourceError
from rtsearch.jobs.doctor import examine
from rtsearch.sources import cameras, open_source
from rtsearch.sources.capture import LostError
from rtsearch.sources.usb import CameraFinder, wishes
from rtsearch.ui.x11 import screen_scale

LIVE = LiveSettings(open_timeout_s=1.0)


def test_cameras_are_listed_by_number(tmp_path: Path) -> None:
    assert cameras(tmp_path) == {}
    for number, name in ((10, "Ten"), (2, "HD Webcam")):
        folder = tmp_path / f"video{number}"
        folder.mkdir()
        (folder / "name").write_text(name + "\n")
    (tmp_path / "video3").mkdir()  # no name: unplugged meanwhile
    assert cameras(tmp_path) == {"/dev/video2": "HD Webcam", "/dev/video10": "Ten"}


def test_a_camera_is_found_again_under_another_number(tmp_path: Path) -> None:
    system, devices, links = tmp_path / "system", tmp_path / "dev", tmp_path / "by-id"
    for folder in (system, devices, links):
        folder.mkdir()

    def plug(number: int, name: str, *, link: str = "") -> Path:
        device = devices / f"video{number}"
        device.touch()
        (system / device.name).mkdir()
        (system / device.name / "name").write_text(name)
        if link:
            (links / link).symlink_to(device)
        return device

    def unplug(device: Path) -> None:
        device.unlink()
        shutil.rmtree(system / device.name)
        for link in links.iterdir():
            if not link.exists():
                link.unlink()

    device = plug(0, "HD Webcam", link="usb-HD_Webcam_1234-video-index0")
    finder = CameraFinder(str(device), system, (links,))
    assert finder.find() == str(device)
    unplug(device)
    with pytest.raises(LostError, match=f"there is no {device}"):
        finder.find()
    plug(0, "Another")
    back = plug(2, "HD Webcam", link="usb-HD_Webcam_1234-video-index0")
    assert finder.find() == str(back)
    back.chmod(0)
    if os.geteuid():
        with pytest.raises(LostError, match="add your user to the group video"):
            finder.find()


def test_cameras_are_asked_for_what_they_can_send() -> None:
    names = {cv2.CAP_PROP_FOURCC: "code", cv2.CAP_PROP_FPS: "fps", cv2.CAP_PROP_FRAME_WIDTH: "width"}

    def asked(*, crowded: bool, **settings: Any) -> list[str]:
        found = wishes(LiveSettings(**settings), crowded=crowded)
        return [names[setting] for setting, _ in found if setting in names]

    assert asked(crowded=False) == ["width"]
    assert asked(crowded=True) == ["code", "width"]  # two on one hub
    assert asked(crowded=False, camera_wh=(1280, 720)) == ["code", "width"]
    assert asked(crowded=False, camera_fps=60) == ["width", "fps"]


@pytest.mark.parametrize("kind", ["ImportError", "SyntaxError", "OSError"])
@pytest.mark.slow
def test_an_mss_that_does_not_load_is_not_called_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str
) -> None:
    (tmp_path / "mss").mkdir()
    (tmp_path / "mss/__init__.py").write_text(f"raise {kind}('libX11.so.6')")
    for name in [name for name in sys.modules if name.partition(".")[0] == "mss"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(MissingDependencyError, match=r"does not load \(libX11.*force-reinstall mss"):
        open_source("screen", LIVE)
    (finding,) = (one for one in examine() if one.name == "screen grab")
    assert (finding.state, finding.advice) == ("optional", "run: pip install --force-reinstall mss")


def test_screen_without_mss_says_which_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "mss", None)
    with pytest.raises(MissingDependencyError, match=r"rtsearch\[screen\]"):
        open_source("screen", LIVE)


def test_screen_without_display_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mss", reason="mss is not installed: pip install 'rtsearch[screen]'")
    monkeypatch.delenv("DISPLAY", raising=False)
    with pytest.raises(SourceError, match=r"the screen cannot be read: .*DISPLAY"):
        open_source("screen", LIVE)


@pytest.fixture
def _display(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    pytest.importorskip("mss", reason="mss is not installed: pip install 'rtsearch[screen]'")
    if shutil.which("Xvfb") is None:
        pytest.skip("Xvfb is not installed: apt-get install xvfb")
    command = ["Xvfb", "-displayfd", "1", "-screen", "0", "640x480x24", "-noreset"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    monkeypatch.setenv("DISPLAY", f":{process.stdout.readline().strip()}")
    yield
    process.terminate()
    process.wait()
    process.stdout.close()


@pytest.mark.window
@pytest.mark.usefixtures("_display")
def test_screen_and_region() -> None:
    for spec, wh in (("screen", (640, 480)), ("screen:10,20,300,200", (300, 200))):
        with open_source(spec, LIVE) as source, ThreadPoolExecutor(1) as elsewhere:
            assert (source.live, source.wh) == (True, wh)
            frames = elsewhere.submit(lambda: list(itertools.islice(source, 5))).result()
        assert [f.id for f in frames] == [0, 1, 2, 3, 4]
        assert {f.bgr.shape for f in frames} == {(wh[1], wh[0], 3)}
        # No faster than 30 per second; only after a first one that was late the second may come at once.
        assert frames[4].captured_s - frames[0].captured_s > 0.09
        assert list(source) == []
    with pytest.raises(SourceError, match="region 600,400,300,200 is not inside of 0,0,640,480"):
        open_source("screen:600,400,300,200", LIVE)


@pytest.mark.window
@pytest.mark.usefixtures("_display")
@pytest.mark.parametrize(
    ("dpi", "scale"), [("96", 1.0), ("192", 2.0), ("144.0", 1.5), ("30", 1.0), ("999", 4.0)]
)
def test_how_much_larger_the_desktop_draws(dpi: str, scale: float) -> None:
    if shutil.which("xrdb") is None:
        pytest.skip("xrdb is not installed: apt-get install x11-xserver-utils")
    assert screen_scale() == 1.0
    subprocess.run(["xrdb", "-nocpp"], input=f"Xft.hinting: 1\nXft.dpi:\t{dpi}\n", text=True, check=True)
    assert screen_scale() == scale


DISPLAY_GOES = """
import os, signal, sys
from rtsearch.config import LiveSettings
from rtsearch.errors import SourceError
from rtsearch.sources import open_source
source = open_source("screen", LiveSettings())
next(source)
os.kill(int(sys.argv[1]), signal.SIGKILL)
try:
    list(source)
except SourceError as error:
    print(error)
source.close()
source.close()
"""


@pytest.mark.window
def test_a_screen_whose_display_goes_is_an_error() -> None:
    pytest.importorskip("mss", reason="mss is not installed: pip install 'rtsearch[screen]'")
    if shutil.which("Xvfb") is None:
        pytest.skip("Xvfb is not installed: apt-get install xvfb")
    command = ["Xvfb", "-displayfd", "1", "-screen", "0", "320x240x24", "-noreset"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        environment = {**os.environ, "DISPLAY": f":{server.stdout.readline().strip()}"}
        python = [sys.executable, "-c", DISPLAY_GOES, str(server.pid)]
        done = subprocess.run(
            python, env=environment, capture_output=True, text=True, check=False, timeout=60
        )
    assert done.stdout == "the screen cannot be read any more: its display has gone\n"
    assert (done.returncode, done.stderr) == (0, "")
