"""The outputs of a run: the main thread draws a result, shows it, writes it down."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol, Self

from rtsearch._util.metrics import Meter
from rtsearch.config import VideoSettings
from rtsearch.live.controls import Back, Click, Inspection, More
from rtsearch.live.inspector import Inspector
from rtsearch.live.live_frame import LiveFrame
from rtsearch.live.mosaic import Mosaic, cells
from rtsearch.live.shared import Shared
from rtsearch.live.view import View
from rtsearch.recording import (
    Recorder,
    SplitRecorder,
    Times,
    VideoRecorder,
    object_records,
    open_record,
    shown_records,
)
from rtsearch.render.boxes import boxed_frame
from rtsearch.render.plan import Item
from rtsearch.render.theme import theme_of
from rtsearch.send import Address, Outlets, SentScene
from rtsearch.sources import Source
from rtsearch.types import Frame, Neighbours, Scene, U8Array

__all__ = ["Display", "OutputSinks", "Outputs", "SceneSink", "VideoStyle"]

_DEFAULT_FPS = 30.0
VideoStyle = Literal["picture", "frame"]


class Display(Protocol):
    """Shows pictures and takes keys; the window is one."""

    def show(self, scene: Scene, picture: U8Array) -> None:
        """Show the picture of a scene, which stays as it is while it is referred to."""
        ...

    def pump(self) -> bool:
        """Look after keys and mouse; False once the user wants to leave."""
        ...


class SceneSink(Protocol):
    """Takes scenes as they are shown, not drawn, from the main thread; it never makes it wait."""

    def begin(self, views: Sequence[View], meter: Meter, /) -> None:
        """Take over the sources of a run, and what measures it."""
        ...

    def show(self, place: int, scene: Scene, /) -> None:
        """Take the newest scene of a source."""
        ...


@dataclass(frozen=True, slots=True)
class Outputs:
    """Outputs that are wanted; any of them may be absent.

    Attributes:
        screen: a window.
        video: the picture as MP4.
        style: of the video: the composed ``picture``, or the ``frame`` of one source at its own size, with
            boxes and the numbers of tracks.
        split_s: length of the pieces that the video is written in; None for one file.
        crf: constant rate factor of the video, 0 to 51.
        records: objects and neighbours; each name's ending says how (see ``recording.open_record``).
        scenes: gets every scene that is shown.
        stays: the last picture stays at the end of the sources, until the user leaves.
        send: addresses of other programs. Those that get objects get one source's.
    """

    screen: Display | None = None
    video: Path | None = None
    records: tuple[Path, ...] = ()
    style: VideoStyle = "picture"
    split_s: float | None = None
    crf: int = VideoSettings().crf
    scenes: SceneSink | None = None
    stays: bool = False
    send: tuple[Address, ...] = ()

    @property
    def composes(self) -> bool:
        """The composed picture is wanted."""
        in_video = self.video is not None and self.style == "picture"
        return self.screen is not None or in_video or any(address.is_picture for address in self.send)

    @property
    def draws(self) -> bool:
        """A picture is wanted."""
        return self.composes or self.video is not None

    @property
    def shows(self) -> bool:
        """A picture or its scene is wanted."""
        return self.draws or self.scenes is not None


class OutputSinks:
    """Opens the outputs of a run; leaving the context finishes their files.

    Args:
        views: sources that are shown.
        shared: by them.
        outputs: where they are shown.
        max_photo_mp: largest size of a photo of the library that is shown, megapixels.

    Attributes:
        outlets: other programs that get them.

    Raises:
        RecordError: a file cannot be written.
    """

    def __init__(
        self, views: Sequence[View], shared: Shared, outputs: Outputs, max_photo_mp: float = inf
    ) -> None:
        self._views = views
        self._shared = shared
        self._outputs = outputs
        self._mosaic = Mosaic(len(views), theme_of(shared.controls.now.show.theme).gap)
        self._clock_s = 0.0  # of the recorded video, where several sources share it
        self._video: VideoRecorder | SplitRecorder | None = None
        self._records: list[Recorder] = []
        if outputs.scenes is not None:
            outputs.scenes.begin(views, shared.meter)
        self._times = Times()
        self._sent: SentScene | None = None  # the scene that was sent last
        self._inspector = Inspector(shared.crops, shared.search, max_photo_mp)
        self._composed: tuple[Scene, U8Array] | None = None  # what the screen shows live
        leading = views[0].source  # its sound is that of the video
        with contextlib.ExitStack() as stack:
            if outputs.video is not None:
                fps = max(view.source.fps or _DEFAULT_FPS for view in views)
                self._video = _open_video(outputs, outputs.video, fps, leading.sound)
                stack.enter_context(self._video)
            about = _about(leading)
            self._records = [stack.enter_context(open_record(path, about)) for path in outputs.records]
            self.outlets = stack.enter_context(Outlets(outputs.send, shared.halt.set))
            stack.enter_context(self._inspector)
            self._files = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._files.__exit__(kind, error, trace)

    def close(self) -> None:
        """Finish the files now."""
        self._files.close()

    def finish(self, view: View, result: LiveFrame) -> None:
        """Draw, show and record one frame."""
        is_newest = view.take(result)
        if is_newest and self.outlets.takes_scenes:
            with self._shared.meter.stage("send"):
                self._send(result)
        if is_newest and self._outputs.shows:
            with self._shared.meter.stage("draw"):
                scene = view.scene(result)
            self._put(view, scene)
        if result.own is not None:
            with self._shared.meter.stage("record"):
                self._write(result, result.own)
        self._shared.meter.add("latency", time.monotonic() - result.frame.captured_s)
        self._shared.meter.tick()

    def renew(self, view: View, result: LiveFrame) -> None:
        """Show and send a frame that stays with what was found anew in it; it is not recorded again."""
        view.take_again(result)
        if self.outlets.takes_scenes:
            self._send(result)
        if self._outputs.shows:
            self._put(view, view.scene(result), keep=False)

    def between(self) -> None:
        """Show, while no result is there, the newest frames where detection is behind, or crops that came."""
        self._send_lost()
        if not self._outputs.shows:
            return
        for view in self._views:
            guess = view.guess()
            if guess is not None:
                scene, warning = guess
                self._put(view, scene, warning)
            else:
                self._better_of(view)

    def better(self) -> None:
        """Show again what can be drawn better."""
        for view in self._views:
            self._better_of(view)

    def inspect(self, command: Inspection) -> None:
        """Look at a crop more closely, or go back."""
        match command:
            case Click(xy):
                self._inspector.click(xy, self._items(), self._views[0].index)
            case More():
                self._inspector.more()
            case Back():
                self._inspector.back()
        self._shared.controls.change(looks=self._inspector.looks)
        if self._inspector.picture is None:
            self._show_again(None)

    def look(self) -> None:
        """Show what was drawn meanwhile of what is looked at."""
        now = self._shared.controls.now
        if self._inspector.update(self._shared.live_index.of(now), now.show):
            self._show_again(self._inspector.picture)

    def _items(self) -> list[Item]:
        """Return the crops of the library in the live picture."""
        window_wh = self._shared.controls.now.show.window_wh
        return [
            item.moved(x, y)
            for view, (x, y, *_) in zip(self._views, cells(window_wh, len(self._views)), strict=True)
            for item in view.items
            if item.row < len(view.index)
        ]

    def _show_again(self, picture: U8Array | None) -> None:
        """Show a picture on the screen; None shows the live one."""
        if self._outputs.screen is not None and self._composed is not None:
            scene, live = self._composed
            self._outputs.screen.show(scene, live if picture is None else picture)

    def _better_of(self, view: View) -> None:
        if self._outputs.screen is None:
            return
        scene = view.better()
        if scene is not None:
            self._put(view, scene, keep=False)

    def _write(self, result: LiveFrame, own: Neighbours) -> None:
        names, shown = self._shared.class_names, result.objects.once
        objects = object_records(result.detections, names, own, result.index or self._shared.index)
        seen = len(result.detections)
        strips = shown_records(shown.detections, names, shown.strips, shown.neighbours.row, seen)
        for record in self._records:
            record.write(result.frame, objects, strips)

    def _send(self, result: LiveFrame) -> None:
        """Send the objects of a frame as they are shown."""
        objects, frame = result.objects.once, result.frame
        height, width = frame.bgr.shape[:2]
        self._sent = SentScene(
            number=frame.id,
            t_s=self._times.of(frame),
            at_s=frame.captured_s,
            wh=(width, height),
            detections=objects.detections,
            neighbours=objects.neighbours,
            strips=objects.strips,
            seen=len(result.detections),
            results=self._shared.controls.now.show.results,
            class_names=self._shared.class_names,
            library=result.index or self._shared.index,
        )
        self.outlets.put_scene(self._sent)

    def _send_lost(self) -> None:
        """Send, once, that no objects are seen where the source is lost."""
        if self._sent is not None and self._sent.tracks and self._views[0].lost:
            self._sent = self._sent.without_objects()
            self.outlets.put_scene(self._sent)

    def _put(self, view: View, scene: Scene, warning: str = "", *, keep: bool = True) -> None:
        if self._outputs.scenes is not None:
            self._outputs.scenes.show(view.place, scene)
        if self._outputs.composes:
            with self._shared.meter.stage("draw"):
                scene, picture = view.draw(scene, warning)
                picture = self._mosaic.put(view.place, picture, self._shared.controls.now.show.window_wh)
                self.outlets.put_picture(picture)
            if self._outputs.screen is not None:
                self._composed = scene, picture
                if self._inspector.picture is None:
                    with self._shared.meter.stage("show"):
                        self._outputs.screen.show(scene, picture)
        if keep and self._video is not None:
            with self._shared.meter.stage("video"):
                if self._outputs.style == "frame":
                    picture = boxed_frame(scene, self._shared.controls.now.show)
                self._video.write(picture, self._time_s(scene.frame))

    def _time_s(self, frame: Frame) -> float:
        """Return when a picture is in the recorded video, s."""
        if len(self._views) == 1:
            return frame.at_s
        # Several sources have timelines of their own: by the clock they share, or each from its beginning.
        live = all(view.source.live for view in self._views)
        at_s = frame.captured_s if live else frame.pts_s or 0.0
        self._clock_s = max(self._clock_s, at_s)
        return self._clock_s


def _open_video(
    outputs: Outputs, path: Path, fps: float, sound: Path | None
) -> VideoRecorder | SplitRecorder:
    def open_one(piece: Path) -> VideoRecorder:
        return VideoRecorder(piece, fps, sound, outputs.crf)

    return open_one(path) if outputs.split_s is None else SplitRecorder(path, outputs.split_s, open_one)


def _about(source: Source) -> dict[str, Any] | None:
    """Return what a record says of the file that it is of; None of a source that is no file."""
    if source.frames is None or source.fps is None or source.slides:
        return None
    name = Path(source.name).name
    return {"name": name, "frames": source.frames, "wh": list(source.wh), "fps": round(source.fps, 3)}
