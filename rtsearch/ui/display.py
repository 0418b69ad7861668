"""Check the display that windows open on, its size, and the libraries of OpenCV's windows."""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
import os
import socket
import sys
from pathlib import Path

from rtsearch.errors import DisplayError
from rtsearch.ui.x11 import Monitor, monitors, refusal

__all__ = [
    "LEAST_WH",
    "OPENCV_ANEW",
    "chosen_monitor",
    "display_problem",
    "far_display",
    "fit_screen",
    "headless_opencv",
    "inside_screen",
    "prepare_windows",
    "toolkit_problem",
]

_HEADLESS = ("opencv-python-headless", "opencv-contrib-python-headless")
OPENCV_ANEW = f"run: pip uninstall {' '.join(_HEADLESS)}; then: pip install --force-reinstall opencv-python"
"""Commands that leave the OpenCV that has windows."""

LEAST_WH = (320, 240)
"""Smallest size of a picture, px, as in ``show.window_wh``; smaller windows show it scaled down."""

_HIGHEST = 0.9  # share of the screen's height for a new window, which leaves room for title bar and panel


def display_problem() -> str:
    """Return the reason why no window can open on this machine, or ""."""
    if sys.platform != "linux":
        return ""
    wayland = os.environ.get("WAYLAND_DISPLAY", "")
    if wayland and not _own_platforms() and _listens(wayland):
        return ""
    display = os.environ.get("DISPLAY", "")
    if not display:
        return (
            "there is no X display, which windows need beside Wayland" if wayland else "there is no display"
        )
    if not _answers(display):
        return f"the display {display} does not answer"
    refused = refusal()
    return f"the display {display} {refused}" if refused else ""


def far_display() -> str:
    """Return the display of windows if it is of another machine, as through ``ssh -X``, else ""."""
    display = os.environ.get("DISPLAY", "")
    return "" if display.rpartition(":")[0] in ("", "unix") else display


def toolkit_problem() -> str:
    """Return the reason why the OpenCV that is installed opens no windows, and the way out, or ""."""
    import cv2

    return "" if cv2.currentUIFramework() else f"the OpenCV that is loaded has no windows; {OPENCV_ANEW}"


def headless_opencv() -> list[str]:
    """Return the installed packages of OpenCV without windows, whose files lie in the place of the others."""
    return [name for name in _HEADLESS if _is_installed(name)]


def _is_installed(package: str) -> bool:
    try:
        importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _own_platforms() -> set[str]:
    """Return the platforms of the Qt inside OpenCV's package; none where it uses the system's windows.

    All packages on PyPI have X only; Qt ends the process where it is told to use another one.
    """
    spec = importlib.util.find_spec("cv2")
    if spec is None or spec.origin is None:
        return set()
    found = (Path(spec.origin).parent / "qt/plugins/platforms").glob("libq*.so")
    return {path.stem.removeprefix("libq") for path in found}


def _listens(wayland: str) -> bool:
    """Tell whether a Wayland compositor listens."""
    path = Path(os.environ.get("XDG_RUNTIME_DIR", "/")) / wayland
    with socket.socket(socket.AF_UNIX) as unix:
        return unix.connect_ex(os.fsencode(path)) == 0


def _answers(display: str) -> bool:
    """Tell whether an X server listens; without one, opening a window would end the process."""
    host, _, number = display.rpartition(":")
    number = number.partition(".")[0]
    if not number.isdecimal():
        return False
    try:
        if host in ("", "unix"):
            with socket.socket(socket.AF_UNIX) as unix:
                for path in (f"/tmp/.X11-unix/X{number}", f"\0/tmp/.X11-unix/X{number}"):
                    if unix.connect_ex(path) == 0:
                        return True
            return False
        with socket.create_connection((host, 6000 + int(number)), timeout=2):
            return True
    except OSError:
        return False


def chosen_monitor(wanted: str) -> Monitor | None:
    """Return the monitor of a name or number; None for "".

    Raises:
        DisplayError: there is no such monitor.
    """
    if not wanted:
        return None
    there = monitors()
    for number, monitor in enumerate(there):
        if wanted in (str(number), monitor.name):
            return monitor
    names = ", ".join(f"{number} ({monitor.name})" for number, monitor in enumerate(there)) or "none known"
    raise DisplayError(f"show.monitor = {wanted!r}: there is no such monitor, but {names}")


def fit_screen(window_wh: tuple[int, int], screen_wh: tuple[int, int], scale: float = 1.0) -> tuple[int, int]:
    """Return the size of a window, px, reduced in proportion to fit the screen.

    Args:
        window_wh: wanted size.
        screen_wh: size of the screen.
        scale: how much larger than usual things are drawn there.
    """
    width, height = window_wh
    share = min(scale, screen_wh[0] / width, _HIGHEST * screen_wh[1] / height)
    return max(LEAST_WH[0], round(share * width)), max(LEAST_WH[1], round(share * height))


def inside_screen(window: tuple[int, int, int, int], screen_wh: tuple[int, int]) -> tuple[int, int] | None:
    """Return the place to move a window to so that all of it is on the screen; None if it is already.

    Args:
        window: x, y, width and height of the window's picture without its title bar, px.
        screen_wh: width and height of the screen, px.
    """
    x, y, width, height = window
    if x >= 0 and y >= 0 and x + width <= screen_wh[0] and y + height <= screen_wh[1]:
        return None
    left = min(x, screen_wh[0] - width)
    # Height that is left for the title bar, which desktops put at the given place.
    title_px = round((1 - _HIGHEST) / 2 * screen_wh[1])
    return max(0, left), max(0, min(y, screen_wh[1] - height) - title_px)


def prepare_windows() -> bool:
    """Load the system's libX11-xcb and disable the mouse wheel; called before the first window.

    The package of OpenCV contains its own libX11-xcb, which does not fit libX11 since 1.8: its
    ``XSetEventQueueOwner`` writes to offset 0x40 of a structure whose field is at 0x48. From then on each
    flush of Xlib takes events away from Qt: of 30 windows on two busy cores, 5 missed the event that shows
    them and stayed black; keys and clicks are lost in the same way. The system's own library, loaded
    globally, is found before that of the package: 0 of 30 windows stayed black.

    The mouse wheel magnifies the picture of OpenCV's windows, and only the wheel undoes it. Without XInput 2
    for the mouse Qt ignores the wheel; buttons work as before.

    On screens of more than 96 dots per inch Qt would count in larger pixels than the screen has: a window of
    1280x720 would take 2560x1440 of them, blurred. And it would end the process where it is told to use a
    platform, such as Wayland, that OpenCV's package does not have.

    Returns:
        False where the system has no libX11-xcb, and the package's library is used.
    """
    if sys.platform == "linux":
        os.environ.setdefault("QT_XCB_NO_XI2_MOUSE", "1")
        os.environ["QT_ENABLE_HIGHDPI_SCALING"] = "0"
        platforms = _own_platforms()
        if platforms and os.environ.get("QT_QPA_PLATFORM") not in platforms:
            os.environ["QT_QPA_PLATFORM"] = "xcb"
        try:
            ctypes.CDLL("libX11-xcb.so.1", mode=ctypes.RTLD_GLOBAL)
        except OSError:
            return False
    return True
