"""The loop: threads, clocks, stop.

    capture, one per source -> detect + describe -> track + search -> main thread: draw, show, record
       └──────────────── newest frame ──────────────────────┘    thumbs: a thread that fetches crops

Each arrow is a small queue. A file waits, so that every frame is seen; a camera, a stream or a file played by
the wall clock drops the oldest frame, and drops are counted. Where detection gets fewer than two of three
frames done, the frames between are shown too, with the last objects moved along by their tracks, and the
picture says so. Several sources take turns at one detector, or share its calls where it takes several
pictures at once. A worker's error is raised in the main thread.

The picture shows steady neighbours (see ``steady``); a record holds the nearest to each object as the frame
shows it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import queue
import threading
import time
from collections.abc import Callable, Generator, Sequence
from typing import Any, NamedTuple

from rtsearch.ahead import Ahead, stop_on_signal
from rtsearch.config import Settings
from rtsearch.errors import RtsearchError, StageError
from rtsearch.index import SearchIndex
from rtsearch.live.channel import Channel, Recall, Result, Shared
from rtsearch.live.contract import Controls, LiveReport, Outputs
from rtsearch.live.easel import Crops
from rtsearch.live.grid import Grid
from rtsearch.live.loader import Loader
from rtsearch.meter import Meter, Quantiles
from rtsearch.pictures import quiet_decoders
from rtsearch.pipeline import Pipeline
from rtsearch.record import Recorder, VideoRecorder, object_records, open_record, shown_records
from rtsearch.records import Detections, Frame, Neighbours, Scene
from rtsearch.sight import Sight
from rtsearch.sources import Source
from rtsearch.thumbs import ThumbCache

__all__ = ["play", "show_again"]

_log = logging.getLogger(__name__)

_PUMP_S = 0.02  # how long the main thread waits for a frame before it looks after the window again
_BEHIND_PUMP_S = 0.004  # the same, when frames are shown that no stage announces
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


class _Found(NamedTuple):
    channel: Channel
    result: Result


def play(
    source: Source | Sequence[Source],
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
        source: opened; closed at the end. Several are shown side by side.
        pipeline: sees the objects.
        index: is searched.
        settings: sections ``search``, ``live``, ``detect`` and ``show``.
        outputs: what is written and shown. Records name one source's frames: several need one run each.
        controls: changed by the window while the source plays.
        progress: gets the number of frames shown so far.

    Raises:
        StageError: a stage failed.
        RtsearchError: a source, runner or recorder said what is wrong.
    """
    controls = controls or Controls(settings.detect, settings.show)
    sources = [source] if isinstance(source, Source) else list(source)
    return _Player(sources, pipeline, index, settings, controls, outputs).run(progress or (lambda _: None))


def show_again(
    source: Source,
    recall: Recall,
    index: SearchIndex,
    settings: Settings,
    outputs: Outputs,
    *,
    controls: Controls | None = None,
    progress: Callable[[int], None] | None = None,
) -> LiveReport:
    """As ``play``, of what is known already: nothing is detected, searched or recorded.

    Args:
        recall: called with frame after frame, in a thread of its own; the others are those of ``play``.
    """
    controls = controls or Controls(settings.detect, settings.show)
    return _Player([source], recall, index, settings, controls, outputs).run(progress or (lambda _: None))


class _Player:
    def __init__(
        self,
        sources: list[Source],
        sees: Pipeline | Recall,
        index: SearchIndex,
        settings: Settings,
        controls: Controls,
        outputs: Outputs,
    ) -> None:
        self._sees = sees
        self._index = index
        self._controls = controls
        self._outputs = outputs
        self._cache = ThumbCache(index.thumb_places, settings.live.cache_mb << 20)
        self._meter = Meter()
        self._halt = threading.Event()
        self._names = index.library.space.class_names if callable(sees) else sees.class_names
        shared = Shared(
            index, settings.search, controls, self._cache, self._meter, self._names, len(sources), self._halt
        )
        self._channels = [Channel(place, source, shared) for place, source in enumerate(sources)]
        self._live = all(source.live for source in sources)
        self._grid = Grid(len(sources))
        self._stages: list[Ahead[Any]] = []
        self._loader: Loader | None = None
        self._cpu_s = time.process_time()

    def run(self, progress: Callable[[int], None]) -> LiveReport:
        """Start the stages, show what comes out of the last, stop them."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(stop_on_signal(self._halt))  # until all is in order again
            video, records = self._open_outputs(stack)
            stack.callback(self._stop)
            stack.enter_context(quiet_decoders())
            if self._live and self._outputs.draws:
                self._loader = Loader(self._cache, self._meter)
            captured = [self._capture(channel) for channel in self._channels]
            if callable(self._sees):
                recall = self._sees
                results = self._stage("replay", lambda: self._recalled(captured[0], recall))
            else:
                sight = self._sees.sight
                seen = self._stage("detect", lambda: self._seen(captured, sight))
                results = self._stage("search", lambda: self._found(seen))
            self._show(results, video, records, progress)
        return self._report()

    def _show(
        self,
        results: Ahead[_Found],
        video: VideoRecorder | None,
        records: list[Recorder],
        progress: Callable[[int], None],
    ) -> None:
        """The main thread's loop."""
        screen = self._outputs.screen
        while not results.ended:
            if screen is not None and not screen.pump():
                return
            if self._controls.paused and not any(channel.step_is_due for channel in self._channels):
                self._halt.wait(_PUMP_S)
                self._show_better()
                continue
            behind = any(channel.behind for channel in self._channels)
            try:
                channel, result = results.take(_BEHIND_PUMP_S if behind else _PUMP_S)
            except queue.Empty:
                self._show_between(video)
                continue
            if channel.is_stale(result):
                channel.forget(result)
                continue
            self._finish(channel, result, video, records)
            progress(sum(each.shown for each in self._channels))
        # The last photo stays until the user leaves; a window that closes by itself shows nothing.
        slides = any(channel.source.slides for channel in self._channels)
        while screen is not None and slides and not self._halt.is_set() and screen.pump():
            self._halt.wait(_PUMP_S)
            self._show_better()

    def _open_outputs(self, stack: contextlib.ExitStack) -> tuple[VideoRecorder | None, list[Recorder]]:
        outputs, video = self._outputs, None
        if outputs.video is not None:
            fps = max(channel.source.fps or 30.0 for channel in self._channels)
            sound = self._leading().source.sound
            video = stack.enter_context(VideoRecorder(outputs.video, fps, sound))
        return video, [stack.enter_context(open_record(path)) for path in outputs.records]

    def _stage(self, name: str, items: Callable[[], Generator[Any]]) -> Ahead[Any]:
        """Run a stage in a thread of its own."""
        return self._start(name, items, self._live, len(self._channels))

    def _capture(self, channel: Channel) -> Ahead[_Captured]:
        frames = (_Captured(channel, frame) for frame in channel.captured())
        return self._start("capture", lambda: frames, channel.source.live, 1)

    def _start(self, name: str, items: Callable[[], Generator[Any]], live: bool, room: int) -> Ahead[Any]:
        stage: Ahead[Any] = Ahead(
            _named(name, items),
            room if live else _DEPTH,
            self._halt,
            name,
            dropped=(lambda item: item.channel.drop()) if live else None,
        )
        self._stages.append(stage)
        return stage

    def _stop(self) -> None:
        self._halt.set()
        for channel in self._channels:
            channel.source.close()
        until_s = time.monotonic() + _JOIN_S
        for stage in self._stages:
            if not stage.join(max(0.0, until_s - time.monotonic())):
                _log.warning("%s does not end; its thread is left behind", stage.name)
        if self._loader is not None:
            self._loader.close()
        self._cache.close()

    # The stages -------------------------------------------------------------------------------------------

    def _seen(self, captured: list[Ahead[_Captured]], sight: Sight) -> Generator[_Seen]:
        for items in self._in_turn(captured, sight):
            for channel, frame in items:
                channel.look_behind(frame)
            sight.settings = self._controls.detect
            pictures = [frame.bgr for _, frame in items]
            seen = sight.see(pictures, self._meter, self._index.projection)
            for (channel, frame), found in zip(items, seen, strict=True):
                yield _Seen(channel, frame, found)

    def _in_turn(self, captured: list[Ahead[_Captured]], sight: Sight) -> Generator[list[_Captured]]:
        """Frames for one call of the detector, none of a channel before all others had their turn."""
        if len(captured) == 1:
            yield from ([item] for item in captured[0])
            return
        most = 1 if sight.callers > 1 else sight.batch or len(captured)
        while not all(stage.ended for stage in captured):
            waiting: list[_Captured] = []
            idle = True
            for stage in captured:
                with contextlib.suppress(queue.Empty):
                    waiting.append(stage.take(0))
                    idle = False
                if len(waiting) == most:
                    yield waiting
                    waiting = []
            if waiting:
                yield waiting
            if idle:
                self._halt.wait(_TURN_S)

    def _found(self, seen: Ahead[_Seen]) -> Generator[_Found]:
        own = bool(self._outputs.records)
        for channel, frame, found in seen:
            result = channel.search(frame, found, own=own)
            crops = self._crops(channel, result)
            yield _Found(channel, dataclasses.replace(result, crops=crops))

    def _recalled(self, captured: Ahead[_Captured], recall: Recall) -> Generator[_Found]:
        for channel, frame in captured:
            with self._meter.stage("replay"):
                objects = recall(frame)
            result = Result(frame, objects.seen, objects, None, None)
            yield _Found(channel, dataclasses.replace(result, crops=self._crops(channel, result)))

    def _crops(self, channel: Channel, result: Result) -> Crops | None:
        """Every crop for a file, which waits; for a live source they are only asked for."""
        rows, height_px = result.objects.neighbours.row, self._controls.show.thumb_height
        if not self._outputs.draws:
            return ((),) * len(rows)
        if self._loader is not None:
            self._loader.want(channel.place, rows.ravel().tolist(), height_px)
            return None
        with self._meter.stage("thumbs"):
            self._cache.prefetch(rows.ravel().tolist(), height_px)
            return tuple(
                tuple(self._cache.get(row, height_px) for row in line if row >= 0) for line in rows.tolist()
            )

    # The main thread --------------------------------------------------------------------------------------

    def _finish(
        self, channel: Channel, result: Result, video: VideoRecorder | None, records: list[Recorder]
    ) -> None:
        """Draw, show and record one frame."""
        channel.take(result)
        if self._outputs.draws and channel.is_newest(result.frame):
            with self._meter.stage("draw"):
                scene = channel.scene(result)
            self._put(channel, scene, video)
        if result.own is not None:
            with self._meter.stage("record"):
                self._write(result, result.own, records)
        self._meter.add("latency", time.monotonic() - result.frame.captured_s)
        self._meter.tick()

    def _write(self, result: Result, own: Neighbours, records: list[Recorder]) -> None:
        names, shown = self._names, result.objects
        objects = object_records(result.detections, names, own, self._index)
        strips = shown_records(shown.detections, names, shown.strips, shown.neighbours.row)
        for record in records:
            record.write(result.frame, objects, strips)

    def _put(self, channel: Channel, scene: Scene, video: VideoRecorder | None, warning: str = "") -> None:
        with self._meter.stage("draw"):
            scene, picture = channel.draw(scene, warning)
            picture = self._grid.put(channel.place, picture, self._controls.show.window_wh)
        if self._outputs.screen is not None:
            with self._meter.stage("show"):
                self._outputs.screen.show(scene, picture)
        if video is not None and channel is self._leading():
            with self._meter.stage("video"):
                frame = scene.frame
                video.write(picture, frame.pts_s if frame.pts_s is not None else frame.captured_s)

    def _leading(self) -> Channel:
        """The first source keeps the time of the recorded video."""
        return self._channels[0]

    def _show_between(self, video: VideoRecorder | None) -> None:
        """While no result is there: the newest frames where detection is behind, or crops that have come."""
        if not self._outputs.draws:
            return
        for channel in self._channels:
            between = channel.between()
            if between is not None:
                scene, warning = between
                self._put(channel, scene, video, warning)
            else:
                self._show_better_of(channel)

    def _show_better(self) -> None:
        for channel in self._channels:
            self._show_better_of(channel)

    def _show_better_of(self, channel: Channel) -> None:
        if self._outputs.screen is None:
            return
        scene = channel.better()
        if scene is not None:
            self._put(channel, scene, None)

    def _report(self) -> LiveReport:
        summary = self._meter.summary()
        stages = summary["stage_ms"]
        latency = stages.pop("latency", Quantiles(p50=0.0, p99=0.0))
        sources = tuple(channel.report() for channel in self._channels)
        shown = sum(each.frames_shown for each in sources)
        asked, searched = (sum(each) for each in zip(*(c.searches for c in self._channels), strict=True))
        cpu_ms = {
            name: round(spent_s * 1e3 / max(1, shown), 3) for name, spent_s in self._meter.cpu_s().items()
        }
        all_ms = (time.process_time() - self._cpu_s) * 1e3 / max(1, shown)
        return LiveReport(
            frames_in=sum(each.frames_in for each in sources),
            frames_shown=shown,
            frames_moved=sum(each.frames_moved for each in sources),
            dropped=sum(each.dropped for each in sources),
            fps=summary["fps"],
            objects=sum(each.objects for each in sources),
            neighbours=sum(channel.neighbours for channel in self._channels),
            searches_skipped=round(1 - searched / asked, 4) if asked else 0.0,
            stage_ms=stages,
            cpu_ms=cpu_ms | {"all": round(all_ms, 3)},
            latency_ms=latency,
            sources=sources,
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
