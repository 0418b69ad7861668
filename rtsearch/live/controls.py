"""The user's side of a run: settings in force as one value, and commands in a queue.

window -> Controls.change(...)        -> ControlState, read by every stage once per frame
window -> Controls.step(), seek() ... -> commands -> the session, which passes them on to each source
"""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rtsearch.config import DetectSettings, SearchSettings, ShowSettings
from rtsearch.library.index import SearchIndex
from rtsearch.live.areas import Areas
from rtsearch.types import Detections, U8Array

__all__ = [
    "Back",
    "Chooser",
    "Click",
    "Command",
    "ControlState",
    "Controls",
    "Corner",
    "Inspection",
    "More",
    "Scroll",
    "Seek",
    "Skip",
    "Step",
    "StepBack",
    "Transport",
]


_ALL = SearchSettings()
_EVERYWHERE = Areas()


class Chooser(Protocol):
    """Chooses objects of frames; safe to use from several threads.

    Attributes:
        follows: it knows objects by the numbers of their tracks.
    """

    @property
    def follows(self) -> bool: ...

    def matching(self, bgr: U8Array, found: Detections) -> NDArray[np.bool_]:
        """Return (n,) bool: which of the n objects of a frame are shown and recorded."""
        ...


@dataclass(frozen=True, slots=True)
class Step:
    """Show the next picture."""


@dataclass(frozen=True, slots=True)
class StepBack:
    """Show the picture before."""


@dataclass(frozen=True, slots=True)
class Seek:
    """Go on at a presentation time, s; several sources each go as far as the first one does."""

    to_s: float


@dataclass(frozen=True, slots=True)
class Skip:
    """Go on so many seconds further, each source from its own place."""

    by_s: float


@dataclass(frozen=True, slots=True)
class Scroll:
    """Show strips further down, or further up where it is negative."""

    strips: int


@dataclass(frozen=True, slots=True)
class Click:
    """Look more closely at what is at a place of the picture, px, or go back from there."""

    xy: tuple[int, int]


@dataclass(frozen=True, slots=True)
class More:
    """Show objects that are like the one that is looked at."""


@dataclass(frozen=True, slots=True)
class Back:
    """Go back from what is looked at."""


@dataclass(frozen=True, slots=True)
class Corner:
    """Set a corner of a part of the frame at a place of the picture, px."""

    xy: tuple[int, int]


Transport: TypeAlias = Step | StepBack | Seek | Skip | Scroll
Inspection: TypeAlias = Click | More | Back
Command: TypeAlias = Transport | Inspection | Corner


@dataclass(frozen=True, slots=True)
class ControlState:
    """Settings in force at one moment.

    Attributes:
        detect: thresholds.
        show: layout and number of results.
        paused: nothing new is shown but what is asked for.
        loop: files and folders begin again at their end.
        mirror: cameras and streams are shown, searched and recorded with left and right changed.
        first_strip: strip on top, where there are more than fit.
        sliders: that stand on the picture.
        load: step at which the picture is made cheaper, see ``load_steps``.
        looks: something is looked at more closely, in place of the live picture.
        search: what is found: its ``classes``, ``folders`` and ``since``.
        index: searched in place of the run's: in another projection, or of a newer state of the library.
        areas: parts of the pictures in which objects count, or do not.
        sets_up: corners of such parts are being set, in place of looking at crops.
        chooser: chooses the objects that are lit in the picture, shown and recorded; None takes all.
    """

    detect: DetectSettings
    show: ShowSettings
    paused: bool = False
    loop: bool = False
    mirror: bool = False
    first_strip: int = 0
    sliders: int = 0
    load: int = 0
    looks: bool = False
    search: SearchSettings = _ALL
    index: SearchIndex | None = None
    areas: Areas = _EVERYWHERE
    sets_up: bool = False
    chooser: Chooser | None = None


class Controls:
    """Settings and commands of a run; safe to use from several threads.

    Args:
        detect, show, search: settings at the beginning.
        paused, loop, mirror, areas, chooser: see ControlState.
        sources: in the picture, each in a cell of its own.
        detects: False where objects are known already, so that thresholds do nothing.

    Attributes:
        sources, detects: as given.
    """

    def __init__(
        self,
        detect: DetectSettings,
        show: ShowSettings,
        *,
        sources: int = 1,
        detects: bool = True,
        search: SearchSettings = _ALL,
        **state: Any,
    ) -> None:
        self.sources = sources
        self.detects = detects
        self._lock = threading.Lock()
        self._state = replace(ControlState(detect, show, search=search), **state)
        self._commands: queue.SimpleQueue[Command] = queue.SimpleQueue()

    @property
    def now(self) -> ControlState:
        """Settings in force."""
        with self._lock:
            return self._state

    def change(self, **changes: Any) -> None:
        """Put other values in force, all at once; see ControlState for their names."""
        with self._lock:
            self._state = replace(self._state, **changes)

    def commands(self) -> list[Command]:
        """Take out what the user has asked for since the last call, in order."""
        taken = []
        while not self._commands.empty():  # one thread takes, so what is there stays there
            taken.append(self._commands.get())
        return taken

    def step(self) -> None:
        """Pause, and show the next picture."""
        self.change(paused=True)
        self._commands.put(Step())

    def step_back(self) -> None:
        """Pause, and show the picture before."""
        self.change(paused=True)
        self._commands.put(StepBack())

    def seek(self, to_s: float) -> None:
        """Go on at a presentation time, s; in a pause, show the picture there."""
        self._commands.put(Seek(to_s))

    def skip(self, by_s: float) -> None:
        """Go on so many seconds further; in a pause, show the picture there."""
        self._commands.put(Skip(by_s))

    def click(self, xy: tuple[int, int]) -> None:
        """Look more closely at what is at a place of the picture, px, or go back from there."""
        self._commands.put(Click(xy))

    def corner(self, xy: tuple[int, int]) -> None:
        """Set a corner of a part of the frame at a place of the picture, px."""
        self._commands.put(Corner(xy))

    def more(self) -> None:
        """Show objects that are like the one that is looked at."""
        self._commands.put(More())

    def back(self) -> None:
        """Go back from what is looked at."""
        self._commands.put(Back())

    def scroll(self, strips: int) -> None:
        """Show strips further down, or further up."""
        self._commands.put(Scroll(strips))
