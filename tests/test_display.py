"""Whether there is a display, and how large a window may be on it."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from types import SimpleNamespace

import cv2
import pytest

from rtsearch.cli.playing import Playing
from rtsearch.cli.run import no_window
from rtsearch.errors import DisplayError
from rtsearch.jobs.doctor import examine
from rtsearch.ui import display as module
from rtsearch.ui import x11
from rtsearch.ui.display import (
    OPENCV_ANEW,
    display_problem,
    far_display,
    fit_screen,
    headless_opencv,
    inside_screen,
    prepare_windows,
    toolkit_problem,
)
from rtsearch.ui.x11 import screen_wh

# Whether there is a display --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("display", "wayland", "problem"),
    [
        (None, None, "there is no display"),
        ("", None, "there is no display"),
        (":987", None, "the display :987 does not answer"),
        (":987.0", None, "the display :987.0 does not answer"),
        ("nonsense", None, "the display nonsense does not answer"),
        (":", None, "the display : does not answer"),
        ("localhost:987", None, "the display localhost:987 does not answer"),
        (None, "wayland-9", "there is no X display, which windows need beside Wayland"),
        (":987", "wayland-9", "the display :987 does not answer"),
    ],
)
def test_displays_that_are_not_there(monkeypatch, display, wayland, problem):
    for name, value in (("DISPLAY", display), ("WAYLAND_DISPLAY", wayland)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    assert display_problem() == problem


REFUSED = b"\0\x14\x0b\0\0\0\x05\0" + b"No protocol allowed\n"
"""What an X server answers to a stranger."""


@pytest.mark.parametrize(
    ("answer", "problem"),
    [(REFUSED, "the display :986 refuses: No protocol allowed"), (b"", "the display :986 does not answer")],
)
def test_a_display_that_lets_nobody_in(monkeypatch, answer, problem):
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("DISPLAY", ":986")
    monkeypatch.setattr(x11, "_ANSWERS_S", 10.0 if answer else 0.3)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("\0/tmp/.X11-unix/X986")
        server.listen(4)
        answers = threading.Thread(target=_answer, args=(server, answer))
        answers.start()
        try:
            assert display_problem() == problem
        finally:
            server.shutdown(socket.SHUT_RDWR)
            answers.join()


def _answer(server: socket.socket, answer: bytes) -> None:
    """Say the same to everybody that asks for a connection; where there is nothing to say, hold the line."""
    with contextlib.ExitStack() as held, contextlib.suppress(OSError):
        while True:
            line = held.enter_context(server.accept()[0])
            if answer and line.recv(1):
                line.sendall(answer)
                line.close()


@pytest.mark.parametrize("wanted", [None, "wayland", "nonsense", "wayland;xcb", "xcb"])
def test_windows_go_through_what_opencv_has(monkeypatch, wanted):
    """Told to use another platform, Qt ends the process."""
    for name, value in (("QT_QPA_PLATFORM", wanted), ("QT_ENABLE_HIGHDPI_SCALING", "1")):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    prepare_windows()
    assert os.environ["QT_QPA_PLATFORM"] == "xcb"
    assert os.environ["QT_ENABLE_HIGHDPI_SCALING"] == "0"


@pytest.mark.slow
def test_an_opencv_without_windows(monkeypatch, tmp_path):
    monkeypatch.setattr(cv2, "currentUIFramework", lambda: "")
    assert toolkit_problem().startswith("the OpenCV that is loaded has no windows; run: pip uninstall")
    (finding,) = (one for one in examine() if one.name == "windows")
    assert (finding.state, finding.advice) == ("optional", OPENCV_ANEW)


@pytest.mark.parametrize("fullscreen", [False, True])
def test_a_run_says_that_its_opencv_has_no_windows(monkeypatch, fullscreen):
    monkeypatch.setattr(cv2, "currentUIFramework", lambda: "")
    monkeypatch.setattr("rtsearch.ui.display.display_problem", lambda: "")
    with pytest.raises(DisplayError, match=r"OpenCV that is loaded has no windows; run: pip uninstall"):
        no_window(Playing(), fullscreen=fullscreen)


def test_an_opencv_without_windows_beside_the_other(monkeypatch, tmp_path):
    assert headless_opencv() == []
    about = tmp_path / "opencv_python_headless-4.12.0.dist-info" / "METADATA"
    about.parent.mkdir()
    about.write_text("Metadata-Version: 2.1\nName: opencv-python-headless\nVersion: 4.12.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert headless_opencv() == ["opencv-python-headless"]
    (finding,) = (one for one in examine() if one.name == "windows")
    assert (finding.state, finding.what) == ("optional", "opencv-python-headless lies over opencv-python")


# The size of a window --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "screen", "opened"),
    [
        ((1280, 720), (1920, 1080), (1280, 720)),
        ((1280, 720), (1280, 800), (1280, 720)),
        ((1280, 720), (1366, 768), (1229, 691)),
        ((1280, 720), (1024, 600), (960, 540)),
        ((1280, 720), (720, 1280), (720, 405)),
        ((1080, 1920), (1920, 1080), (547, 972)),
        ((640, 480), (64, 48), (320, 240)),
    ],
)
def test_a_window_is_no_larger_than_the_screen(wanted, screen, opened):
    assert fit_screen(wanted, screen) == opened


@pytest.mark.parametrize(("screen", "opened"), [((3840, 2160), (2560, 1440)), ((2560, 1440), (2304, 1296))])
def test_a_window_is_larger_where_the_desktop_draws_everything_larger(screen, opened):
    assert fit_screen((1280, 720), screen, 2.0) == opened


@pytest.mark.parametrize(
    ("display", "far"),
    [(None, ""), (":0", ""), ("unix:0.0", ""), ("localhost:10.0", "localhost:10.0"), ("desk:0", "desk:0")],
)
def test_a_display_of_another_machine(monkeypatch, display, far):
    monkeypatch.delenv("DISPLAY", raising=False)
    if display is not None:
        monkeypatch.setenv("DISPLAY", display)
    assert far_display() == far


@pytest.mark.parametrize("display", [None, ":987", "nonsense"])
def test_without_a_display_nobody_knows_its_size(monkeypatch, display):
    monkeypatch.delenv("DISPLAY", raising=False)
    if display is not None:
        monkeypatch.setenv("DISPLAY", display)
    assert screen_wh() is None


# What OpenCV's windows need of it --------------------------------------------------------------------------


def test_doctor_tells_of_windows_that_may_stay_black(monkeypatch):
    def nothing(*_args, **_options):
        raise OSError("cannot open shared object file")

    # For this module alone: what others could not load now, they would go without for good.
    monkeypatch.setattr(module, "ctypes", SimpleNamespace(CDLL=nothing, RTLD_GLOBAL=0))
    monkeypatch.setattr(module, "display_problem", lambda: "")
    assert not prepare_windows()
    (finding,) = (one for one in examine() if one.name == "display")
    assert (finding.state, finding.advice) == ("optional", "apt install libx11-xcb1")


@pytest.mark.parametrize(
    ("window", "place"),
    [
        ((0, 0, 1600, 900), None),
        ((10, 30, 1280, 720), None),
        ((0, 250, 1280, 720), (0, 135)),
        ((500, 0, 1280, 720), (320, 0)),
        ((-40, 20, 1280, 720), (0, 0)),
        ((0, 0, 1280, 950), (0, 0)),
    ],
)
def test_a_window_is_brought_inside_the_screen(
    window: tuple[int, int, int, int], place: tuple[int, int] | None
) -> None:
    assert inside_screen(window, (1600, 900)) == place
