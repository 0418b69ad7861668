"""Full screen of a window: with or without a window manager, and with a pointer that gets out of the way."""

from __future__ import annotations

import time
from collections.abc import Sequence

import cv2

from rtsearch._util.closing import Closing
from rtsearch.ui.x11 import Monitor, Pointer, has_window_manager

__all__ = ["FullScreen"]

_POINTER_STAYS_S = 2.0  # after the mouse was moved


class FullScreen(Closing):
    """Fills the screen with a window, and gives it back.

    A window manager is asked for it; where there is none, the window itself is made as large as the screen.

    Args:
        title: of the window.
        screen_wh: size of the X screen, px; None where there is none.
        monitor: is filled; None leaves the choice to the desktop, or fills the whole screen without one.

    Attributes:
        on: the window fills the screen.
    """

    def __init__(self, title: str, screen_wh: tuple[int, int] | None, monitor: Monitor | None = None) -> None:
        self.on = False
        self._title = title
        self._screen_wh = screen_wh
        self._monitor = monitor
        self._before: Sequence[int] | None = None  # of a window that no window manager has
        self._pointer = Pointer()
        self._pointer_xy: tuple[int, int] | None = None
        self._pointer_until_s = 0.0

    def toggle(self) -> None:
        """Change to full screen, or back."""
        self.on = not self.on
        if self._screen_wh is not None and not has_window_manager():
            self._resize()
            return
        if self.on and self._monitor is not None:
            cv2.moveWindow(self._title, self._monitor.x, self._monitor.y)  # window managers fill this one
        mode = cv2.WINDOW_FULLSCREEN if self.on else cv2.WINDOW_NORMAL
        cv2.setWindowProperty(self._title, cv2.WND_PROP_FULLSCREEN, mode)

    def pump(self) -> None:
        """Hide the pointer of a full screen until it is moved, and again once it has stood still."""
        xy, now_s = self._pointer.xy(), time.monotonic()
        if self._pointer_xy not in (None, xy):
            self._pointer_until_s = now_s + _POINTER_STAYS_S
        self._pointer_xy = xy
        self._pointer.hide(self.on and now_s >= self._pointer_until_s)

    def close(self) -> None:
        """Show the pointer again."""
        self._pointer.close()

    def _resize(self) -> None:
        assert self._screen_wh is not None
        if self.on:
            self._before = cv2.getWindowImageRect(self._title)
        whole = (0, 0, *self._screen_wh) if self._monitor is None else self._monitor[1:]
        x, y, width, height = whole if self.on else self._before or (0, 0, 1280, 720)
        cv2.moveWindow(self._title, x, y)
        cv2.resizeWindow(self._title, width, height)
