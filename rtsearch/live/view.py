"""The main thread's part of a source: which of its frames are shown, and the picture of each.

results -> wants? -> take -> scene -> draw
newest frame, last objects -> guess    while detection is behind
crops that have come       -> better
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace

from rtsearch.library.index import SearchIndex
from rtsearch.library.thumbnails import ThumbCache
from rtsearch.live.capture_side import GoTo, NextAfter, Orders
from rtsearch.live.compositor import Appearance, Compositor, moved
from rtsearch.live.live_frame import Latest, LiveFrame
from rtsearch.live.load_steps import lightened
from rtsearch.live.mosaic import cell_settings
from rtsearch.live.notes import NoteTimer, run_lines, source_lines
from rtsearch.live.report import SourceReport, Tally
from rtsearch.live.shared import Shared
from rtsearch.live.stabilizer import Steadied
from rtsearch.render.boxes import LOST_S, share_of
from rtsearch.render.layout import canvas_of
from rtsearch.render.plan import Item, Plan
from rtsearch.render.sliders import panel_room
from rtsearch.sources import Source
from rtsearch.types import Frame, Scene, U8Array

__all__ = ["View"]

_log = logging.getLogger(__name__)

_DEFAULT_FPS = 25.0
_SETTLES_S = 1.0  # time after which all transitions of a picture are over


class View:
    """One source on the screen; belongs to the main thread.

    Args:
        place: number of the source, and of its cell.
        source: opened.
        shared: with the other sources.
        orders: to the capture thread.
        newest: the frame that was read last.
        tally: of the frames that came.

    Attributes:
        place, source: as given.
        position_s: time of the picture shown last, or gone to, from the beginning of the source.
        steps: pictures that the user has asked for in a pause and that were not shown yet.
        last: the result taken last, or None.
        shown: results taken so far.
        neighbours: of the objects in these.
        items: crops and labels of the picture drawn last.
        index: whose objects that shows.
        last_first: highest strip that may stand on top of the picture drawn last.
    """

    def __init__(
        self,
        place: int,
        source: Source,
        shared: Shared,
        orders: Orders,
        newest: Latest[LiveFrame],
        tally: Tally,
    ) -> None:
        self.place = place
        self.source = source
        self.position_s = 0.0
        self.steps = 0
        self.last: LiveFrame | None = None
        self.shown = self.neighbours = self.last_first = 0
        self.items: tuple[Item, ...] = ()
        self._plan: Plan | None = None
        self._shared = shared
        self._orders = orders
        self._newest = newest
        self._tally = tally
        self._epoch = 0
        self._on_screen: LiveFrame | None = None  # its frame is drawn, with its objects or with guessed ones
        self.index = shared.index
        self._compositor = Compositor(shared.class_names, *self._shown_of(self.index))
        self._timer = NoteTimer()
        self._notes: tuple[str, ...] = ()
        self._lost_s: float | None = None  # since when the source has given no pictures
        self._objects = self._moved = 0
        self._frame_s = 1 / (source.fps or _DEFAULT_FPS)
        self._length_s = (
            None if source.slides or not (source.frames and source.fps) else source.frames / source.fps
        )

    # What the user asks for -------------------------------------------------------------------------------

    def step(self) -> None:
        """Show the next picture."""
        self.steps += 1
        self._ask()

    def step_back(self) -> None:
        """Show the picture before."""
        before_s = self.position_s - self._frame_s
        self.go_to(before_s - self._frame_s / 2)  # the first picture at or after that
        self.position_s = max(0.0, before_s)

    def go_to(self, seconds: float) -> None:
        """Go on at a presentation time; in a pause, show the picture there, or else the next one."""
        self.steps = int(self._paused)
        if self.source.seekable:
            self._seek(seconds)
        else:
            self._ask()

    def _seek(self, seconds: float) -> None:
        if self._length_s is not None:
            seconds = min(seconds, self._length_s - 1.5 * self._frame_s)  # the last picture comes after
        self.position_s = max(0.0, seconds)
        self._epoch += 1
        self._orders.put(GoTo(self._epoch, self.position_s))

    def _ask(self) -> None:
        """Order one more frame in a pause if steps wait for it."""
        if self._paused and self.steps > 0:
            self._orders.put(NextAfter(self._screen_id))

    # What the stages found --------------------------------------------------------------------------------

    @property
    def behind(self) -> bool:
        """Frames are shown without detection: it lags, or they are torn."""
        newest = self._newest.peek()
        return self.last is not None and (self.last.behind or (newest is not None and newest.frame.torn))

    def wants(self, result: LiveFrame) -> bool:
        """Return True if a result is to be taken: it is of the place that was gone to, and leaves none out.

        Pictures are left out for coming late; a user who wants one after the other is taken back to the first
        of them.
        """
        if result.epoch != self._epoch:
            return False
        if self._paused and self.source.paced and self.source.seekable and self._leaves_out(result):
            self._seek(self.position_s + self._frame_s / 2)
            return False
        return True

    def take(self, result: LiveFrame) -> bool:
        """Count a result; return True if it is to be drawn: no later frame is on the screen.

        A frame that was drawn with guessed objects gets its own; in a pause that is no step.
        """
        self.last = result
        own = result.detections
        self._objects += len(own)
        near = result.objects.neighbours.row[: len(own), : self._shared.controls.now.show.results]
        self.neighbours += int((near >= 0).sum())
        self.shown += 1
        is_new, draws = result.frame.id > self._screen_id, result.frame.id >= self._screen_id
        self.steps = max(0, self.steps - is_new) if self._paused else 0
        if draws:
            self._stand_at(result)
        self._ask()
        return draws

    def take_again(self, result: LiveFrame) -> None:
        """Take what was found anew in the frame that is shown; it is not counted once more."""
        self.last = result
        self._stand_at(result)

    def scene(self, result: LiveFrame) -> Scene:
        """Return what is to be drawn of a result."""
        return self._scene_of(result, result.frame, result.objects)

    def guess(self) -> tuple[Scene, str] | None:
        """Return the newest frame, not detected, with the last objects moved along, and a warning.

        None unless detection is behind or the frame is torn.

        Not in a pause, where each picture is looked at and waits for its own objects, nor across a jump.
        """
        last, newest = self.last, self._newest.peek()
        if last is None or newest is None or not self.behind or self._paused:
            return None
        if self._shared.controls.now.show.privacy != "none":
            return None  # nobody has been looked for in it
        kin = newest.epoch == last.epoch == self._epoch and newest.mirrored == last.mirrored
        if not kin or newest.frame.id <= self._screen_id:
            return None
        self._stand_at(newest)
        self._moved += 1
        updates = (newest.frame.id - last.frame.id) / max(1, last.every)
        late_ms = (newest.frame.captured_s - last.frame.captured_s) * 1e3
        objects = moved(last.objects, updates, newest.frame)
        scene = self._scene_of(last, newest.frame, objects)
        why = "the stream is damaged" if newest.frame.torn else f"detection is {late_ms:.0f} ms behind"
        return scene, f"{why}: boxes moved along"

    def better(self) -> Scene | None:
        """Return what is drawn already, if it can be drawn better now."""
        on_screen = self._on_screen
        clockless = on_screen is not None and on_screen.frame.pts_s is None
        now_s = time.monotonic() if clockless else None  # times of such frames are of this clock
        if self._paused and on_screen is not None:  # what is looked at is not half there
            now_s = on_screen.frame.at_s + _SETTLES_S
        return self._compositor.better(self._look(), now_s)

    def watch(self) -> None:
        """Tell when the source is lost and when it is back: in the log, in the notes and in the picture."""
        lost = self.source.status != "ok" and not self.source.slides
        if lost == (self._lost_s is not None):
            return
        now_s, clock = time.monotonic(), time.strftime("%H:%M:%S")
        if self._lost_s is None:
            _log.warning("%s %s: connection lost, trying again", clock, self.source.name)
        else:
            _log.warning("%s %s: back after %.0f s", clock, self.source.name, now_s - self._lost_s)
        self._lost_s = now_s if lost else None
        self._timer = NoteTimer()

    @property
    def lost(self) -> bool:
        """Tell whether the source gives no pictures at the moment."""
        return self._lost_s is not None

    @property
    def drawn(self) -> int:
        """Number of frames that were drawn so far, with objects of their own or with guessed ones."""
        return self.shown + self._moved

    def draw(self, scene: Scene, warning: str = "") -> tuple[Scene, U8Array]:
        """Return the scene with its notes, and its picture, which stays as it is while it is referred to."""
        if self._timer.is_due(scene.frame.at_s, at_once=self._paused):
            self._notes = self._lines(scene.frame)
        look = self._look()
        drawn = self._compositor.draw(scene, replace(look, notes=(*self._notes, *filter(None, [warning]))))
        self.last_first, self.items, self._plan = drawn.last_first, drawn.plan.items, drawn.plan
        return drawn.scene, drawn.picture

    def share_of(self, xy: tuple[int, int]) -> tuple[float, float] | None:
        """Return a place of its picture, px, in shares of its frame as the camera sees it; None beside it."""
        if self._plan is None or self._on_screen is None:
            return None
        height, width = self._on_screen.frame.bgr.shape[:2]
        share = share_of(xy, self._plan, (width, height))
        return (1 - share[0], share[1]) if share is not None and self._mirrored else share

    def report(self) -> SourceReport:
        """Return its figures."""
        frames_in, dropped = self._tally.counts()
        return SourceReport(self.source.name, frames_in, self.shown, self._moved, dropped, self._objects)

    def _scene_of(self, result: LiveFrame, frame: Frame, objects: Steadied) -> Scene:
        """Return the scene of objects in a frame, with crops of the library that the result was found in."""
        index = result.index or self._shared.index
        if index.library is not self.index.library:
            self.index = index
            self._compositor.turn_to(*self._shown_of(index))
        scene = self._compositor.scene(frame, objects, result.crops, self._look().show, result.walk)
        memory = self._shared.memory
        remembers = memory is not None and memory.remembers
        dims = self._shared.controls.now.chooser is not None
        return replace(scene, library=index.library.state, remembers=remembers, dims=dims)

    def _shown_of(self, index: SearchIndex) -> tuple[ThumbCache, SearchIndex, tuple[int, ...], int]:
        crops = self._shared.crops
        return crops.of(index), index, crops.drifting(index), index.library.photo_count

    def _leaves_out(self, result: LiveFrame) -> bool:
        """Return True if there are frames between that on the screen and a result."""
        on_screen = self._on_screen
        if on_screen is None or on_screen.epoch != result.epoch:
            return False
        return on_screen.frame.id < result.frame.id - 1

    def _stand_at(self, shown: LiveFrame) -> None:
        self._on_screen = shown
        if shown.frame.pts_s is not None:
            self.position_s = shown.frame.pts_s - self.source.begins_s

    @property
    def _screen_id(self) -> int:
        return -1 if self._on_screen is None else self._on_screen.frame.id

    @property
    def _mirrored(self) -> bool:
        return self._shared.controls.now.mirror and self.source.camera

    @property
    def _paused(self) -> bool:
        return self._shared.controls.now.paused

    def _look(self) -> Appearance:
        now = self._shared.controls.now
        show = lightened(cell_settings(now.show, self.place, self._shared.channels), now.load)
        room = panel_room(show.window_wh, self._shared.channels, canvas_of(show).scale, now.sliders)
        lost_s = 0.0 if self._lost_s is None else min(LOST_S, time.monotonic() - self._lost_s)
        # On a wall they are seen only while they are set.
        drawn = now.sets_up or canvas_of(show).composition != "wall"
        outlines = now.areas.outlines(self.place, mirrored=self._mirrored) if drawn else ()
        return Appearance(show, now.first_strip, lost_s=lost_s, controls_wh=room, outlines=outlines)

    def _lines(self, frame: Frame) -> tuple[str, ...]:
        lines = source_lines(self.source, frame, self._length_s)
        if self.place == 0:
            index = self.last.index if self.last is not None else None
            searched = self._shared.index if index is None else index
            lines += run_lines(searched, self._shared.meter, self._shared.memory)
        _, dropped = self._tally.counts()
        return (*lines, *([f"frames dropped: {dropped:,}"] if dropped else []))
