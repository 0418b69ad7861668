"""A run: threads, clocks, commands, stop.

    capture, one per source -> detect + describe -> track + search -> main thread: draw, show, record
       └──────────────── newest frame ──────────────────────┘    thumbs: a thread that fetches crops

Each arrow is a small queue, and what goes through it is an immutable record. A file waits, so that every
frame is seen; a camera, a stream or a file played by the wall clock drops the oldest frame, and drops are
counted. Where detection gets fewer than two of three frames done, the frames between are shown too, with the
last objects moved along by their tracks, and the picture says so. Several sources take turns at one detector,
or share its calls where it takes several pictures at once. A worker's error is raised in the main thread.

The picture shows steady neighbours (see ``stabilizer``); a record holds the nearest to each object as the
frame shows it.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence

from rtsearch._util.background import BackgroundIterator
from rtsearch._util.heartbeat import heartbeat
from rtsearch._util.metrics import Meter, Quantiles
from rtsearch._util.process_exit import finish_on_c_exit
from rtsearch._util.signals import stop_on_signal
from rtsearch.config import Settings
from rtsearch.images.decode import quiet_decoders
from rtsearch.library.index import SearchIndex
from rtsearch.live.areas import Areas
from rtsearch.live.channel import open_channel
from rtsearch.live.controls import Controls, Corner, Inspection, Scroll, Seek, Skip, Step, StepBack, Transport
from rtsearch.live.library_crops import LibraryCrops
from rtsearch.live.live_frame import LiveFrame
from rtsearch.live.live_index import LiveIndex
from rtsearch.live.load_steps import LoadSteps
from rtsearch.live.mosaic import cells
from rtsearch.live.report import LiveReport
from rtsearch.live.shared import Shared
from rtsearch.live.sinks import Outputs, OutputSinks
from rtsearch.live.stages import FrameLookup, Stages
from rtsearch.memory.live_memory import LiveMemory
from rtsearch.memory.recall import FIRST_ROW
from rtsearch.pipeline import Pipeline
from rtsearch.send import OutletReport
from rtsearch.sources import Source

__all__ = ["play", "scrolled", "show_again"]

_log = logging.getLogger(__name__)

_PUMP_S = 0.02  # how long the main thread waits for a frame before it looks after the window again
_MARKED_S = 30.0  # after which the times on remembered crops are written anew
_BEHIND_PUMP_S = 0.004  # the same, when frames are shown that no stage announces


def play(
    source: Source | Sequence[Source],
    pipeline: Pipeline,
    index: SearchIndex,
    settings: Settings,
    outputs: Outputs,
    *,
    controls: Controls | None = None,
    progress: Callable[[int], None] | None = None,
    memory: LiveMemory | None = None,
) -> LiveReport:
    """Play a source to its end, or until the user leaves, or Ctrl-C, SIGTERM or SIGHUP comes.

    Args:
        source: opened; closed at the end. Several are shown side by side.
        pipeline: sees the objects.
        index: is searched.
        settings: sections ``search``, ``live``, ``detect`` and ``show``.
        outputs: what is written, shown and sent. Records and signals are of one source: several need one run
            each.
        controls: changed by the window while the source plays.
        progress: gets the number of frames shown so far.
        memory: keeps what is seen, and is searched beside the library; opened, and closed by the caller.

    Raises:
        StageError: a stage failed.
        RtsearchError: a source, runner or recorder said what is wrong.
    """
    sources = [source] if isinstance(source, Source) else list(source)
    controls = controls or Controls(
        settings.detect,
        settings.show,
        mirror=settings.live.mirror,
        search=settings.search,
        areas=Areas.of(settings.live),
    )
    session = _Session(sources, pipeline, index, settings, controls, outputs, memory)
    return session.run(progress or (lambda _: None))


def show_again(
    source: Source,
    lookup: FrameLookup,
    index: SearchIndex,
    settings: Settings,
    outputs: Outputs,
    *,
    controls: Controls | None = None,
    progress: Callable[[int], None] | None = None,
) -> LiveReport:
    """Play a source whose objects are known already: nothing is detected, searched or recorded.

    Args:
        lookup: called with frame after frame, in a thread of its own; the others are those of ``play``.
    """
    controls = controls or Controls(settings.detect, settings.show, detects=False)
    return _Session([source], lookup, index, settings, controls, outputs).run(progress or (lambda _: None))


def _finish_without_display(sinks: OutputSinks) -> None:
    _log.error("the display has gone; what was recorded is finished")
    sinks.close()


class _Session:
    def __init__(
        self,
        sources: list[Source],
        finds: Pipeline | FrameLookup,
        index: SearchIndex,
        settings: Settings,
        controls: Controls,
        outputs: Outputs,
        memory: LiveMemory | None = None,
    ) -> None:
        live_index = LiveIndex(index, memory)
        self._memory = memory
        self._marked_s = time.monotonic()
        self._finds = finds
        self._controls = controls
        self._outputs = outputs
        self._meter = Meter()
        self._halt = threading.Event()
        beside = None if memory is None else memory.recall.jpeg
        self._crops = LibraryCrops(settings.live.cache_mb << 20, settings.show.font, beside)
        names = index.library.space.class_names if callable(finds) else finds.class_names
        self._shared = Shared(
            index=live_index.begun,
            live_index=live_index,
            search=settings.search,
            controls=controls,
            crops=self._crops,
            meter=self._meter,
            class_names=names,
            channels=len(sources),
            halt=self._halt,
            memory=memory,
        )
        self._channels = [open_channel(place, source, self._shared) for place, source in enumerate(sources)]
        self._views = [channel.view for channel in self._channels]
        self._cpu_s = time.process_time()
        self._heart = heartbeat()
        self._load = LoadSteps() if self._heart is not None else None
        self._max_photo_mp = settings.analyze.max_photo_mp

    def run(self, progress: Callable[[int], None]) -> LiveReport:
        """Start the stages, show what comes out of the last, stop them."""
        stages = Stages(self._channels, self._shared, self._outputs)
        with contextlib.ExitStack() as stack:
            stack.enter_context(stop_on_signal(self._halt, finish=True))  # until all is in order again
            sinks = stack.enter_context(
                OutputSinks(self._views, self._shared, self._outputs, self._max_photo_mp)
            )
            stack.callback(self._crops.close)
            stack.callback(stages.stop)
            if self._outputs.screen is not None:
                stack.enter_context(finish_on_c_exit(lambda: _finish_without_display(sinks)))
            stack.enter_context(quiet_decoders())
            finds = self._finds
            results = stages.replay(finds) if callable(finds) else stages.play(finds.backend)
            self._show(results, sinks, progress)
            self._stay(stages, sinks)
        if self._memory is not None:
            self._memory.end_tracks()
        return self._report(sinks.outlets.reports())

    def _show(
        self, results: BackgroundIterator[LiveFrame], sinks: OutputSinks, progress: Callable[[int], None]
    ) -> None:
        """Run the main thread's loop."""
        screen = self._outputs.screen
        while not results.ended:
            if screen is not None and not screen.pump():
                self._halt.set()  # the user leaves
                return
            self._obey(sinks)
            if self._controls.now.paused and not any(view.steps for view in self._views):
                self._halt.wait(_PUMP_S)
                sinks.better()
                continue
            try:
                result = results.take(_BEHIND_PUMP_S if any(view.behind for view in self._views) else _PUMP_S)
            except queue.Empty:
                sinks.between()
                continue
            view = self._views[result.place]
            if view.wants(result):
                sinks.finish(view, result)
                progress(sum(each.shown for each in self._views))

    def _stay(self, stages: Stages, sinks: OutputSinks) -> None:
        """Keep the last photo until the user leaves; a window that shows a video closes by itself.

        Objects of the photo are found anew where the settings or the library have changed.
        """
        screen, finds = self._outputs.screen, self._finds
        slides = screen is not None and any(view.source.slides for view in self._views)
        found = {view.place: self._controls.now.detect for view in self._views}
        while (
            (self._outputs.stays or slides) and not self._halt.is_set() and (screen is None or screen.pump())
        ):
            self._obey(sinks)
            now = self._controls.now
            for view in self._views:
                last = view.last
                if callable(finds) or last is None:
                    continue
                if last.index is not self._shared.live_index.of(now) or found[view.place] != now.detect:
                    found[view.place] = now.detect
                    sinks.renew(view, stages.again(last, finds.backend))
            self._halt.wait(_PUMP_S)
            sinks.better()

    def _obey(self, sinks: OutputSinks) -> None:
        """Carry out what the user has asked for, and look after the sources."""
        if self._heart is not None and not self._heart.beat():
            self._halt.set()  # whoever watched over this process has gone, and starts another one
        if self._memory is not None and time.monotonic() - self._marked_s >= _MARKED_S:
            self._marked_s = time.monotonic()
            self._crops.forget(FIRST_ROW)  # their marks say how long ago they were seen
        for view in self._views:
            view.watch()
        self._watch_load()
        for command in self._controls.commands():
            if isinstance(command, Inspection):
                sinks.inspect(command)
            elif isinstance(command, Corner):
                self._set_corner(command.xy)
            else:
                self._carry_out(command)
        sinks.look()

    def _set_corner(self, xy: tuple[int, int]) -> None:
        """Set a corner of a part of the frame at a place of the picture, if it is in a frame."""
        now, count = self._controls.now, len(self._views)
        for view, (x, y, *_) in zip(self._views, cells(now.show.window_wh, count), strict=True):
            share = view.share_of((xy[0] - x, xy[1] - y))
            if share is not None:
                source = view.place + 1 if count > 1 else 0
                self._controls.change(areas=now.areas.with_corner(source, share))
                return

    def _watch_load(self) -> None:
        """Let the picture of a kiosk get simpler where the machine does not keep up."""
        now = self._controls.now
        if self._load is None or now.paused:
            return
        frames = sum(channel.tally.counts()[0] for channel in self._channels)
        drawn = sum(view.drawn for view in self._views)
        step = self._load.update(time.monotonic(), frames, drawn, time.thread_time())
        if step != now.load:
            self._controls.change(load=step)

    def _carry_out(self, command: Transport) -> None:
        match command:
            case Scroll(strips):
                self._scroll(strips)
            case Seek(to_s) if len(self._views) == 1:
                self._views[0].go_to(to_s)
            case Seek(to_s):  # several go to different places, each as far as the first
                self._skip(to_s - self._views[0].position_s)
            case Skip(by_s):
                self._skip(by_s)
            case StepBack():
                for view in self._views:
                    view.step_back()
            case Step():
                for view in self._views:
                    view.step()

    def _skip(self, by_s: float) -> None:
        for view in self._views:
            view.go_to(view.position_s + by_s)

    def _scroll(self, strips: int) -> None:
        last = max(view.last_first for view in self._views)
        self._controls.change(first_strip=scrolled(self._controls.now.first_strip, last, strips))

    def _report(self, outlets: tuple[OutletReport, ...]) -> LiveReport:
        summary = self._meter.summary()
        stages = summary["stage_ms"]
        latency = stages.pop("latency", Quantiles(p50=0.0, p99=0.0))
        sources = tuple(view.report() for view in self._views)
        shown = sum(each.frames_shown for each in sources)
        last = [view.last for view in self._views if view.last is not None]
        asked, searched = sum(each.asked for each in last), sum(each.searched for each in last)
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
            neighbours=sum(view.neighbours for view in self._views),
            searches_skipped=round(1 - searched / asked, 4) if asked else 0.0,
            stage_ms=stages,
            cpu_ms=cpu_ms | {"all": round(all_ms, 3)},
            latency_ms=latency,
            sources=sources,
            outlets=outlets,
            memory=None if self._memory is None else self._memory.report(),
        )


def scrolled(first: int, last: int, strips: int) -> int:
    """Return the strip on top after scrolling from ``first`` so many strips down, at most to ``last``."""
    return min(max(0, min(first, last) + strips), last)
