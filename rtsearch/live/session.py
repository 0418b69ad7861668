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
import queue
import threading
import time
from collections.abc import Callable, Sequence

from rtsearch._util.background import BackgroundIterator
from rtsearch._util.metrics import Meter, Quantiles
from rtsearch._util.signals import stop_on_signal
from rtsearch.config import Settings
from rtsearch.images.decode import quiet_decoders
from rtsearch.library.index import SearchIndex
from rtsearch.library.thumbnails import ThumbCache
from rtsearch.live.channel import Channel, Recall, Shared
from rtsearch.live.contract import Controls, LiveReport, Outputs
from rtsearch.live.sinks import Showing
from rtsearch.live.stages import Found, Stages
from rtsearch.pipeline import Pipeline
from rtsearch.sources import Source

__all__ = ["play", "show_again"]

_PUMP_S = 0.02  # how long the main thread waits for a frame before it looks after the window again
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
    controls = controls or Controls(settings.detect, settings.show, mirror=settings.live.mirror)
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
        self._controls = controls
        controls.sources = len(sources)
        self._outputs = outputs
        self._meter = Meter()
        self._halt = threading.Event()
        self._cache = ThumbCache(index.thumb_places, settings.live.cache_mb << 20)
        names = index.library.space.class_names if callable(sees) else sees.class_names
        self._shared = Shared(
            index, settings.search, controls, self._cache, self._meter, names, len(sources), self._halt
        )
        self._channels = [Channel(place, source, self._shared) for place, source in enumerate(sources)]
        self._cpu_s = time.process_time()

    def run(self, progress: Callable[[int], None]) -> LiveReport:
        """Start the stages, show what comes out of the last, stop them."""
        stages = Stages(self._channels, self._shared, self._outputs)
        with contextlib.ExitStack() as stack:
            stack.enter_context(stop_on_signal(self._halt))  # until all is in order again
            showing = stack.enter_context(Showing(self._channels, self._shared, self._outputs))
            stack.callback(self._cache.close)
            stack.callback(stages.stop)
            stack.enter_context(quiet_decoders())
            sees = self._sees
            results = stages.replay(sees) if callable(sees) else stages.play(sees.backend)
            self._show(results, showing, progress)
        return self._report()

    def _show(
        self, results: BackgroundIterator[Found], showing: Showing, progress: Callable[[int], None]
    ) -> None:
        """The main thread's loop."""
        screen = self._outputs.screen
        while not results.ended:
            if screen is not None and not screen.pump():
                return
            if self._controls.paused and not any(channel.step_is_due for channel in self._channels):
                self._halt.wait(_PUMP_S)
                showing.better()
                continue
            behind = any(channel.behind for channel in self._channels)
            try:
                channel, result = results.take(_BEHIND_PUMP_S if behind else _PUMP_S)
            except queue.Empty:
                showing.between()
                continue
            if not channel.is_stale(result) and channel.passes_over(result):
                self._controls.step_exactly()
            if channel.is_stale(result):
                channel.forget(result)
                continue
            showing.finish(channel, result)
            progress(sum(each.shown for each in self._channels))
        # The last photo stays until the user leaves; a window that closes by itself shows nothing.
        slides = any(channel.source.slides for channel in self._channels)
        while screen is not None and slides and not self._halt.is_set() and screen.pump():
            self._halt.wait(_PUMP_S)
            showing.better()

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
