"""A recorded run shown again, frame by frame, without any detector or search.

    RECORD.jsonl -> record.Recording: which line belongs to which frame -> Replay: its objects and strips
    VIDEO -> the live loop's window, keys, clocks and video

A line belongs to the frame of its number, and its time must be that frame's. Once the record or its viewer
has jumped (a loop, another place in the file), numbers only count frames, and the time alone decides.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rtsearch._util.metrics import Meter
from rtsearch.config import Settings, ShowSettings
from rtsearch.errors import RecordError
from rtsearch.library.index import SearchIndex
from rtsearch.live import Controls, GridChoice, LiveReport, Outputs, Steadied, show_again
from rtsearch.live.room import room_of
from rtsearch.live.tracker import Strips
from rtsearch.memory.recall import FIRST_ROW
from rtsearch.recording import SAME_S, Recording
from rtsearch.render.layout import canvas_of
from rtsearch.send import OutletReport
from rtsearch.sources import Source
from rtsearch.types import WHOLE_IMAGE_LABEL, WHOLE_IMAGE_NAME, Detections, F32Array, Frame, Neighbours

__all__ = ["ReplayReport", "replay"]

_MOST_STRIPS = 100_000


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """The figures of a replay.

    Attributes:
        frames_in: frames that came.
        frames_shown: those that were shown.
        dropped: frames that came too late to be shown.
        bare: frames without a line, shown without objects.
        lines: of the record.
        fps: frames shown per second.
        objects: in all frames shown.
        outlets: the figures of each program that signals were sent to.
    """

    frames_in: int
    frames_shown: int
    dropped: int
    bare: int
    lines: int
    fps: float
    objects: int
    outlets: tuple[OutletReport, ...]


def replay(
    source: Source,
    recording: Recording,
    index: SearchIndex,
    settings: Settings,
    outputs: Outputs,
    *,
    controls: Controls | None = None,
    progress: Callable[[int], None] | None = None,
) -> ReplayReport:
    """Show a recording until its video ends, the user leaves or presses Ctrl-C.

    Args:
        source: the video that was recorded, opened; closed at the end.
        recording: opened.
        index: of the library that the record names rows of.
        settings: sections ``live`` and ``show``.
        outputs: a window, a video.
        controls: changed by the window meanwhile.
        progress: gets the number of frames shown so far.

    Raises:
        RecordError: the record is of another video or library, or is damaged.
    """
    lookup = _RecordLookup(recording, index, source)
    report: LiveReport = show_again(
        source, lookup, index, settings, outputs, controls=controls, progress=progress
    )
    return ReplayReport(
        frames_in=report.frames_in,
        frames_shown=report.frames_shown,
        dropped=report.dropped,
        bare=lookup.bare,
        lines=len(recording),
        fps=report.fps,
        objects=report.objects,
        outlets=report.outlets,
    )


class _RecordLookup:
    """Looks up the objects of frames as they were recorded; belongs to one thread, but for ``bare``."""

    def __init__(self, recording: Recording, index: SearchIndex, source: Source) -> None:
        self._meter = Meter()
        self._recording = recording
        self._index = index
        self._video = source.name
        self._labels = {name: i for i, name in enumerate(index.library.space.class_names)} | {
            WHOLE_IMAGE_NAME: WHOLE_IMAGE_LABEL
        }
        self._strips = Strips()
        self._grid = GridChoice()
        self._missed: dict[int, int] = {}  # track: frames since it was seen
        self._last_s = -math.inf
        self._jumped = False
        self._refuse_longer(source)
        self._refuse_other(source)

    @property
    def bare(self) -> int:
        """Return the number of frames so far without a line; for any thread."""
        return self._meter.summary()["counts"].get("bare", 0)

    def __call__(self, frame: Frame, show: ShowSettings, *, jumped: bool) -> Steadied:
        """See ``FrameLookup``."""
        self._jumped = self._jumped or jumped
        i = self._line_of(frame)
        if i is None:
            self._meter.count("bare")
            return self._steadied(_detections([], {}), [], (), [], self._grid_for(0, frame, show))
        line = self._recording.line(i)
        try:
            return self._objects((i, line["objects"], line.get("shown")), frame, show)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise self._recording.problem(i, f"it is damaged ({type(error).__name__}: {error})") from None

    def _line_of(self, frame: Frame) -> int | None:
        recording, t_s = self._recording, frame.pts_s if frame.pts_s is not None else 0.0
        self._jumped = self._jumped or t_s <= self._last_s
        self._last_s = t_s
        i = recording.of_number(frame.id)
        if self._jumped or i is None or i >= recording.straight:
            return recording.of_time(t_s)
        if abs(recording.t_s[i] - t_s) > SAME_S:
            raise recording.problem(
                i,
                f"frame {frame.id} is at {recording.t_s[i]:.3f} s, but at {t_s:.3f} s of {self._video}; "
                "the record is of another video",
            )
        return i

    def _refuse_longer(self, source: Source) -> None:
        """Refuse a record that is clearly longer than its video, whose header may promise a bit too much."""
        if source.frames is None or source.fps is None:
            return
        lasts_s, until_s = source.frames / source.fps, float(self._recording.t_s.max())
        if until_s > 1.05 * lasts_s + 1:
            raise RecordError(
                f"{self._recording.path} goes on until {until_s:.1f} s, {source.name} only until "
                f"{lasts_s:.1f} s; the record is of another video"
            )

    def _refuse_other(self, source: Source) -> None:
        """Refuse a video other than the record says it is of; a copy may have another name."""
        said = self._recording.video
        width, height = source.wh
        same = said.get("frames") == source.frames and said.get("wh") == [width, height]
        if said and source.frames and not same:
            raise RecordError(
                f"{self._recording.path} is of {said.get('name')}, {said.get('frames')} frames; "
                f"{source.name} has {source.frames}, of {width}x{height} px"
            )

    def _objects(
        self,
        recorded: tuple[int, Sequence[Mapping[str, Any]], Sequence[Mapping[str, Any]] | None],
        frame: Frame,
        show: ShowSettings,
    ) -> Steadied:
        """Return the objects of a line: its number, its objects, and the strips shown where it has them."""
        i, objects, shown = _of_library(*recorded)
        found = _detections(objects, self._labels)
        self._check_boxes(i, found.xyxy, frame)
        self._check_rows(i, objects)
        if shown is None:  # a record that was made elsewhere
            grid = self._grid_for(len(found), frame, show)
            strips = self._strips.place(found.track.tolist(), grid, frame.at_s)
            near = [[hit["row"] for hit in item["neighbours"]] for item in objects]
            return self._steadied(found, near, strips, objects, grid)
        if [item["track"] for item in shown[: len(objects)]] != found.track.tolist():
            raise self._recording.problem(i, "the strips shown are not those of its objects")
        # A strip is named by what its track was called most, not by what one frame says.
        named = [{**item, "label": strip["label"]} for item, strip in zip(objects, shown, strict=False)]
        every = _detections([*named, *shown[len(objects) :]], self._labels)
        self._check_boxes(i, every.xyxy[len(objects) :], frame)
        near = [item["rows"] for item in shown]
        if any(not 0 <= row < len(self._index) for rows in near for row in rows):
            raise ValueError("a strip shows what the library does not hold")
        near = [rows[: canvas_of(show).crops] for rows in near]
        grid = self._grid_for(len(every), frame, show)
        return self._steadied(every, near, [item["strip"] for item in shown], objects, grid)

    def _grid_for(self, objects: int, frame: Frame, show: ShowSettings) -> int:
        """Return the number of strips of the grid, as the run chose it."""
        room = room_of(canvas_of(show), frame.bgr.shape[1::-1])
        return self._grid.keep(objects, *room.grid, frame.at_s, room.still)

    def _check_boxes(self, i: int, xyxy: F32Array, frame: Frame) -> None:
        height, width = frame.bgr.shape[:2]
        if len(xyxy) and (xyxy.min() < -1 or (xyxy[:, 2:] > np.array([width, height]) + 1).any()):
            raise self._recording.problem(
                i, f"an object lies outside of the {width}x{height} frame; the record is of another video"
            )

    def _check_rows(self, i: int, objects: Sequence[Mapping[str, Any]]) -> None:
        """Refuse a library that numbers its objects in another way than it did."""
        for item in objects:
            for hit in item["neighbours"]:
                row, photo = int(hit["row"]), hit["photo"]
                if not 0 <= row < len(self._index) or self._index.photo(row) != photo:
                    raise self._recording.problem(
                        i,
                        f"object {row} of {self._index.library.folder} is not of {photo}; the record was "
                        "made with another library, or before it was changed",
                    )

    def _steadied(
        self,
        every: Detections,
        near: Sequence[Sequence[int]],
        strips: Sequence[int],
        objects: Sequence[Mapping[str, Any]],
        grid: int,
    ) -> Steadied:
        """Return the objects of a frame with their strips; those after the recorded ones are held."""
        seen = len(objects)
        if any(type(strip) is not int or not 0 <= strip < _MOST_STRIPS for strip in strips):
            raise ValueError("there is no such strip")
        row = np.full((len(every), max(map(len, near), default=0)), -1, np.int32)
        distance = np.full(row.shape, np.inf, np.float32)
        for i, rows in enumerate(near):
            known = _distances(objects[i]) if i < seen else {}
            row[i, : len(rows)] = rows
            distance[i, : len(rows)] = [known.get(one, np.inf) for one in rows]
        self._missed = {track: self._missed.get(track, 0) + 1 for track in every.track[seen:].tolist()}
        return Steadied(
            detections=every,
            neighbours=Neighbours(row, distance),
            strips=tuple(strips),
            missed=(0,) * seen + tuple(self._missed[track] for track in every.track[seen:].tolist()),
            step=np.zeros((len(every), 4), np.float32),
            rows=grid,
        )


def _of_library(
    i: int, objects: Sequence[Mapping[str, Any]], shown: Sequence[Mapping[str, Any]] | None
) -> tuple[int, Sequence[Mapping[str, Any]], Sequence[Mapping[str, Any]] | None]:
    """Return a line without what a memory held when it was recorded: only that run knew its rows."""
    objects = [
        {**item, "neighbours": [hit for hit in item["neighbours"] if hit["row"] < FIRST_ROW]}
        for item in objects
    ]
    if shown is not None:
        shown = [{**item, "rows": [row for row in item["rows"] if row < FIRST_ROW]} for item in shown]
    return i, objects, shown


def _distances(item: Mapping[str, Any]) -> dict[int, float]:
    """Return the distances that a record holds of an object's neighbours, by row."""
    known = {hit["row"]: hit.get("distance") for hit in item["neighbours"]}
    return {row: float(far) for row, far in known.items() if far is not None}


def _detections(objects: Sequence[Mapping[str, Any]], labels: Mapping[str, int]) -> Detections:
    with np.errstate(over="ignore"):  # what overflows becomes infinite and is refused below
        xyxy = np.array([item["xyxy"] for item in objects], np.float32).reshape(-1, 4)
        score = np.array([item["score"] for item in objects], np.float32)
    if not (np.isfinite(xyxy).all() and np.isfinite(score).all()) or len(xyxy) != len(objects):
        raise ValueError("a box or score is no number")
    if unknown := {item["label"] for item in objects} - labels.keys():
        raise ValueError(f"the library knows no {unknown.pop()}")
    label = np.array([labels[item["label"]] for item in objects], np.int32)
    track = np.array([item["track"] for item in objects], np.int64)
    return Detections(xyxy, score, label, np.zeros((len(objects), 0), np.float32), track)
