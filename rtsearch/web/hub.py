"""Hand the newest scene of each source to all viewers, each at the rate that it can take.

    main thread: show -> newest scene per source ─┬─> encoder thread: JSON, a JPEG per size that is looked at
    phones: put ──────────────────────────────────┘     -> event loop -> newest message per source and viewer

Nobody is waited for: a scene that nobody has fetched is replaced by the next one.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rtsearch._util.metrics import Meter
from rtsearch.live import SourceReport
from rtsearch.live.view import View
from rtsearch.recording import Times
from rtsearch.types import Scene
from rtsearch.web.viewer import Viewer
from rtsearch.web.wire import MOST_WIDTH, frame_jpeg, message, scene_line

__all__ = ["SceneHub", "Shown"]

_log = logging.getLogger(__name__)

_LOOK_S = 0.1  # how often changed settings are looked for
_MOST_SIZES = 4  # of JPEGs of one frame
_LEAST_WIDTH = 160
_JOIN_S = 2.0


@dataclass(frozen=True, slots=True)
class Shown:
    """Newest scene of a source.

    Attributes:
        scene: what is shown.
        t_s: time of its frame, as in records, s.
    """

    scene: Scene
    t_s: float


class SceneHub:
    """Scenes on their way to viewers; safe to use from several threads.

    Args:
        names: the network's class names.
        state: gives what viewers show beside the scenes, as JSON values; it is sent when it changes.
        quality: of the JPEGs, 1 to 100.
    """

    def __init__(self, names: Sequence[str], state: Callable[[], dict[str, Any]], quality: int) -> None:
        self.meter = Meter()
        self._names = names
        self._state = state
        self._quality = quality
        self._changed = threading.Condition()
        self._newest: dict[int, Shown] = {}
        self._fresh: set[int] = set()
        self._times: dict[int, Times] = {}
        self._views: Sequence[View] = ()
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._viewers: set[Viewer] = set()
        self._widths: tuple[int, ...] = ()  # of the JPEGs that viewers get, the largest first
        self._told = ""
        self._thread = threading.Thread(target=self._work, name="web", daemon=True)
        self._thread.start()

    # The side of the live loop ----------------------------------------------------------------------------

    def begin(self, views: Sequence[View], meter: Meter) -> None:
        """Take over the sources of a run; see ``live.sinks.SceneSink``."""
        self._views, self.meter = views, meter

    def show(self, place: int, scene: Scene) -> None:
        """Replace the newest scene of a source."""
        with self._changed:
            t_s = self._times.setdefault(place, Times()).of(scene.frame)
            self._newest[place] = Shown(scene, t_s)
            self._fresh.add(place)
            self._changed.notify()

    def leave(self, place: int) -> None:
        """Forget a source that has gone."""
        with self._changed:
            for of_place in (self._newest, self._times):
                of_place.pop(place, None)
            self._fresh.discard(place)
            self._changed.notify()

    # The side of the server -------------------------------------------------------------------------------

    @property
    def views(self) -> Sequence[View]:
        """Sources of the run; none of a library alone."""
        return self._views

    @property
    def viewers(self) -> int:
        """Number of clients that look."""
        return len(self._viewers)

    def newest(self) -> dict[int, Shown]:
        """Return the newest scene of each source, by its place."""
        with self._changed:
            return dict(self._newest)

    def reports(self) -> list[SourceReport]:
        """Return the figures of each source."""
        return [view.report() for view in self._views]

    def join(self, viewer: Viewer) -> None:
        """Add a viewer, which gets the newest scenes at once; called in the event loop."""
        self._loop = asyncio.get_running_loop()
        self._viewers.add(viewer)
        self._measure()
        viewer.tell(json.dumps(self._state()))
        with self._changed:
            self._fresh |= set(self._newest)
            self._changed.notify()

    def part(self, viewer: Viewer) -> None:
        """Remove a viewer; called in the event loop."""
        self._viewers.discard(viewer)
        self._measure()

    def resize(self, viewer: Viewer, width: int) -> None:
        """Take the width that a viewer shows frames at, px; called in the event loop."""
        viewer.width = min(MOST_WIDTH, max(_LEAST_WIDTH, width))
        self._measure()

    def _measure(self) -> None:
        """Choose the widths of JPEGs: those that are looked at, the largest where they are many."""
        self._widths = tuple(sorted({each.width for each in self._viewers}, reverse=True)[:_MOST_SIZES])

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(_JOIN_S)

    def _work(self) -> None:
        sent: tuple[int, ...] = ()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or bool(self._fresh and self._viewers), _LOOK_S)
                if self._closed:
                    return
                fresh, self._fresh = self._fresh, set()
                widths = self._widths
                if not set(widths) <= set(sent):  # a picture that stands still is sharp at its new size
                    fresh = set(self._newest)
                sent = widths
                scenes = {place: self._newest[place] for place in fresh if place in self._newest}
            if not widths:
                continue
            try:
                self._tell_state()
                for place, shown in scenes.items():
                    self._send(place, shown, widths)
            except Exception:
                _log.warning("a scene could not be sent to viewers", exc_info=True)

    def _tell_state(self) -> None:
        state = json.dumps(self._state())
        if state != self._told:
            self._told = state

            def tell() -> None:
                for viewer in self._viewers:
                    viewer.tell(state)

            self._call(tell)

    def _send(self, place: int, shown: Shown, widths: tuple[int, ...]) -> None:
        """Hand a scene to all viewers, its frame in each of some widths, the largest first."""
        with self.meter.stage("web"):
            line, bgr = scene_line(shown.scene, self._names, shown.t_s), shown.scene.frame.bgr
            useful = [width for width in widths if width < bgr.shape[1]]
            sizes = ([bgr.shape[1]] if len(useful) < len(widths) else []) + useful
            made = {
                width: message(place, shown.scene, line, frame_jpeg(bgr, self._quality, width))
                for width in sizes
            }

        def offer() -> None:
            for viewer in self._viewers:
                fitting = min((width for width in made if width >= viewer.width), default=max(made))
                viewer.offer(place, made[fitting])

        self._call(offer)

    def _call(self, work: Callable[[], object]) -> None:
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(work)
