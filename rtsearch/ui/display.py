"""The display that windows open on: whether there is one, its size, what OpenCV's windows need."""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
import os
import socket
import sys
from pathlib import Path

from rtsearch.ui.x11 import refusal

__all__ = [
    "LEAST_WH",
    "OPENCV_ANEW",
    "display_problem",
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
"""Of a picture, px, as ``show.window_wh`` allows; a smaller window shows the picture scaled down."""

_HIGHEST = 0.9  # share of the screen's height that a new window takes; a title bar and a panel have the rest


def display_problem() -> str:
    """Return the reason why no window can open here, or "" if one can."""
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


def fit_screen(window_wh: tuple[int, int], screen_wh: tuple[int, int]) -> tuple[int, int]:
    """The size of a window of this shape, as large as asked for or as the screen has room for, px."""
    width, height = window_wh
    share = min(1.0, screen_wh[0] / width, _HIGHEST * screen_wh[1] / height)
    return max(LEAST_WH[0], round(share * width)), max(LEAST_WH[1], round(share * height))


def inside_screen(window: tuple[int, int, int, int], screen_wh: tuple[int, int]) -> tuple[int, int] | None:
    """Return where a window must go to be seen whole, px; None where it is seen whole already.

    Args:
        window: x, y, width and height of its picture; a title bar above it is not counted.
        screen_wh: size of the screen.
    """
    x, y, width, height = window
    if x >= 0 and y >= 0 and x + width <= screen_wh[0] and y + height <= screen_wh[1]:
        return None
    left = min(x, screen_wh[0] - width)
    title_px = round((1 - _HIGHEST) / 2 * screen_wh[1])  # a desktop puts the title bar there, not the picture
    return max(0, left), max(0, min(y, screen_wh[1] - height) - title_px)


def prepare_windows() -> bool:
    """Let windows get their events, but none of the wheel; called before the first window.

    The package of OpenCV brings a libX11-xcb of its own for the system's libX11. Since libX11 1.8 its
    ``XSetEventQueueOwner`` writes to the wrong place (0x40 in a structure in which the field is at 0x48), and
    from then on each flush of Xlib takes events away from Qt: of 30 windows on two busy cores 5 never learned
    that they are on the screen, and stayed black for good; keys and clicks are lost in the same way. The
    system's own library, loaded for all to see, is found before that of the package: 0 of 30.

    The wheel of the mouse magnifies what OpenCV's windows show, strips and controls with it, and nothing but
    the wheel leads back. Without XInput 2 for the mouse Qt leaves wheels alone; buttons work as before.

    On screens of more than 96 dots per inch Qt would count in larger pixels than the screen has: a window of
    1280x720 would take 2560x1440 of them, blurred. And it would end the process where it is told to use a
    platform, such as Wayland, that OpenCV's package does not have.

    Returns:
        False where the system has no libX11-xcb: then windows are as OpenCV's package has them.
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
