"""One source on its way through the loop: what is captured, what is found, what is drawn of it.

    captured (capture thread) -> searched (search thread) -> scene, moved on, better (main thread)

A single source fills the picture; several have a cell each, with strips of their own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias, cast

import cv2

from rtsearch._util.metrics import Meter
from rtsearch._util.wording import counted
from rtsearch.config import SearchSettings, ShowSettings
from rtsearch.library.index import SearchIndex
from rtsearch.library.thumbnails import ThumbCache
from rtsearch.live.compositor import Crops, Easel, crop_height, moved
from rtsearch.live.contract import Controls, SourceReport
from rtsearch.live.mosaic import cells, header_of
from rtsearch.live.stabilizer import Steadied, Steady
from rtsearch.render.layout import canvas_of
from rtsearch.sources import Source, Status
from rtsearch.types import Detections, Frame, Neighbours, Scene, U8Array

__all__ = ["Channel", "Recall", "Result", "Shared"]

_DEFAULT_FPS = 25.0
_POLL_S = 0.02  # how often a source that stands still looks whether it may go on
_BEHIND = (0.15, 0.35)  # share of frames without detection below which it is not behind, above which it is
_MEMORY = 0.1  # weight of the newest frame in that share


Recall: TypeAlias = Callable[[Frame], Steadied]
"""Gives what is known of a frame already."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What the channels of a run have in common.

    Attributes:
        index: is searched.
        search: how.
        controls: changed by the user.
        cache: of crops.
        meter: gets the times of all stages.
        class_names: by label.
        channels: how many there are.
        halt: set when the run ends.
    """

    index: SearchIndex
    search: SearchSettings
    controls: Controls
    cache: ThumbCache
    meter: Meter
    class_names: tuple[str, ...]
    channels: int
    halt: threading.Event


@dataclass(frozen=True, slots=True)
class Result:
    """One frame as it leaves the stages; ``own`` are the neighbours for records, where any are kept."""

    frame: Frame
    detections: Detections
    objects: Steadied
    own: Neighbours | None
    crops: Crops | None


class Channel:
    """One source of a run.

    Args:
        place: of its cell.
        source: opened.
        shared: with the other channels.
    """

    def __init__(self, place: int, source: Source, shared: Shared) -> None:
        self.place = place
        self.source = source
        self.result: Result | None = None  # shown last
        self._shared = shared
        self._controls = shared.controls
        self._steady = Steady(shared.index, shared.search)
        self._easel = Easel(shared.class_names, shared.cache, self._view, self._describe_run, self._is_paused)
        self._cell: tuple[ShowSettings, ShowSettings] | None = None
        self._newest: Frame | None = None
        self._drawn_id = -1
        self._between = 1  # frames from one detection to the next
        self._missing = 0.0  # share of frames without detection, lately
        self._behind = False
        self._seeks = self._steps = 0  # asked for and done
        self._gone_s = self._at_s = 0.0  # asked for and done; where it is
        self._floor = 0  # frames with a lower number are from before the last seek
        self._jumped = False
        self._detected_id: int | None = None
        self._status: Status = "ok"  # of the source, as its notes told last
        self._finished_id = -1
        self._counting = threading.Lock()
        self._frames_in = self._dropped = self._objects = self._moved = 0
        self.neighbours = self.shown = 0
        self._controls.frame_s = 1 / (source.fps or _DEFAULT_FPS)
        self._length_s = (
            None if source.slides or not (source.frames and source.fps) else source.frames / source.fps
        )
        if shared.channels == 1:  # several go to the same place, and may end at different ones
            self._controls.length_s = self._length_s

    # The capture thread -----------------------------------------------------------------------------------

    def captured(self) -> Generator[Frame]:
        """The frames, in pauses only those that are asked for."""
        last: int | None = None
        while True:
            if self._stand_still() | self._seek():
                last = None  # what was left out then was not missed
            self.source.loop = self._controls.loop
            with self._shared.meter.stage("capture"):
                frame = next(self.source, None)
            if frame is None:
                return
            self._frames_in += 1
            if last is not None:
                self.drop(frame.id - last - 1)  # what a live source or the wall clock left out
            last = frame.id
            if self._controls.mirror and self.source.camera:
                frame = replace(frame, bgr=cast(U8Array, cv2.flip(frame.bgr, 1)))
            self._newest = frame
            yield frame

    def _stand_still(self) -> bool:
        """A file that is played by the wall clock stands still in a pause; a camera goes on."""
        if not (self._controls.paused and self.source.paced):
            return False
        while self._controls.paused and not self._shared.halt.wait(_POLL_S):
            settled = self._newest is None or self._finished_id >= self._newest.id
            if self.step_is_due and (settled or self._controls.seeks > self._seeks):
                break
        self.source.resume()
        return True

    def _seek(self) -> bool:
        seeks = self._controls.seeks
        if seeks == self._seeks:
            return False
        sought = self.source.seek(self.source.begins_s + self._target_s())
        if sought:
            self._floor = 0 if self._newest is None else self._newest.id + 1
            self._jumped = True
        self._steps = max(self._steps, self._controls.superseded)
        self._seeks = seeks
        return sought

    def _target_s(self) -> float:
        """Where to go; of several sources each goes on from its own place."""
        gone_s = self._controls.gone_s
        by_s, self._gone_s = gone_s - self._gone_s, gone_s
        if self._shared.channels == 1:
            return self._controls.target_s
        last_s = float("inf") if self._length_s is None else self._length_s - 1.5 / (self.source.fps or 1)
        self._at_s = max(0.0, min(self._at_s + by_s, last_s))
        return self._at_s

    def drop(self, frames: int = 1) -> None:
        """Count frames that got lost on the way, but for those that make way for another place."""
        if self._jumped:
            return
        with self._counting:
            self._dropped += frames

    # The detect and the search thread ---------------------------------------------------------------------

    def look_behind(self, frame: Frame) -> None:
        """Does detection keep up? It has this frame now."""
        frames = 1 if self._detected_id is None else frame.id - self._detected_id
        self._detected_id, self._between = frame.id, frames
        self._missing += _MEMORY * ((frames - 1) / frames - self._missing)
        self._behind = self.source.live and self._missing > _BEHIND[not self._behind]

    def search(self, frame: Frame, found: Detections, *, own: bool) -> Result:
        """Find the neighbours to be shown, and with ``own`` those of the objects as the frame shows them.

        Args:
            frame: the picture.
            found: its objects; their vectors are those that are searched.
            own: wanted for records.
        """
        shared, show = self._shared, self.show_settings()
        canvas = canvas_of(show)
        if self._jumped and frame.id >= self._floor:
            self._jumped = False
            self._steady.begin_anew()
        with shared.meter.stage("search"):
            most = self._controls.detect.max_objects
            objects = self._steady.update(frame, found, canvas.crops, canvas.most_strips, most)
            nearest = None
            if own:
                exact, recall = shared.search.exact, shared.search.recall
                nearest = shared.index.near(found.vector, show.results, exact=exact, recall=recall)
        found = replace(found, track=objects.detections.track[: len(found)])
        return Result(frame, found, objects, nearest, None)

    # The main thread --------------------------------------------------------------------------------------

    @property
    def step_is_due(self) -> bool:
        """Has the user asked for a frame that was not shown yet?"""
        return self._controls.steps > self._steps

    @property
    def behind(self) -> bool:
        """Does detection lag so far that frames are shown without?"""
        return self._behind

    def is_stale(self, result: Result) -> bool:
        """Is it from before the place that the user has gone to?"""
        sought = self.source.seekable and self._controls.seeks > self._seeks
        return sought or result.frame.id < self._floor

    def passes_over(self, result: Result) -> bool:
        """Were pictures before it left out for coming late, though the user wants one after the other?"""
        if not (self._controls.paused and self.source.paced) or self.result is None:
            return False
        return self._floor <= max(self.result.frame.id, self._drawn_id) < result.frame.id - 1

    def forget(self, result: Result) -> None:
        """Leave out a result that is stale."""
        self._finished_id = result.frame.id

    def take(self, result: Result) -> None:
        """Count a result; in a pause, a picture that is on the screen already is no step."""
        self.result = result
        is_step = result.frame.id > self._drawn_id
        self._finished_id = result.frame.id
        self._objects += len(result.detections)
        near = result.objects.neighbours.row[: len(result.detections), : self._controls.show.results]
        self.neighbours += int((near >= 0).sum())
        self.shown += 1
        self._steps = self._controls.steps if not self._controls.paused else self._steps + is_step
        if is_step:
            self._stand_at(result.frame)

    def _stand_at(self, frame: Frame) -> None:
        if frame.pts_s is not None:
            self._controls.position_s = self._at_s = frame.pts_s - self.source.begins_s

    def is_newest(self, frame: Frame) -> bool:
        """Return True unless a later frame is drawn; one that was drawn with guessed boxes gets its own."""
        return frame.id >= self._drawn_id

    def scene(self, result: Result) -> Scene:
        """What is to be drawn of a result."""
        self._drawn_id = result.frame.id
        return self._easel.scene(result.frame, result.objects, result.crops)

    def between(self) -> tuple[Scene, str] | None:
        """While detection is behind: the newest frame with the last objects moved along, and a warning.

        Not in a pause: there each picture is looked at, and waits for its own objects.
        """
        frame, last = self._newest, self.result
        if (
            self._controls.paused
            or last is None
            or frame is None
            or not self._behind
            or frame.id <= self._drawn_id
        ):
            return None
        self._drawn_id = frame.id
        self._stand_at(frame)
        self._moved += 1
        updates = (frame.id - last.frame.id) / max(1, self._between)
        late_ms = (frame.captured_s - last.frame.captured_s) * 1e3
        scene = self._easel.scene(frame, moved(last.objects, updates, frame), last.crops)
        return scene, f"detection is {late_ms:.0f} ms behind: boxes moved along"

    def better(self) -> Scene | None:
        """What is drawn already, if it can be drawn better now."""
        if self.result is None:
            return None
        before, self._status = self._status, self.source.status
        return self._easel.better(news=self._status != before)

    def draw(self, scene: Scene, warning: str = "") -> tuple[Scene, U8Array]:
        """The scene with its notes, and its picture."""
        return self._easel.draw(scene, warning)

    def show_settings(self) -> ShowSettings:
        """The settings of its cell."""
        show = self._controls.show
        if self._cell is None or self._cell[0] is not show:
            mine = show
            if self._shared.channels > 1:
                width, height = cells(show.window_wh, self._shared.channels)[self.place][2:]
                header = header_of(show.header_height, height)
                mine = show.model_copy(update={"window_wh": (width, height), "header_height": header})
            self._cell = show, mine
        return self._cell[1]

    def crop_height(self, result: Result) -> int:
        """Of the crops that a result is shown with, px."""
        return crop_height(self.show_settings(), result.frame, result.objects.rows)

    def report(self) -> SourceReport:
        """Its figures."""
        counts = self._frames_in, self.shown, self._moved, self._dropped, self._objects
        return SourceReport(self.source.name, *counts)

    @property
    def searches(self) -> tuple[int, int]:
        """Objects that neighbours were wanted for, and those that needed a search."""
        return self._steady.asked, self._steady.searched

    @property
    def last_first(self) -> int:
        """Highest strip that may stand on top."""
        return self._easel.last_first

    def _view(self) -> tuple[ShowSettings, int]:
        return self.show_settings(), self._controls.first_strip

    def _is_paused(self) -> bool:
        return self._controls.paused

    def _describe_run(self) -> tuple[str, ...]:
        library, meter = self._shared.index.library, self._shared.meter
        notes = [Path(self.source.name).name or self.source.name]
        at_s = None if self.result is None else self.result.frame.pts_s
        if at_s is not None and self._length_s is not None:
            notes[0] += f"    {_clock(at_s - self.source.begins_s)} of {_clock(self._length_s)}"
        if self.source.status != "ok":  # first: a small cell has room for one or two
            notes.append("connection lost, trying again")
        if self.place == 0:
            searched = counted(len(self._shared.index), "object")
            notes.append(f"{searched} from {counted(library.photo_count, 'photo')}")
            if (fps := meter.fps()) > 0:
                latency = meter.quantiles_ms("latency")
                notes.append(f"{fps:.1f} frames/s    {latency['p50']:.0f} ms")
        if self._dropped:
            notes.append(f"frames dropped: {self._dropped:,}")
        return tuple(notes)


def _clock(seconds: float) -> str:
    """Minutes and seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
