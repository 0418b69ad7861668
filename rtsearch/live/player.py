"""A source played through the pipeline: threads, clocks, stop.

    capture -> detect + describe -> search + thumbnails -> main thread: draw, show, record

Each arrow is a small queue. A file waits, so that every frame is seen; a camera, a stream or a file played by
the wall clock drops the oldest frame, and drops are counted. A worker's error is raised in the main thread.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import random
import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from rtsearch.ahead import Ahead, stop_on_signal
from rtsearch.config import DetectSettings, Settings, ShowSettings
from rtsearch.errors import RtsearchError, StageError
from rtsearch.index import SearchIndex
from rtsearch.meter import Meter, Quantiles
from rtsearch.pictures import quiet_decoders
from rtsearch.pipeline import Pipeline
from rtsearch.record import JsonlRecorder, VideoRecorder, object_records
from rtsearch.records import Detections, Frame, Neighbours, Scene, U8Array
from rtsearch.render import compose
from rtsearch.sources import Source
from rtsearch.thumbs import ThumbCache

__all__ = ["Controls", "LiveReport", "Outputs", "Screen", "library_photos", "play"]

_log = logging.getLogger(__name__)

_PUMP_S = 0.02  # how long the main thread waits for a frame before it looks after the window again
_NOTES_S = 0.5
_DEPTH = 2  # frames that wait between two stages of a file: enough to keep both busy


@dataclass(slots=True)
class Controls:
    """What can be changed while a source plays; read by the stages once per frame.

    Attributes:
        detect: thresholds.
        show: layout and number of results.
        paused: nothing new is shown.
    """

    detect: DetectSettings
    show: ShowSettings
    paused: bool = False


class Screen(Protocol):
    """What shows pictures and takes keys; the window is one."""

    def show(self, scene: Scene, picture: U8Array) -> None:
        """Show the picture of a scene."""
        ...

    def pump(self) -> bool:
        """Look after keys and mouse; False once the user wants to leave."""
        ...


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where pictures and records go; any of them may be absent.

    Attributes:
        screen: a window.
        video: the composed picture as MP4.
        record: objects and neighbours as JSON lines.
    """

    screen: Screen | None = None
    video: Path | None = None
    record: Path | None = None

    @property
    def draws(self) -> bool:
        """Is a picture wanted?"""
        return self.screen is not None or self.video is not None


@dataclass(frozen=True, slots=True)
class LiveReport:
    """The figures of a run; see docs/performance.md for what each time covers."""

    frames_in: int
    frames_shown: int
    dropped: int
    fps: float
    objects: int
    neighbours: int
    stage_ms: dict[str, Quantiles]
    latency_ms: Quantiles


@dataclass(frozen=True, slots=True)
class _Seen:
    frame: Frame
    detections: Detections


def library_photos(index: SearchIndex, seed: int | None = None) -> Iterator[Path]:
    """Photos of the library in random order, for ever."""
    order = random.Random(seed)
    while True:
        yield index.library.photo_path(index.photo(order.randrange(len(index))))


def play(
    source: Source,
    pipeline: Pipeline,
    index: SearchIndex,
    settings: Settings,
    outputs: Outputs,
    *,
    controls: Controls | None = None,
    progress: Callable[[int], None] | None = None,
) -> LiveReport:
    """Play a source to its end, or until the user leaves or presses Ctrl-C.

    Args:
        source: opened; closed at the end.
        pipeline: sees the objects.
        index: is searched.
        settings: sections ``search``, ``live``, ``detect`` and ``show``.
        outputs: what is written and shown.
        controls: changed by the window while the source plays.
        progress: gets the number of frames shown so far.

    Raises:
        StageError: a stage failed.
        RtsearchError: a source, runner or recorder said what is wrong.
    """
    controls = controls or Controls(settings.detect, settings.show)
    player = _Player(source, pipeline, index, settings, controls, outputs)
    return player.run(progress or (lambda _: None))


class _Player:
    def __init__(
        self,
        source: Source,
        pipeline: Pipeline,
        index: SearchIndex,
        settings: Settings,
        controls: Controls,
        outputs: Outputs,
    ) -> None:
        self._source = source
        self._pipeline = pipeline
        self._index = index
        self._search = settings.search
        self._controls = controls
        self._outputs = outputs
        self._cache = ThumbCache(index.thumb_places, settings.live.cache_mb << 20)
        self._meter = Meter()
        self._halt = threading.Event()
        self._stages: list[Ahead[Any]] = []
        self._frames_in = self._skipped = self._objects = self._neighbours = self._shown = 0
        self._notes: tuple[str, ...] = ()
        self._notes_s = -1.0

    def run(self, progress: Callable[[int], None]) -> LiveReport:
        """Start the stages, show what comes out of the last, stop them."""
        with contextlib.ExitStack() as stack:
            video, record = self._open_outputs(stack)
            stack.callback(self._stop)
            stack.enter_context(stop_on_signal(self._halt))
            stack.enter_context(quiet_decoders())
            frames = self._stage("capture", self._captured)
            seen = self._stage("detect", lambda: self._seen(frames))
            scenes = self._stage("search", lambda: self._scenes(seen))
            while not scenes.ended:
                screen = self._outputs.screen
                if screen is not None and not screen.pump():
                    break
                if self._controls.paused:
                    self._halt.wait(_PUMP_S)
                    continue
                with contextlib.suppress(queue.Empty):
                    self._finish(scenes.take(_PUMP_S), screen, video, record)
                    progress(self._shown)
        return self._report()

    def _open_outputs(self, stack: contextlib.ExitStack) -> tuple[VideoRecorder | None, JsonlRecorder | None]:
        outputs, video, record = self._outputs, None, None
        if outputs.video is not None:
            video = stack.enter_context(VideoRecorder(outputs.video, self._source.fps or 30.0))
        if outputs.record is not None:
            record = stack.enter_context(JsonlRecorder(outputs.record))
        return video, record

    def _stage(self, name: str, items: Callable[[], Generator[Any]]) -> Ahead[Any]:
        """Run a stage in a thread of its own."""
        newest = self._source.live
        stage: Ahead[Any] = Ahead(
            _named(name, items), 1 if newest else _DEPTH, self._halt, name, newest=newest
        )
        self._stages.append(stage)
        return stage

    def _stop(self) -> None:
        self._halt.set()
        self._source.close()
        for stage in self._stages:
            stage.join()
        self._cache.close()

    def _captured(self) -> Generator[Frame]:
        last = -1
        while True:
            with self._meter.stage("capture"):
                frame = next(self._source, None)
            if frame is None:
                return
            self._frames_in += 1
            self._skipped += frame.id - last - 1  # numbers that a live source or the wall clock left out
            last = frame.id
            yield frame

    def _seen(self, frames: Ahead[Frame]) -> Generator[_Seen]:
        detector, describer = self._pipeline.detector, self._pipeline.describer
        for frame in frames:
            detector.settings = self._controls.detect
            with self._meter.stage("detect"):
                found = detector.detect([frame.bgr])[0]
            with self._meter.stage("describe"):
                vector = describer.describe(frame.bgr, found)
            yield _Seen(frame, Detections(found.xyxy, found.score, found.label, vector))

    def _scenes(self, seen: Ahead[_Seen]) -> Generator[Scene]:
        names = self._pipeline.class_names
        for item in seen:
            show, found = self._controls.show, item.detections
            with self._meter.stage("search"):
                neighbours = self._index.search(
                    found.vector, show.results, exact=self._search.exact, recall=self._search.recall
                )
            with self._meter.stage("thumbs"):
                thumbs = self._thumbs(neighbours, show.thumb_height)
            words = tuple(names[label] if label >= 0 else "whole image" for label in found.label.tolist())
            yield Scene(item.frame, found, words, neighbours, show.thumb_height, thumbs)

    def _thumbs(self, neighbours: Neighbours, height_px: int) -> tuple[tuple[U8Array | None, ...], ...]:
        if not self._outputs.draws:
            return ((),) * len(neighbours)
        self._cache.prefetch(neighbours.row.ravel().tolist(), height_px)
        return tuple(
            tuple(self._cache.get(row, height_px) for row in rows if row >= 0)
            for rows in neighbours.row.tolist()
        )

    def _finish(
        self, scene: Scene, screen: Screen | None, video: VideoRecorder | None, record: JsonlRecorder | None
    ) -> None:
        """Draw, show and record one scene."""
        self._objects += len(scene.detections)
        self._neighbours += int((scene.neighbours.row >= 0).sum())
        self._shown += 1
        if self._outputs.draws:
            show = self._controls.show
            with self._meter.stage("draw"):
                scene = replace(scene, notes=self._fresh_notes())
                picture = compose(scene, show.window_wh, show.header_height)
            if screen is not None:
                with self._meter.stage("show"):
                    screen.show(scene, picture)
            if video is not None:
                with self._meter.stage("video"):
                    video.write(picture, self._time_s(scene.frame))
        if record is not None:
            with self._meter.stage("record"):
                names = self._pipeline.class_names
                objects = object_records(scene.detections, names, scene.neighbours, self._index)
                record.write(scene.frame, objects)
        self._meter.add("latency", time.monotonic() - scene.frame.captured_s)
        self._meter.tick()

    def _time_s(self, frame: Frame) -> float:
        return frame.pts_s if frame.pts_s is not None else frame.captured_s

    def _fresh_notes(self) -> tuple[str, ...]:
        """Lines beside the frame; renewed twice a second, for figures that flicker cannot be read."""
        now_s = time.monotonic()
        if now_s - self._notes_s > _NOTES_S:
            self._notes, self._notes_s = self._describe_run(), now_s
        return self._notes

    def _describe_run(self) -> tuple[str, ...]:
        library = self._index.library
        latency = self._meter.quantiles_ms("latency")
        notes = [
            Path(self._source.name).name or self._source.name,
            f"{len(self._index):,} objects from {library.photo_count:,} photos",
            f"{self._meter.fps():.1f} frames/s    {latency['p50']:.0f} ms",
        ]
        if self._dropped():
            notes.append(f"{self._dropped():,} frames dropped")
        if self._source.status != "ok":
            notes.append("connection lost, trying again")
        return tuple(notes)

    def _dropped(self) -> int:
        return self._skipped + sum(stage.dropped for stage in self._stages)

    def _report(self) -> LiveReport:
        summary = self._meter.summary()
        stages = summary["stage_ms"]
        latency = stages.pop("latency", Quantiles(p50=0.0, p99=0.0))
        return LiveReport(
            frames_in=self._frames_in,
            frames_shown=self._shown,
            dropped=self._dropped(),
            fps=summary["fps"],
            objects=self._objects,
            neighbours=self._neighbours,
            stage_ms=stages,
            latency_ms=latency,
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
