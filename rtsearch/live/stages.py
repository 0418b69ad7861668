"""The stages of a run, each in a thread of its own; small queues between them.

    capture, one per source -> detect + describe -> track + search -> whoever takes the results
    capture ------------------------------------------> replay ------^

A file waits, so that every frame is seen; what is live drops the oldest frame, and its channel counts it. A
stage's error is raised where the results are taken.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import queue
import time
from collections.abc import Callable, Generator
from typing import Any, NamedTuple

from rtsearch._util.background import BackgroundIterator
from rtsearch.errors import RtsearchError, StageError
from rtsearch.live.channel import Channel, Recall, Result, Shared
from rtsearch.live.compositor import Crops
from rtsearch.live.contract import Outputs
from rtsearch.live.loader import Loader
from rtsearch.live.tracker import preload
from rtsearch.perception.backend import InferenceBackend
from rtsearch.types import Detections, Frame

__all__ = ["Found", "Stages"]

_log = logging.getLogger(__name__)

_TURN_S = 0.003  # how long detection waits when none of several sources has a frame
_JOIN_S = 4.0  # a disk or a driver may stall for ever; longer than any read of a source may take
_DEPTH = 2  # frames that wait between two stages of a file: enough to keep both busy


class _Captured(NamedTuple):
    channel: Channel
    frame: Frame


class _Seen(NamedTuple):
    channel: Channel
    frame: Frame
    found: Detections


class Found(NamedTuple):
    """What the last stage gives."""

    channel: Channel
    result: Result


class Stages:
    """Starts the threads of a run, and ends them.

    Args:
        channels: whose frames go through.
        shared: by the channels.
        outputs: decide what is to be found and fetched.
    """

    def __init__(self, channels: list[Channel], shared: Shared, outputs: Outputs) -> None:
        self._channels = channels
        self._shared = shared
        self._outputs = outputs
        self._live = all(channel.source.live for channel in channels)
        self._running: list[BackgroundIterator[Any]] = []
        self._loader: Loader | None = None

    def play(self, backend: InferenceBackend) -> BackgroundIterator[Found]:
        """Start what detects and searches."""
        preload()  # else the first frames would wait for it, and be dropped
        captured = self._begin()
        seen = self._stage("detect", lambda: self._seen(captured, backend))
        return self._stage("search", lambda: self._found(seen))

    def replay(self, recall: Recall) -> BackgroundIterator[Found]:
        """Start what recalls the objects of the first source."""
        captured = self._begin()
        return self._stage("replay", lambda: self._recalled(captured[0], recall))

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

    def _begin(self) -> list[BackgroundIterator[_Captured]]:
        if self._live and self._outputs.draws:
            self._loader = Loader(self._shared.cache, self._shared.meter)
        return [self._capture(channel) for channel in self._channels]

    def _stage(self, name: str, items: Callable[[], Generator[Any]]) -> BackgroundIterator[Any]:
        return self._start(name, items, self._live, len(self._channels))

    def _capture(self, channel: Channel) -> BackgroundIterator[_Captured]:
        frames = (_Captured(channel, frame) for frame in channel.captured())
        return self._start("capture", lambda: frames, channel.source.live, 1)

    def _start(
        self, name: str, items: Callable[[], Generator[Any]], live: bool, room: int
    ) -> BackgroundIterator[Any]:
        stage: BackgroundIterator[Any] = BackgroundIterator(
            _named(name, items),
            room if live else _DEPTH,
            self._shared.halt,
            name,
            dropped=(lambda item: item.channel.drop()) if live else None,
        )
        self._running.append(stage)
        return stage

    def _seen(
        self, captured: list[BackgroundIterator[_Captured]], backend: InferenceBackend
    ) -> Generator[_Seen]:
        for items in self._in_turn(captured, backend):
            for channel, frame in items:
                channel.look_behind(frame)
            pictures, shared = [frame.bgr for _, frame in items], self._shared
            # There is time to see slides as the library saw its photos.
            slides = any(channel.source.slides for channel in self._channels)
            settings, projection = shared.controls.detect, shared.index.projection
            seen = backend.see(pictures, settings, shared.meter, projection, pad_fully=slides)
            for (channel, frame), found in zip(items, seen, strict=True):
                yield _Seen(channel, frame, found)

    def _in_turn(
        self, captured: list[BackgroundIterator[_Captured]], backend: InferenceBackend
    ) -> Generator[list[_Captured]]:
        """Frames for one call of the detector, none of a channel before all others had their turn."""
        if len(captured) == 1:
            yield from ([item] for item in captured[0])
            return
        most = 1 if backend.callers > 1 else backend.batch or len(captured)
        live = [channel.source.live for channel in self._channels]
        waiting: dict[int, _Captured] = {}
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
        """Files keep step: those whose frame comes first, or nearly so."""
        rates = [channel.source.fps for channel in self._channels if channel.source.fps]
        at_s = {place: frame.pts_s or 0.0 for place, frame in frames.items()}
        until_s = min(at_s.values()) + 0.5 / max(rates, default=1.0)
        return sorted((place for place in at_s if at_s[place] <= until_s), key=at_s.__getitem__)

    def _found(self, seen: BackgroundIterator[_Seen]) -> Generator[Found]:
        own = bool(self._outputs.records)
        for channel, frame, found in seen:
            result = channel.search(frame, found, own=own)
            crops = self._crops(channel, result)
            yield Found(channel, dataclasses.replace(result, crops=crops))

    def _recalled(self, captured: BackgroundIterator[_Captured], recall: Recall) -> Generator[Found]:
        for channel, frame in captured:
            with self._shared.meter.stage("replay"):
                objects = recall(frame)
            result = Result(frame, objects.seen, objects, None, None)
            yield Found(channel, dataclasses.replace(result, crops=self._crops(channel, result)))

    def _crops(self, channel: Channel, result: Result) -> Crops | None:
        """Every crop for a file, which waits; for a live source they are only asked for."""
        rows, height_px = result.objects.neighbours.row, channel.crop_height(result)
        if not self._outputs.draws:
            return ((),) * len(rows)
        if self._loader is not None:
            self._loader.want(channel.place, rows.ravel().tolist(), height_px)
            return None
        with self._shared.meter.stage("thumbs"):
            self._shared.cache.prefetch(rows.ravel().tolist(), height_px)
            return tuple(
                tuple(self._shared.cache.get(row, height_px) for row in line if row >= 0)
                for line in rows.tolist()
            )


def _named(name: str, items: Callable[[], Generator[Any]]) -> Generator[Any]:
    """The items of a stage; an error that does not explain itself gets the stage's name."""
    try:
        yield from items()
    except RtsearchError:
        raise
    except Exception as error:
        _log.debug("stage %s failed", name, exc_info=True)
        raise StageError(name, error) from error
