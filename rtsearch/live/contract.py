"""What the live loop is given, and what it says at the end."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rtsearch._util.metrics import Quantiles
from rtsearch.config import DetectSettings, ShowSettings
from rtsearch.types import Scene, U8Array

__all__ = ["Controls", "LiveReport", "Outputs", "Screen", "SourceReport"]


@dataclass(slots=True)
class Controls:
    """What can be changed while a source plays; read by the stages once per frame.

    Attributes:
        detect: thresholds.
        show: layout and number of results.
        paused: nothing new is shown but what is asked for.
        loop: video files begin again at their end.
        mirror: cameras and streams are shown, searched and recorded with left and right changed.
        position_s: presentation time of the picture shown last, from the beginning of the source.
        frame_s: time from one picture to the next.
        length_s: of the source, or None where it has no end.
        target_s: presentation time that was last gone to, from the beginning of the source.
        gone_s: how far the user has gone in all; so far each of several sources goes from its own place.
        steps, seeks: how often the user has asked for the next picture, and for another place.
        superseded: steps that came before the last other place, and are not to be shown any more.
        first_strip: that is shown, where there are more than fit.
        last_first: the highest that brings others into sight.
        sources: in the picture, each in a cell of its own.
        detects: False where objects are known already, so that thresholds do nothing.
    """

    detect: DetectSettings
    show: ShowSettings
    paused: bool = False
    loop: bool = False
    mirror: bool = False
    position_s: float = 0.0
    frame_s: float = 0.04
    length_s: float | None = None
    target_s: float = 0.0
    gone_s: float = 0.0
    steps: int = 0
    seeks: int = 0
    superseded: int = 0
    first_strip: int = 0
    last_first: int = 0
    sources: int = 1
    detects: bool = True

    def step(self) -> None:
        """Pause, and show the next picture."""
        self.paused = True
        self.steps += 1

    def step_back(self) -> None:
        """Pause, and show the picture before."""
        self.paused = True
        before_s = self.position_s - self.frame_s
        self.seek(before_s - self.frame_s / 2)  # the first picture at or after that
        self.position_s = max(0.0, before_s)

    def step_exactly(self) -> None:
        """In place of a step that would pass over pictures, which were left out because they came late."""
        self.seek(self.position_s + self.frame_s / 2)

    def seek(self, seconds: float) -> None:
        """Go on at a presentation time; in a pause, show the picture there."""
        if self.length_s is not None:
            seconds = min(seconds, self.length_s - 1.5 * self.frame_s)  # the last picture comes after
        self.gone_s += seconds - self.position_s
        self.target_s = self.position_s = max(0.0, seconds)
        self.superseded = self.steps
        self.steps += self.paused
        self.seeks += 1

    def scroll(self, strips: int) -> None:
        """Show strips further down, or further up."""
        self.first_strip = max(0, min(self.first_strip, self.last_first) + strips)
        self.first_strip = min(self.first_strip, self.last_first)


class Screen(Protocol):
    """What shows pictures and takes keys; the window is one."""

    def show(self, scene: Scene, picture: U8Array) -> None:
        """Show the picture of a scene; it is drawn over after the call."""
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
        records: objects and neighbours; each name's ending says how (see ``record.open_record``).
    """

    screen: Screen | None = None
    video: Path | None = None
    records: tuple[Path, ...] = ()

    @property
    def draws(self) -> bool:
        """Is a picture wanted?"""
        return self.screen is not None or self.video is not None


@dataclass(frozen=True, slots=True)
class SourceReport:
    """The figures of one source; see LiveReport."""

    name: str
    frames_in: int
    frames_shown: int
    frames_moved: int
    dropped: int
    objects: int


@dataclass(frozen=True, slots=True)
class LiveReport:
    """The figures of a run; see docs/performance.md for what each time covers.

    Attributes:
        frames_in: frames that came.
        frames_shown: those that were shown with objects of their own.
        frames_moved: others, shown with the last objects moved along because detection was behind.
        dropped: frames that got no detection.
        fps: frames shown per second.
        objects: in all frames shown.
        neighbours: of these objects.
        searches_skipped: share of the objects whose neighbours were proved unchanged without a search.
        stage_ms: time of each stage.
        cpu_ms: CPU time per frame shown, by stage; ``all`` is that of the process, the network's threads
            included.
        latency_ms: from a frame's capture to the end of its showing.
        sources: the figures of each source.
    """

    frames_in: int
    frames_shown: int
    frames_moved: int
    dropped: int
    fps: float
    objects: int
    neighbours: int
    searches_skipped: float
    stage_ms: dict[str, Quantiles]
    cpu_ms: dict[str, float]
    latency_ms: Quantiles
    sources: tuple[SourceReport, ...]
