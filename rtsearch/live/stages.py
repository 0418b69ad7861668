"""The stages of a run, each in a thread of its own; small queues between them.

    capture, one per source -> detect + describe -> track + search -> whoever takes the results
    capture -------------------------------------------> look up ------^

A file waits, so that every frame is seen; what is live drops the oldest frame, and it is counted for its
source. A stage's error is raised where the results are taken.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import logging
import queue
import time
from collections.abc import Callable, Generator
from typing import Protocol

from rtsearch._util.background import BackgroundIterator
from rtsearch.config import DetectSettings, ShowSettings
from rtsearch.errors import RtsearchError, StageError
from rtsearch.library.index import SearchIndex
from rtsearch.library.likeness import largest_distance
from rtsearch.live.areas import counting
from rtsearch.live.channel import Channel
from rtsearch.live.choosing_side import ChoosingSide
from rtsearch.live.compositor import crop_height, drift_height
from rtsearch.live.controls import ControlState
from rtsearch.live.live_frame import Crops, LiveFrame
from rtsearch.live.load_steps import STEPS, lightened
from rtsearch.live.loader import Loader
from rtsearch.live.mosaic import cell_settings
from rtsearch.live.privacy import Privacy
from rtsearch.live.shared import Shared
from rtsearch.live.sinks import Outputs
from rtsearch.live.stabilizer import Steadied
from rtsearch.live.tracker import preload
from rtsearch.memory.live_memory import LiveMemory
from rtsearch.perception.backend import InferenceBackend
from rtsearch.types import Frame

__all__ = ["FrameLookup", "Stages"]

_log = logging.getLogger(__name__)

_TURN_S = 0.003  # how long detection waits when none of several sources has a frame
_JOIN_S = 4.0  # a disk or a driver may stall for ever; longer than any read of a source may take
_DEPTH = 2  # frames that wait between two stages of a file: enough to keep both busy


class FrameLookup(Protocol):
    """Knows the objects of frames already; belongs to one thread."""

    def __call__(self, frame: Frame, show: ShowSettings, *, jumped: bool) -> Steadied:
        """Return what is shown of a frame.

        Args:
            frame: the picture.
            show: the layout.
            jumped: the user has gone to another place since the beginning.
        """
        ...


class Stages:
    """Starts the threads of a run, and ends them.

    Args:
        channels: sources whose frames go through.
        shared: by them.
        outputs: decide what is to be found and fetched.
    """

    def __init__(self, channels: list[Channel], shared: Shared, outputs: Outputs) -> None:
        self._channels = channels
        self._shared = shared
        self._outputs = outputs
        self._live = all(channel.source.live for channel in channels)
        self._running: list[BackgroundIterator[LiveFrame]] = []
        self._loader: Loader | None = None
        self._choosing = [ChoosingSide() for _ in channels]
        kind = shared.controls.now.show.privacy
        self._privacy = [] if kind == "none" else [Privacy(kind, shared.class_names) for _ in channels]

    def play(self, backend: InferenceBackend) -> BackgroundIterator[LiveFrame]:
        """Start what detects and searches."""
        preload()  # else the first frames would wait for it, and be dropped
        now = self._shared.controls.now
        largest_distance(self._shared.live_index.of(now), now.show.max_distance)  # is measured here, once
        captured = self._begin()
        seen = self._stage("detect", lambda: self._seen(captured, backend))
        return self._stage("search", lambda: self._found(seen))

    def replay(self, lookup: FrameLookup) -> BackgroundIterator[LiveFrame]:
        """Start what looks up the objects of the first source."""
        captured = self._begin()
        return self._stage("replay", lambda: self._looked_up(captured[0], lookup))

    def again(self, last: LiveFrame, backend: InferenceBackend) -> LiveFrame:
        """Return a frame with what is found in it now; called once all threads have ended.

        Args:
            last: frame that was found before, and stays on the screen.
            backend: sees the objects.
        """
        [detected] = self._detected([last], backend)
        side, state = self._channels[last.place].search, self._state_of(last)
        side.begin_anew()
        return self._with_crops(side.search(detected, state, own=False), state.show)

    def stop(self) -> None:
        """End all threads; one that a disk or a driver holds up is left behind."""
        self._shared.halt.set()
        for channel in self._channels:
            channel.source.close()
        until_s = time.monotonic() + _JOIN_S
        for stage in self._running:
            if not stage.join(max(0.0, until_s - time.monotonic())):
                _log.warning("%s does not end; its thread is left behind", stage.name)
        if self._loader is not None:
            self._loader.close()

    def _begin(self) -> list[BackgroundIterator[LiveFrame]]:
        if self._live and self._outputs.draws:
            self._loader = Loader(self._shared.meter)
        return [self._capture(channel) for channel in self._channels]

    def _stage(self, name: str, items: Callable[[], Generator[LiveFrame]]) -> BackgroundIterator[LiveFrame]:
        return self._start(name, items, self._live, len(self._channels))

    def _capture(self, channel: Channel) -> BackgroundIterator[LiveFrame]:
        meter, halt = self._shared.meter, self._shared.halt
        return self._start("capture", lambda: channel.capture.frames(meter, halt), channel.source.live, 1)

    def _start(
        self, name: str, items: Callable[[], Generator[LiveFrame]], live: bool, room: int
    ) -> BackgroundIterator[LiveFrame]:
        stage: BackgroundIterator[LiveFrame] = BackgroundIterator(
            _named(name, items),
            room if live else _DEPTH,
            self._shared.halt,
            name,
            dropped=(lambda item: self._channels[item.place].drop(item)) if live else None,
        )
        self._running.append(stage)
        return stage

    def _seen(
        self, captured: list[BackgroundIterator[LiveFrame]], backend: InferenceBackend
    ) -> Generator[LiveFrame]:
        for items in self._in_turn(captured, backend):
            load = self._shared.controls.now.load
            if load == STEPS and (items := [item for item in items if not self._passed_over(item)]) == []:
                continue
            yield from self._detected(items, backend)

    def _detected(self, items: list[LiveFrame], backend: InferenceBackend) -> Generator[LiveFrame]:
        """Return frames of one call of the detector with their objects."""
        shared, now = self._shared, self._shared.controls.now
        # There is time to see slides as the library saw its photos.
        slides = any(channel.source.slides for channel in self._channels)
        pictures = [item.frame.bgr for item in items]
        index = shared.live_index.of(now)
        asked = Privacy.asked(now.detect) if self._privacy else now.detect
        projection = index.projection if shared.memory is None else None
        seen = backend.infer(pictures, asked, shared.meter, projection, pad_fully=slides)
        for item, found in zip(items, seen, strict=True):
            detected = dataclasses.replace(item, detections=found, index=index)
            counted = _counting(self._made_private(detected, now.detect), now)
            chosen = self._choosing[item.place].chosen(counted, now.chooser)
            yield chosen if projection is not None else _projected(chosen, index)

    def _passed_over(self, item: LiveFrame) -> bool:
        """Tell whether a frame of a live source is left to those that are shown without detection."""
        channel = self._channels[item.place]
        if not channel.source.live or item.frame.id % 2 == 0:
            return False
        channel.drop(item)
        return True

    def _made_private(self, item: LiveFrame, settings: DetectSettings) -> LiveFrame:
        """Return a detected frame without recognisable people, and with the wanted objects only."""
        if not self._privacy:
            return item
        private, found = self._privacy[item.place], item.detections
        with self._shared.meter.stage("privacy"):
            frame = private.frame(item.frame, found)
        return dataclasses.replace(item, frame=frame, detections=private.wanted(found, settings))

    def _in_turn(
        self, captured: list[BackgroundIterator[LiveFrame]], backend: InferenceBackend
    ) -> Generator[list[LiveFrame]]:
        """Return frames for one call of the detector, none of a source before all others had their turn."""
        if len(captured) == 1:
            yield from ([item] for item in captured[0])
            return
        most = 1 if backend.callers > 1 else backend.batch or len(captured)
        live = [channel.source.live for channel in self._channels]
        waiting: dict[int, LiveFrame] = {}
        while not self._shared.halt.is_set():
            for place, stage in enumerate(captured):
                if place not in waiting:
                    with contextlib.suppress(queue.Empty):
                        waiting[place] = stage.take(0)
            now = [place for place in waiting if live[place]]
            files = [
                p for p, stage in enumerate(captured) if not live[p] and (p in waiting or not stage.ended)
            ]
            if files and all(place in waiting for place in files):
                now += self._furthest_behind({place: waiting[place].frame for place in files})
            for first in range(0, len(now), most):
                yield [waiting.pop(place) for place in now[first : first + most]]
            if not now and not waiting and all(stage.ended for stage in captured):
                return
            if not now:
                self._shared.halt.wait(_TURN_S)

    def _furthest_behind(self, frames: dict[int, Frame]) -> list[int]:
        """Return the files whose frame comes first, or nearly so: files keep step."""
        rates = [channel.source.fps for channel in self._channels if channel.source.fps]
        at_s = {place: frame.pts_s or 0.0 for place, frame in frames.items()}
        until_s = min(at_s.values()) + 0.5 / max(rates, default=1.0)
        return sorted((place for place in at_s if at_s[place] <= until_s), key=at_s.__getitem__)

    def _found(self, seen: BackgroundIterator[LiveFrame]) -> Generator[LiveFrame]:
        own = bool(self._outputs.records)
        for item in seen:
            state = self._state_of(item)
            with self._shared.meter.stage("search"):
                found = self._channels[item.place].search.search(item, state, own=own)
            if self._shared.memory is not None:
                with self._shared.meter.stage("remember"):
                    self._remember(self._shared.memory, found)
            yield self._with_crops(found, state.show)

    def _remember(self, memory: LiveMemory, found: LiveFrame) -> None:
        assert found.described is not None
        objects = dataclasses.replace(found.detections, vector=found.described)
        late_ns = round((time.monotonic() - found.frame.captured_s) * 1e9)
        source = self._channels[found.place].source.name
        memory.see(found.place, found.epoch, source, found.frame, objects, time.time_ns() - late_ns)

    def _looked_up(
        self, captured: BackgroundIterator[LiveFrame], lookup: FrameLookup
    ) -> Generator[LiveFrame]:
        for item in captured:
            show = self._state_of(item).show
            with self._shared.meter.stage("replay"):
                objects = lookup(item.frame, show, jumped=item.epoch > 0)
            frame = item.frame
            if self._privacy:
                frame = self._privacy[item.place].frame(frame, objects.detections)
            found = dataclasses.replace(item, frame=frame, detections=objects.seen, objects=objects)
            yield self._with_crops(found, show)

    def _state_of(self, item: LiveFrame) -> ControlState:
        """Return the settings in force, laid out for the cell of a frame's source."""
        now = self._shared.controls.now
        show = lightened(cell_settings(now.show, item.place, len(self._channels)), now.load)
        return dataclasses.replace(now, show=show)

    def _with_crops(self, found: LiveFrame, show: ShowSettings) -> LiveFrame:
        crops = self._crops(found, crop_height(show, found.frame, found.objects.rows), drift_height(show))
        return dataclasses.replace(found, crops=crops)

    def _crops(self, found: LiveFrame, height_px: int, drift_px: int) -> Crops | None:
        """Return every crop for a file, which waits; for a live source they are only asked for."""
        rows, index = found.objects.neighbours.row, found.index or self._shared.index
        if not self._outputs.draws:
            return ((),) * len(rows)
        cache = self._shared.crops.of(index)
        wanted = [*rows.ravel().tolist(), *itertools.chain(*found.walk.stops), *found.walk.coming]
        drift = self._shared.crops.drifting(index) if drift_px else ()
        if self._loader is not None:
            self._loader.want((found.place, "crops"), cache, wanted, height_px)
            self._loader.want((found.place, "drift"), cache, drift, drift_px)
            return None
        with self._shared.meter.stage("thumbs"):
            cache.prefetch(wanted, height_px)
            cache.prefetch(drift, drift_px)
            return tuple(
                tuple(cache.get(row, height_px) for row in line if row >= 0) for line in rows.tolist()
            )


def _projected(item: LiveFrame, index: SearchIndex) -> LiveFrame:
    """Return a frame whose objects keep their whole descriptions beside the searched vectors."""
    described = item.detections.vector
    found = dataclasses.replace(item.detections, vector=index.projection.apply(described))
    return dataclasses.replace(item, detections=found, described=described)


def _counting(item: LiveFrame, now: ControlState) -> LiveFrame:
    """Return a detected frame with those of its objects that count."""
    bgr = item.frame.bgr
    outlines = now.areas.outlines(item.place, mirrored=item.mirrored)
    found = counting(item.detections, outlines, (bgr.shape[1], bgr.shape[0]))
    return dataclasses.replace(item, detections=found)


def _named(name: str, items: Callable[[], Generator[LiveFrame]]) -> Generator[LiveFrame]:
    """Pass on the items of a stage; an error that does not explain itself gets the stage's name."""
    try:
        yield from items()
    except RtsearchError:
        raise
    except Exception as error:
        _log.debug("stage %s failed", name, exc_info=True)
        raise StageError(name, error) from error
