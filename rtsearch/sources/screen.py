"""The screen, or a region of it, as a source; needs the extra ``screen`` (mss)."""

from __future__ import annotations

import contextlib
import threading
import time

import numpy as np

from rtsearch._util.wording import one_line
from rtsearch.errors import MissingDependencyError, SourceError
from rtsearch.sources.base import Source
from rtsearch.types import Frame

__all__ = ["Screen", "parse_region"]

_FPS = 30.0


def parse_region(text: str) -> tuple[int, int, int, int] | None:
    """``x,y,w,h`` in px as numbers; None for "".

    Raises:
        SourceError: anything else.
    """
    if not text:
        return None
    try:
        x, y, width, height = (int(part) for part in text.split(","))
    except ValueError:
        raise SourceError(f"screen:{text}: expected screen:x,y,w,h in pixels") from None
    if width < 1 or height < 1:
        raise SourceError(f"screen:{text}: width and height must be at least 1 pixel")
    return x, y, width, height


def _broken(error: Exception) -> str:
    reason = one_line(error) or type(error).__name__
    return (
        f"mss, which the source 'screen' needs, does not load ({reason}): pip install --force-reinstall mss"
    )


class Screen(Source):
    """Pictures of the screen, at most 30 per second, taken when asked for.

    Args:
        region: x, y, width, height in px; None for the first monitor.

    Raises:
        MissingDependencyError: mss is not installed.
        SourceError: there is no display, or it cannot be read.
    """

    live = True

    def __init__(self, region: tuple[int, int, int, int] | None = None) -> None:
        try:
            import mss
            from mss.exception import ScreenShotError
        except ModuleNotFoundError as error:
            if error.name != "mss":
                raise MissingDependencyError(_broken(error)) from None
            raise MissingDependencyError(
                "the source 'screen' needs mss: pip install 'rtsearch[screen]'"
            ) from None
        except Exception as error:  # a damaged package fails in its own way
            raise MissingDependencyError(_broken(error)) from None
        self._failure = ScreenShotError
        self._next_id = 0
        self._due_s = time.monotonic()
        self._closed = threading.Event()
        self._lock = threading.Lock()
        try:
            self._mss = mss.MSS()
        except ScreenShotError as error:
            raise SourceError(f"the screen cannot be read: {_first_line(error)}") from None
        try:
            self._area = self._mss.monitors[1] if region is None else _inside(region, self._mss.monitors[0])
            first = self._mss.grab(self._area)
        except (ScreenShotError, SourceError) as error:
            self._mss.close()
            raise SourceError(f"the screen cannot be read: {_first_line(error)}") from None
        super().__init__("screen", fps=_FPS, wh=(first.width, first.height))

    def __next__(self) -> Frame:
        self._closed.wait(max(0.0, self._due_s - time.monotonic()))
        with self._lock:
            if self._closed.is_set():
                raise StopIteration
            try:
                shot = self._mss.grab(self._area)
            except AssertionError:  # in mss, where no reply of the X server comes
                raise SourceError("the screen cannot be read any more: its display has gone") from None
            except self._failure as error:
                raise SourceError(f"the screen cannot be read any more: {_first_line(error)}") from None
            now_s = time.monotonic()
            self._due_s = max(self._due_s + 1 / _FPS, now_s)
            bgra = np.frombuffer(shot.raw, np.uint8).reshape(shot.height, shot.width, 4)
            frame = Frame(self._next_id, now_s, None, np.ascontiguousarray(bgra[:, :, :3]))
            self._next_id += 1
            return frame

    def close(self) -> None:
        """Give the display connection back."""
        with self._lock:
            if self._closed.is_set():
                return  # mss frees the connection to a display that has gone once more otherwise
            self._closed.set()
            with contextlib.suppress(self._failure, AssertionError):
                self._mss.close()


def _inside(region: tuple[int, int, int, int], whole: dict[str, int]) -> dict[str, int]:
    x, y, width, height = region
    left, top = x - whole["left"], y - whole["top"]
    if left < 0 or top < 0 or left + width > whole["width"] or top + height > whole["height"]:
        size = f"{whole['left']},{whole['top']},{whole['width']},{whole['height']}"
        raise SourceError(f"region {x},{y},{width},{height} is not inside of {size}")
    return {"left": x, "top": y, "width": width, "height": height}


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
