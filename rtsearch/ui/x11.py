"""The X server, asked through its own libraries: OpenCV tells neither the screen's size nor its desktop."""

from __future__ import annotations

import contextlib
import ctypes
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

from rtsearch._util.closing import Closing

__all__ = ["Monitor", "Pointer", "has_window_manager", "monitors", "refusal", "screen_scale", "screen_wh"]

_ANSWERS_S = 10.0
_USUAL_DPI, _MOST_SCALE = 96, 4.0
_OPENS = (
    "import ctypes, sys; x11 = ctypes.CDLL('libX11.so.6'); x11.XOpenDisplay.restype = ctypes.c_void_p; "
    "sys.exit(0 if x11.XOpenDisplay(None) else 3)"
)


def refusal() -> str:
    """Return the reason why the X server of this environment lets nobody in, or "".

    It is asked from another process, for a server may take a connection and never answer.
    """
    try:
        command = [sys.executable, "-I", "-S", "-c", _OPENS]
        done = subprocess.run(command, capture_output=True, timeout=_ANSWERS_S, check=False)
    except subprocess.TimeoutExpired:
        return "does not answer"
    if done.returncode not in (0, 3):
        return "needs libX11 (apt install libx11-6)"
    said = " ".join(done.stderr.decode(errors="replace").split())
    return "" if done.returncode == 0 else f"refuses: {said or 'no reason given'}"


def screen_wh() -> tuple[int, int] | None:
    """Return width and height of the X screen, all monitors together, px; None where there is none."""
    with _opened() as (x11, display):
        return None if display is None else (x11.XDisplayWidth(display, 0), x11.XDisplayHeight(display, 0))


def screen_scale() -> float:
    """Return how much larger than usual the desktop draws things: its dots per inch by 96, 1 to 4."""
    with _opened() as (x11, display):
        if display is None:
            return 1.0
        x11.XResourceManagerString.restype = ctypes.c_char_p
        found = re.search(
            rb"^Xft\.dpi:\s*(\d+(?:\.\d+)?)\s*$", x11.XResourceManagerString(display) or b"", re.M
        )
    return min(max(float(found[1]) / _USUAL_DPI, 1.0), _MOST_SCALE) if found else 1.0


class Monitor(NamedTuple):
    """Monitor, and its part of the X screen, px."""

    name: str
    x: int
    y: int
    width: int
    height: int


class _MonitorInfo(ctypes.Structure):
    """``XRRMonitorInfo`` of X11/extensions/Xrandr.h."""

    _fields_ = (
        ("name", ctypes.c_ulong),
        *((field, ctypes.c_int) for field in ("primary", "automatic", "outputs_count")),
        *((field, ctypes.c_int) for field in ("x", "y", "width", "height", "width_mm", "height_mm")),
        ("outputs", ctypes.c_void_p),
    )


def monitors() -> list[Monitor]:
    """Return the monitors of the X screen in the server's order; none where there is no X or no XRandR."""
    try:
        xrandr = ctypes.CDLL("libXrandr.so.2")
    except OSError:
        return []
    xrandr.XRRGetMonitors.restype = ctypes.POINTER(_MonitorInfo)
    with _opened() as (x11, display):
        if display is None:
            return []
        x11.XGetAtomName.restype = ctypes.c_void_p
        count, root = ctypes.c_int(), ctypes.c_ulong(x11.XDefaultRootWindow(display))
        found = xrandr.XRRGetMonitors(display, root, True, ctypes.byref(count))
        listed = []
        for info in found[: max(0, count.value)] if found else ():
            name = x11.XGetAtomName(display, ctypes.c_ulong(info.name))
            text = ctypes.string_at(name).decode(errors="replace") if name else ""
            x11.XFree(ctypes.c_void_p(name))
            listed.append(Monitor(text, info.x, info.y, info.width, info.height))
        if found:
            xrandr.XRRFreeMonitors(found)
        return listed


def has_window_manager() -> bool:
    """Tell whether a window manager announces itself; without one, full screen is asked of nobody."""
    with _opened() as (x11, display):
        if display is None:
            return False
        name = x11.XInternAtom(display, b"_NET_SUPPORTING_WM_CHECK", True)
        kind, items, left = ctypes.c_ulong(), ctypes.c_ulong(), ctypes.c_ulong()
        form, data = ctypes.c_int(), ctypes.c_void_p()
        answers = map(ctypes.byref, (kind, form, items, left, data))
        root = x11.XDefaultRootWindow(display)
        where = (
            ctypes.c_ulong(root),
            ctypes.c_ulong(name),
            ctypes.c_long(0),
            ctypes.c_long(1),
            False,
            ctypes.c_ulong(0),
        )
        if not name or x11.XGetWindowProperty(display, *where, *answers) != 0:
            return False
        if data:
            x11.XFree(data)
        return items.value > 0


class Pointer(Closing):
    """Hides the mouse pointer of the whole screen, where there are X and XFixes."""

    def __init__(self) -> None:
        self._hidden = False
        self._display: ctypes.c_void_p | None = None
        self._x11: Any = None
        try:
            self._xfixes: Any = ctypes.CDLL("libXfixes.so.3")
        except OSError:
            return
        self._x11, self._display = _open()
        if self._display is not None:
            self._root = ctypes.c_ulong(self._x11.XDefaultRootWindow(self._display))

    def xy(self) -> tuple[int, int] | None:
        """Return where the pointer is on the screen, px."""
        if self._display is None:
            return None
        windows, numbers = (ctypes.c_ulong * 2)(), (ctypes.c_int * 5)()
        at = [ctypes.byref(windows, ctypes.sizeof(ctypes.c_ulong) * i) for i in range(2)] + [
            ctypes.byref(numbers, 4 * i) for i in range(5)
        ]
        self._x11.XQueryPointer(self._display, self._root, *at)
        return numbers[0], numbers[1]

    def hide(self, hidden: bool) -> None:
        """Hide the pointer, or show it again."""
        if self._display is None or hidden == self._hidden:
            return
        self._hidden = hidden
        call = self._xfixes.XFixesHideCursor if hidden else self._xfixes.XFixesShowCursor
        call(self._display, self._root)
        self._x11.XFlush(self._display)

    def close(self) -> None:
        """Show the pointer again."""
        if self._display is not None:
            self._x11.XCloseDisplay(self._display)
            self._display = None


def _open() -> tuple[Any, ctypes.c_void_p | None]:
    try:
        x11 = ctypes.CDLL("libX11.so.6")
    except OSError:
        return None, None
    x11.XOpenDisplay.restype = ctypes.c_void_p
    x11.XDefaultRootWindow.restype = ctypes.c_ulong
    x11.XInternAtom.restype = ctypes.c_ulong
    display = ctypes.c_void_p(x11.XOpenDisplay(None))
    return x11, display if display else None


@contextlib.contextmanager
def _opened() -> Iterator[tuple[Any, ctypes.c_void_p | None]]:
    x11, display = _open()
    try:
        yield x11, display
    finally:
        if display is not None:
            x11.XCloseDisplay(display)
