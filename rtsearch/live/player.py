"""The loop: threads, clocks, stop.

    capture -> detect + describe -> track + search -> main thread: draw, show, record
       └───────── newest frame ────────────────────────┘    thumbs: a thread that fetches crops

Each arrow is a small queue. A file waits, so that every frame is seen; a camera, a stream or a file played by
the wall clock drops the oldest frame, and drops are counted. Where detection gets fewer than two of three
frames done, the frames between are shown too, with the last objects moved along by their tracks, and the
picture says so. A worker's error is raised in the main thread.

The picture shows steady neighbours (see ``steady``); a record holds the nearest to each object as the frame
shows it.
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
from typing import Any

from rtsearch.ahead import Ahead, stop_on_signal
from rtsearch.config import Settings
from rtsearch.errors import RtsearchError, StageError
from rtsearch.index import SearchIndex
from rtsearch.live.contract import Controls, LiveReport, Outputs, Screen
from rtsearch.live.easel import Crops, Easel, moved, visible_strips
from rtsearch.live.loader import Loader
from rtsearch.live.steady import Steadied, Steady
from rtsearch.meter import Meter, Quantiles
from rtsearch.pictures import quiet_decoders
from rtsearch.pipeline import Pipeline
from rtsearch.record import Recorder, VideoRecorder, object_records, open_record, shown_records
from rtsearch.records import Detections, Frame, Neighbours, Scene
from rtsearch.sources import Paced, Source
from rtsearch.thumbs import ThumbCache

__all__ = ["library_photos", "play"]

_log = logging.getLogger(__name__)

_PUMP_S = 0.02  # how long the main thread waits for a frame before it looks after the window again
_BEHIND_PUMP_S = 0.004  # the same, when frames are shown that no stage announces
_DEPTH = 2  # frames that wait between two stages of a file: enough to keep both busy
_BEHIND = (0.15, 0.35)  # share of frames without detection below which it is not behind, above which it is
_MEMORY = 0.1  # weight of the newest frame in that share


@dataclass(frozen=True, slots=True)
class _Seen:
    frame: Frame
    detections: Detections


@dataclass(frozen=True, slots=True)
class _Result:
    """One frame as it leaves the stages; ``own`` are the neighbours for records, where any are kept."""

    frame: Frame
    detections: Detections
    objects: Steadied
    own: Neighbours | None
    crops: Crops | None


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
        self._easel = Easel(pipeline.class_names, self._cache, controls, self._describe_run)
        self._halt = threading.Event()
        self._stages: list[Ahead[Any]] = []
        self._loader: Loader | None = None
        self._steady = Steady(index, settings.search)
        self._frames_in = self._skipped = self._objects = self._neighbours = 0
        self._shown = self._moved = 0
        self._newest: Frame | None = None
        self._last: _Result | None = None
        self._last_id = -1  # of the frame that was drawn last
        self._between = 1  # frames from one detection to the next
        self._missing = 0.0  # share of frames without detection, lately
        self._behind = False
        self._cpu_s = time.process_time()

    def run(self, progress: Callable[[int], None]) -> LiveReport:
        """Start the stages, show what comes out of the last, stop them."""
        with contextlib.ExitStack() as stack:
            video, records = self._open_outputs(stack)
            stack.callback(self._stop)
            stack.enter_context(stop_on_signal(self._halt))
            stack.enter_context(quiet_decoders())
            if self._source.live and self._outputs.draws:
                self._loader = Loader(self._cache, self._meter)
            frames = self._stage("capture", self._captured)
            seen = self._stage("detect", lambda: self._seen(frames))
            results = self._stage("search", lambda: self._results(seen))
            screen = self._outputs.screen
            while not results.ended:
                if screen is not None and not screen.pump():
                    break
                if self._controls.paused:
                    self._halt.wait(_PUMP_S)
                    self._show_better()
                    continue
                try:
                    result = results.take(_BEHIND_PUMP_S if self._behind else _PUMP_S)
                except queue.Empty:
                    self._show_between(video)
                    continue
                self._finish(result, video, records)
                progress(self._shown)
            else:
                self._let_look(screen)
        return self._report()

    def _let_look(self, screen: Screen | None) -> None:
        """The last photo stays until the user leaves; a window that closes by itself shows nothing."""
        while screen is not None and self._source.slides and not self._halt.is_set() and screen.pump():
            self._halt.wait(_PUMP_S)
            self._show_better()

    def _open_outputs(self, stack: contextlib.ExitStack) -> tuple[VideoRecorder | None, list[Recorder]]:
        outputs, video = self._outputs, None
        if outputs.video is not None:
            video = stack.enter_context(VideoRecorder(outputs.video, self._source.fps or 30.0))
        return video, [stack.enter_context(open_record(path)) for path in outputs.records]

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
        if self._loader is not None:
            self._loader.close()
        self._cache.close()

    # The stages -------------------------------------------------------------------------------------------

    def _captured(self) -> Generator[Frame]:
        last: int | None = None
        while True:
            self._sit_out_pause()
            with self._meter.stage("capture"):
                frame = next(self._source, None)
            if frame is None:
                return
            self._frames_in += 1
            if last is not None:
                self._skipped += frame.id - last - 1  # what a live source or the wall clock left out
            last = frame.id
            self._newest = frame
            yield frame

    def _sit_out_pause(self) -> None:
        """A file that is played by the wall clock stands still in a pause; a camera goes on."""
        if self._controls.paused and isinstance(self._source, Paced):
            while self._controls.paused and not self._halt.wait(_PUMP_S):
                pass
            self._source.resume()

    def _seen(self, frames: Ahead[Frame]) -> Generator[_Seen]:
        sight = self._pipeline.sight
        last: int | None = None
        for frame in frames:
            self._look_behind(1 if last is None else frame.id - last)
            last = frame.id
            sight.settings = self._controls.detect
            yield _Seen(frame, sight.see([frame.bgr], self._meter)[0])

    def _look_behind(self, frames: int) -> None:
        """Does detection keep up? It has taken one of so many frames."""
        self._between = frames
        self._missing += _MEMORY * ((frames - 1) / frames - self._missing)
        self._behind = self._source.live and self._missing > _BEHIND[not self._behind]

    def _results(self, seen: Ahead[_Seen]) -> Generator[_Result]:
        for item in seen:
            show, found = self._controls.show, item.detections
            with self._meter.stage("search"):
                points = self._index.projection.apply(found.vector)
                objects = self._steady.update(
                    item.frame, found, points, show.results, visible_strips(self._controls)
                )
                own = None
                if self._outputs.records:
                    exact, recall = self._search.exact, self._search.recall
                    own = self._index.near(points, show.results, exact=exact, recall=recall)
            crops = self._crops(objects, show.thumb_height)
            found = replace(found, track=objects.detections.track[: len(found)])
            yield _Result(item.frame, found, objects, own, crops)

    def _crops(self, objects: Steadied, height_px: int) -> Crops | None:
        """Every crop for a file, which waits; for a live source they are only asked for."""
        rows = objects.neighbours.row
        if not self._outputs.draws:
            return ((),) * len(rows)
        if self._loader is not None:
            self._loader.want(rows.ravel().tolist(), height_px)
            return None
        with self._meter.stage("thumbs"):
            self._cache.prefetch(rows.ravel().tolist(), height_px)
            return tuple(
                tuple(self._cache.get(row, height_px) for row in line if row >= 0) for line in rows.tolist()
            )

    # The main thread --------------------------------------------------------------------------------------

    def _finish(self, result: _Result, video: VideoRecorder | None, records: list[Recorder]) -> None:
        """Draw, show and record one frame."""
        self._last = result
        self._objects += len(result.detections)
        self._neighbours += int((result.objects.neighbours.row[: len(result.detections)] >= 0).sum())
        self._shown += 1
        if self._outputs.draws and result.frame.id > self._last_id:
            self._last_id = result.frame.id
            with self._meter.stage("draw"):
                scene = self._easel.scene(result.frame, result.objects, result.crops)
            self._put(scene, video)
        if result.own is not None:
            with self._meter.stage("record"):
                self._write(result, result.own, records)
        self._meter.add("latency", time.monotonic() - result.frame.captured_s)
        self._meter.tick()

    def _write(self, result: _Result, own: Neighbours, records: list[Recorder]) -> None:
        names, shown = self._pipeline.class_names, result.objects
        objects = object_records(result.detections, names, own, self._index)
        strips = shown_records(shown.detections, names, shown.strips, shown.neighbours.row)
        for record in records:
            record.write(result.frame, objects, strips)

    def _put(self, scene: Scene, video: VideoRecorder | None, warning: str = "") -> None:
        with self._meter.stage("draw"):
            scene, picture = self._easel.draw(scene, warning)
        if self._outputs.screen is not None:
            with self._meter.stage("show"):
                self._outputs.screen.show(scene, picture)
        if video is not None:
            with self._meter.stage("video"):
                video.write(picture, self._time_s(scene.frame))

    def _show_between(self, video: VideoRecorder | None) -> None:
        """While no result is there: the newest frame if detection is behind, or crops that have come."""
        frame, last = self._newest, self._last
        if last is None or not self._outputs.draws:
            return
        if not self._behind or frame is None or frame.id <= self._last_id:
            self._show_better()
            return
        self._last_id = frame.id
        self._moved += 1
        updates = (frame.id - last.frame.id) / max(1, self._between)
        objects = moved(last.objects, updates, frame)
        late_ms = (frame.captured_s - last.frame.captured_s) * 1e3
        scene = self._easel.scene(frame, objects, last.crops)
        self._put(scene, video, f"detection is {late_ms:.0f} ms behind: boxes moved along")

    def _show_better(self) -> None:
        if self._last is None or self._outputs.screen is None:
            return
        scene = self._easel.better(self._last.objects)
        if scene is not None:
            self._put(scene, None)

    def _time_s(self, frame: Frame) -> float:
        return frame.pts_s if frame.pts_s is not None else frame.captured_s

    def _describe_run(self) -> tuple[str, ...]:
        library = self._index.library
        latency = self._meter.quantiles_ms("latency")
        notes = [
            Path(self._source.name).name or self._source.name,
            f"{len(self._index):,} objects from {library.photo_count:,} photos",
        ]
        if (fps := self._meter.fps()) > 0:
            notes.append(f"{fps:.1f} frames/s    {latency['p50']:.0f} ms")
        if self._dropped():
            notes.append(f"frames dropped: {self._dropped():,}")
        if self._source.status != "ok":
            notes.append("connection lost, trying again")
        return tuple(notes)

    def _dropped(self) -> int:
        return self._skipped + sum(stage.dropped for stage in self._stages)

    def _report(self) -> LiveReport:
        summary = self._meter.summary()
        stages = summary["stage_ms"]
        latency = stages.pop("latency", Quantiles(p50=0.0, p99=0.0))
        steady, shown = self._steady, max(1, self._shown)
        skipped = 1 - steady.searched / steady.asked if steady.asked else 0.0
        cpu_ms = {name: round(spent_s * 1e3 / shown, 3) for name, spent_s in self._meter.cpu_s().items()}
        return LiveReport(
            frames_in=self._frames_in,
            frames_shown=self._shown,
            frames_moved=self._moved,
            dropped=self._dropped(),
            fps=summary["fps"],
            objects=self._objects,
            neighbours=self._neighbours,
            searches_skipped=round(skipped, 4),
            stage_ms=stages,
            cpu_ms=cpu_ms | {"all": round((time.process_time() - self._cpu_s) * 1e3 / shown, 3)},
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
