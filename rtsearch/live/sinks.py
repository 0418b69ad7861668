"""What the main thread does with a result: draw it, show it, write it down."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

from rtsearch.live.channel import Channel, Result, Shared
from rtsearch.live.contract import Outputs
from rtsearch.live.mosaic import Grid
from rtsearch.recording import Recorder, VideoRecorder, object_records, open_record, shown_records
from rtsearch.sources import Source
from rtsearch.types import Frame, Neighbours, Scene

__all__ = ["Showing"]

_DEFAULT_FPS = 30.0


class Showing(contextlib.ExitStack):
    """The outputs of a run, open; leaving the context finishes their files.

    Args:
        channels: that are shown.
        shared: by the channels.
        outputs: where they are shown.

    Raises:
        RecordError: a file cannot be written.
    """

    def __init__(self, channels: list[Channel], shared: Shared, outputs: Outputs) -> None:
        super().__init__()
        self._channels = channels
        self._shared = shared
        self._outputs = outputs
        self._grid = Grid(len(channels))
        self._clock_s = 0.0  # of the recorded video, where several sources share it
        self._video: VideoRecorder | None = None
        self._records: list[Recorder] = []
        if outputs.video is not None:
            fps = max(channel.source.fps or _DEFAULT_FPS for channel in channels)
            sound = self._leading().source.sound
            self._video = self.enter_context(VideoRecorder(outputs.video, fps, sound))
        with contextlib.ExitStack() as undo:
            undo.push(self)
            about = _about(self._leading().source)
            self._records = [self.enter_context(open_record(path, about)) for path in outputs.records]
            undo.pop_all()

    def finish(self, channel: Channel, result: Result) -> None:
        """Draw, show and record one frame."""
        channel.take(result)
        if self._outputs.draws and channel.is_newest(result.frame):
            with self._shared.meter.stage("draw"):
                scene = channel.scene(result)
            self._put(channel, scene)
        if result.own is not None:
            with self._shared.meter.stage("record"):
                self._write(result, result.own)
        self._shared.meter.add("latency", time.monotonic() - result.frame.captured_s)
        self._shared.meter.tick()

    def _write(self, result: Result, own: Neighbours) -> None:
        names, shown = self._shared.class_names, result.objects
        objects = object_records(result.detections, names, own, self._shared.index)
        seen = len(result.detections)
        strips = shown_records(shown.detections, names, shown.strips, shown.neighbours.row, seen)
        for record in self._records:
            record.write(result.frame, objects, strips)

    def _put(self, channel: Channel, scene: Scene, warning: str = "", *, keep: bool = True) -> None:
        with self._shared.meter.stage("draw"):
            scene, picture = channel.draw(scene, warning)
            self._shared.controls.last_first = max(each.last_first for each in self._channels)
            picture = self._grid.put(channel.place, picture, self._shared.controls.show.window_wh)
        if self._outputs.screen is not None:
            with self._shared.meter.stage("show"):
                self._outputs.screen.show(scene, picture)
        if keep and self._video is not None:
            with self._shared.meter.stage("video"):
                self._video.write(picture, self._time_s(scene.frame))

    def _time_s(self, frame: Frame) -> float:
        """When a picture is in the recorded video."""
        if len(self._channels) == 1:
            return frame.at_s
        # Several sources have timelines of their own: by the clock they share, or each from its beginning.
        live = all(channel.source.live for channel in self._channels)
        at_s = frame.captured_s if live else frame.pts_s or 0.0
        self._clock_s = max(self._clock_s, at_s)
        return self._clock_s

    def _leading(self) -> Channel:
        """The first source, whose sound the recorded video has."""
        return self._channels[0]

    def between(self) -> None:
        """While no result is there: the newest frames where detection is behind, or crops that have come."""
        if not self._outputs.draws:
            return
        for channel in self._channels:
            between = channel.between()
            if between is not None:
                scene, warning = between
                self._put(channel, scene, warning)
            else:
                self._better_of(channel)

    def better(self) -> None:
        for channel in self._channels:
            self._better_of(channel)

    def _better_of(self, channel: Channel) -> None:
        if self._outputs.screen is None:
            return
        scene = channel.better()
        if scene is not None:
            self._put(channel, scene, keep=False)


def _about(source: Source) -> dict[str, Any] | None:
    """What a record says of the file that it is of."""
    if source.frames is None or source.fps is None or source.slides:
        return None
    name = Path(source.name).name
    return {"name": name, "frames": source.frames, "wh": list(source.wh), "fps": round(source.fps, 3)}
