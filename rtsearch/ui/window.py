"""Show pictures in an OpenCV window, and handle keys and the mouse, from the main thread only.

``imshow`` without a display ends the process without an exception, so ``display_problem`` is called first.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import cv2
import numpy as np

from rtsearch._util.opening_hours import is_open
from rtsearch.config import ShowSettings
from rtsearch.live import Controls
from rtsearch.live.load_steps import reduced
from rtsearch.render import theme
from rtsearch.render.layout import Canvas, canvas_of
from rtsearch.render.sliders import SHOW_SLIDERS, SLIDERS, draw_sliders, panel_holds, panel_xy, value_at
from rtsearch.render.text import draw_text, fit_text, text_wh
from rtsearch.types import Scene, U8Array
from rtsearch.ui.display import LEAST_WH, chosen_monitor, fit_screen, inside_screen, prepare_windows
from rtsearch.ui.full_screen import FullScreen
from rtsearch.ui.keys import ACTIONS, HELP, SET_UP_ACTIONS, SET_UP_HINT, SKIP_S
from rtsearch.ui.set_up import SetUp
from rtsearch.ui.waiting_card import WaitingCard
from rtsearch.ui.x11 import screen_scale, screen_wh

__all__ = ["Window"]

_log = logging.getLogger(__name__)

_TEXTS = get_args(ShowSettings.model_fields["text"].annotation)
_SETTLES_S = 1.0  # after its first picture a window is where the desktop has put it
_WHOLE_S = 1.0  # that the first picture of a full screen waits for crops, at the most
_LEAST_TEXT_PX = 12  # of a picture whose shorter side is 720 px


class Window:
    """Window that shows pictures and handles keys and the mouse.

    Args:
        title: title of the window.
        controls: controls that keys and sliders change.
        save_to: folder for saved pictures.
        settings_file: gets the parts of the picture that count; None for a file in the current folder.
    """

    def __init__(
        self, title: str, controls: Controls, save_to: Path, settings_file: Path | None = None
    ) -> None:
        self._title = title
        self._set_up = SetUp(controls, settings_file, self._tell)
        self._controls = controls
        self._narrow = controls.now.search
        self._save_to = save_to
        self._picture: U8Array | None = None
        self._pts_s: float | None = None  # presentation time of the picture
        self._message, self._message_until_s = "", 0.0
        self._show_help = False
        self._show_sliders = controls.now.show.keys and not controls.now.show.fullscreen
        self._sliders = SLIDERS if controls.detects else SHOW_SLIDERS
        self._tell_sliders()
        self._held: int | None = None
        self._redraw = False
        prepare_windows()
        # The picture is laid out again for every size of the window, so its aspect ratio is free.
        flags = cv2.WINDOW_NORMAL | cv2.WINDOW_FREERATIO | cv2.WINDOW_GUI_NORMAL
        self._screen_wh = screen_wh()
        monitor = chosen_monitor(controls.now.show.monitor)
        # The first picture sets this to the time by which the desktop has placed the window.
        self._settles_until_s = math.inf
        if self._screen_wh is not None:
            room_wh = self._screen_wh if monitor is None else (monitor.width, monitor.height)
            fitting = fit_screen(controls.now.show.window_wh, room_wh, screen_scale())
            self._change_show(window_wh=fitting)
        cv2.namedWindow(title, flags)
        cv2.resizeWindow(title, *controls.now.show.window_wh)
        cv2.setMouseCallback(title, self._on_mouse)
        if monitor is not None:
            cv2.moveWindow(title, monitor.x, monitor.y)
        self._full_screen = FullScreen(title, self._screen_wh, monitor)
        self._is_dark = False  # outside of the hours of the day
        self._whole_until_s = -math.inf  # until then a picture waits for all of its crops
        self._card = WaitingCard(time.monotonic())
        self._watch_hours()
        self._begin()

    def show(self, scene: Scene, picture: U8Array) -> None:
        """Show the picture of a scene, with the overlays that are on.

        The first one of a full screen waits for its crops, a moment at the most.
        """
        now_s = time.monotonic()
        self._whole_until_s = min(self._whole_until_s, now_s + _WHOLE_S)
        if self._picture is None and now_s < self._whole_until_s and not _has_crops(scene):
            return
        self._picture, self._pts_s = picture, scene.frame.pts_s
        self._paint()

    def pump(self) -> bool:
        """Handle keys; return False once the user quits or has closed the window."""
        key = cv2.pollKey()
        if not self._controls.now.show.keys:
            key = -1
        self._watch_hours()
        if not self._is_open():
            return False  # looked at before anything is drawn: imshow would open it again
        self._follow_size()
        self._bring_inside()
        self._full_screen.pump()
        if self._picture is None:
            self._wait()
        if self._message and time.monotonic() >= self._message_until_s:
            self._message, self._redraw = "", True
        if self._redraw and self._picture is not None:
            self._paint()
        return key < 0 or self._on_key(key & 0xFFFF)

    def close(self) -> None:
        """Close the window, if the user has not done so."""
        self._full_screen.close()
        with contextlib.suppress(cv2.error):  # what there is no longer cannot be closed
            cv2.destroyWindow(self._title)
            cv2.pollKey()  # processes the events that close the window

    def _begin(self) -> None:
        """Show the ground before there is a picture: that of Qt is white."""
        if self._controls.now.show.fullscreen:
            self._full_screen.toggle()
            self._full_screen.pump()
            self._whole_until_s = math.inf
        self._wait()
        cv2.pollKey()

    def _wait(self) -> None:
        """Show that the first picture is waited for; black outside of the hours of the day."""
        canvas = canvas_of(self._controls.now.show)
        card = self._card.picture(time.monotonic(), canvas)
        if card is not None:
            cv2.imshow(self._title, np.zeros_like(card) if self._is_dark else card)

    def _watch_hours(self) -> None:
        """Paint black, or the picture again, when the hours of the day end or begin."""
        now = time.localtime()
        is_dark = not is_open(self._controls.now.show.hours, 60 * now.tm_hour + now.tm_min)
        if is_dark != self._is_dark:
            self._is_dark, self._redraw = is_dark, True
            self._card = WaitingCard(time.monotonic())

    def _follow_size(self) -> None:
        """Adapt the size of the next picture to the window, so that text is sharp and no bars are shown."""
        width, height = cv2.getWindowImageRect(self._title)[2:]
        now = self._controls.now
        wh = reduced((width, height), now.load)
        large = wh[0] >= LEAST_WH[0] and wh[1] >= LEAST_WH[1]
        if large and wh != now.show.window_wh:
            self._change_show(window_wh=wh)

    def _bring_inside(self) -> None:
        """Move a window that has just opened so that all of it is on the screen."""
        now_s = time.monotonic()
        self._settles_until_s = min(self._settles_until_s, now_s + _SETTLES_S)
        if now_s > self._settles_until_s or self._screen_wh is None or self._full_screen.on:
            return
        x, y, width, height = cv2.getWindowImageRect(self._title)
        place = inside_screen((x, y, width, height), self._screen_wh)
        if place is not None and width <= self._screen_wh[0] and height <= self._screen_wh[1]:
            cv2.moveWindow(self._title, *place)

    def _change_show(self, **values: object) -> None:
        self._controls.change(show=self._controls.now.show.model_copy(update=values))

    def _is_open(self) -> bool:
        try:
            return bool(cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) >= 1)
        except cv2.error:  # OpenCV fails once the last window is closed
            return False

    def _on_key(self, key: int) -> bool:
        actions: dict[str, Callable[[], None]] = {
            "back": self._controls.back,
            "more": self._controls.more,
            "pause": self._toggle_pause,
            "step": self._controls.step,
            "step back": self._controls.step_back,
            "skip": lambda: self._skip(SKIP_S),
            "skip back": lambda: self._skip(-SKIP_S),
            "scroll up": lambda: self._controls.scroll(-1),
            "scroll down": lambda: self._controls.scroll(1),
            "loop": self._toggle_loop,
            "mirror": self._toggle_mirror,
            "narrow": self._toggle_narrow,
            "text": self._next_text,
            "figures": self._toggle_figures,
            "full screen": self._full_screen.toggle,
            "save": self._save,
            "set up": self._set_up.toggle,
            "mask": lambda: self._set_up.finish(counts=False),
            "region": lambda: self._set_up.finish(counts=True),
            "take back": self._set_up.take_back,
            "save parts": self._set_up.save,
            "controls": self._toggle_sliders,
            "help": self._toggle_help,
        }
        action = (SET_UP_ACTIONS if self._controls.now.sets_up else ACTIONS).get(key)
        if action == "quit" or (action == "back" and not self._controls.now.looks):
            return False
        if action is not None:
            actions[action]()
            self._redraw = True
        return True

    def _toggle_pause(self) -> None:
        self._controls.change(paused=not self._controls.now.paused)

    def _skip(self, by_s: float) -> None:
        self._controls.skip(by_s)
        self._tell(f"{by_s:+.0f} s", 1.0)

    def _toggle_loop(self) -> None:
        loop = not self._controls.now.loop
        self._controls.change(loop=loop)
        self._tell("loop" if loop else "no loop", 1.5)

    def _toggle_mirror(self) -> None:
        mirror = not self._controls.now.mirror
        self._controls.change(mirror=mirror)
        self._tell("cameras as a mirror" if mirror else "no mirror", 1.5)

    def _toggle_narrow(self) -> None:
        wide = self._narrow.model_copy(update={"classes": (), "folders": (), "since": ""})
        if self._narrow == wide:
            self._tell("search.classes, search.folders or search.since narrow the search", 2.5)
            return
        search = wide if self._controls.now.search == self._narrow else self._narrow
        self._controls.change(search=search)
        told = [*search.classes, *search.folders, search.since and f"since {search.since}"]
        self._tell(", ".join(filter(None, told)) or "neighbours of all kinds", 2.5)

    def _tell(self, message: str, for_s: float) -> None:
        self._message, self._message_until_s = message, time.monotonic() + for_s

    def _toggle_help(self) -> None:
        self._show_help = not self._show_help

    def _next_text(self) -> None:
        text = self._controls.now.show.text
        self._change_show(text=_TEXTS[(_TEXTS.index(text) + 1) % len(_TEXTS)])

    def _toggle_figures(self) -> None:
        text = self._controls.now.show.text
        self._change_show(text="names" if text == "all" else "all")

    def _toggle_sliders(self) -> None:
        self._show_sliders = not self._show_sliders
        self._tell_sliders()

    def _tell_sliders(self) -> None:
        """Tell the controls how many sliders are shown, so that notes make room for them."""
        self._controls.change(sliders=len(self._sliders) if self._show_sliders else 0)

    def _save(self) -> None:
        if self._picture is None:
            return
        name = time.strftime("rtsearch-%Y%m%d-%H%M%S.png")
        done = cv2.imwrite(str(self._save_to / name), self._picture)
        self._tell(f"saved {name}" if done else f"could not save {name} in {self._save_to}", 2.5)
        _log.info("%s", self._message)

    def _paint(self) -> None:
        assert self._picture is not None
        if self._is_dark:
            if self._redraw:
                cv2.imshow(self._title, np.zeros_like(self._picture))
            self._redraw = False
            return
        now = self._controls.now
        over = self._show_sliders or self._show_help or self._message or now.paused or now.sets_up
        canvas = canvas_of(now.show)
        # Copied only if needed: it has 25 MB on a large screen.
        picture = self._picture.copy() if over else self._picture
        if self._show_sliders:
            self._draw_sliders(picture, canvas)
        if self._show_help:
            _draw_help(picture, canvas)
        where = "" if self._pts_s is None else f"    {self._pts_s:.2f} s"
        state = SET_UP_HINT if now.sets_up else f"paused{where}" if now.paused else ""
        if banner := self._message or state:
            _draw_banner(self._beside_panel(picture), banner, canvas)
        cv2.imshow(self._title, picture)
        self._redraw = False

    def _draw_sliders(self, picture: U8Array, canvas: Canvas) -> None:
        now = self._controls.now
        values = [float(getattr(getattr(now, s.section), s.key)) for s in self._sliders]
        draw_sliders(picture, self._panel_xy(), values, canvas.scale, canvas.font, self._sliders)

    def _panel_xy(self) -> tuple[int, int]:
        show, sliders = self._controls.now.show, len(self._sliders)
        return panel_xy(show.window_wh, self._controls.sources, self._scale, sliders)

    def _beside_panel(self, picture: U8Array) -> U8Array:
        """Return the part of the picture beside the panel of sliders, for a banner at the lower edge."""
        x, y = self._panel_xy()
        low = self._show_sliders and y > picture.shape[0] // 2
        return picture[:, :x] if low and x > picture.shape[1] // 2 else picture

    @property
    def _scale(self) -> float:
        """Scale of controls and messages, which grow with the picture."""
        return canvas_of(self._controls.now.show).scale

    def _on_mouse(self, event: int, x: int, y: int, flags: int, _data: object) -> None:
        if not self._controls.now.show.keys or event == cv2.EVENT_LBUTTONUP:
            self._held = None
            return
        starts = event == cv2.EVENT_LBUTTONDOWN
        if starts and not self._on_panel((x, y)):
            (self._controls.corner if self._controls.now.sets_up else self._controls.click)((x, y))
            return
        drags = (
            event == cv2.EVENT_MOUSEMOVE and bool(flags & cv2.EVENT_FLAG_LBUTTON) and self._held is not None
        )
        if starts or drags:
            self._drag((x, y), None if starts else self._held)

    def _on_panel(self, xy: tuple[int, int]) -> bool:
        """Tell whether a place of the picture lies on the sliders."""
        return self._show_sliders and panel_holds(self._panel_xy(), xy, self._scale, len(self._sliders))

    def _drag(self, xy: tuple[int, int], held: int | None) -> None:
        """Set the value of the slider that is held, or that is at a place of the picture."""
        hit = value_at(self._panel_xy(), xy, held, self._scale, self._sliders)
        if hit is None:
            return
        self._held, value = hit
        slider = self._sliders[self._held]
        section = getattr(self._controls.now, slider.section)
        kind = type(getattr(section, slider.key))
        self._controls.change(**{slider.section: section.model_copy(update={slider.key: kind(value)})})
        self._redraw = True


def _has_crops(scene: Scene) -> bool:
    return all(crop is not None for crops in scene.thumbs for crop in crops)


def _draw_help(picture: U8Array, canvas: Canvas) -> None:
    """Draw the help in the middle, reduced to the size of the picture."""
    margin = canvas.px(16)
    line_px = min(canvas.px(28), (picture.shape[0] - 2 * margin - 2) // len(HELP))  # within the picture
    size = min(canvas.px(17), round(0.7 * line_px)) + 1
    columns = [picture.shape[1], 0]
    while size > 1 and sum(columns) + 4 * margin > picture.shape[1]:
        size -= 1
        columns = [
            max(text_wh(text, size, canvas.font)[0] for text in texts) for texts in zip(*HELP, strict=True)
        ]
    width, height = sum(columns) + 4 * margin, line_px * len(HELP) + 2 * margin
    x, y = (picture.shape[1] - width) // 2, (picture.shape[0] - height) // 2
    theme.shade_panel(picture[y : y + height, x : x + width], 1)
    for i, (keys, does) in enumerate(HELP):
        top = y + margin + i * line_px + (line_px - text_wh(keys, size, canvas.font)[1]) // 2
        draw_text(picture, keys, (x + margin, top), size, theme.ACCENT, canvas.font)
        draw_text(picture, does, (x + columns[0] + 3 * margin, top), size, theme.TEXT, canvas.font)


def _draw_banner(picture: U8Array, text: str, canvas: Canvas) -> None:
    """Draw a text at the lower edge, smaller or shortened where it does not fit."""
    margin, size = canvas.px(8), canvas.px(20)
    most = picture.shape[1] - 6 * margin
    while size > canvas.px(_LEAST_TEXT_PX) and text_wh(text, size, canvas.font)[0] > most:
        size -= 1
    text = fit_text(text, size, most, canvas.font)
    width, height = text_wh(text, size, canvas.font)
    x, y = (picture.shape[1] - width) // 2, picture.shape[0] - height - canvas.px(34)
    left, right = max(0, x - 3 * margin), x + width + 3 * margin
    theme.shade_panel(picture[y - margin : y + height + margin, left:right], 1)
    draw_text(picture, text, (x, y), size, theme.TEXT, canvas.font)
