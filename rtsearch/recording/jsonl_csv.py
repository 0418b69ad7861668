"""Record objects as lines of JSON or CSV, each written to the file at once."""

from __future__ import annotations

import contextlib
import csv
import errno
import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from rtsearch._util.closing import Closing
from rtsearch.recording.objects import Times, json_line, scene_record, text_bytes
from rtsearch.recording.problems import record_error
from rtsearch.types import Frame

__all__ = ["CSV_COLUMNS", "CsvRecorder", "JsonlRecorder"]

CSV_COLUMNS = (
    *("frame", "t_s", "object", "track", "label", "score", "x1", "y1", "x2", "y2", "rank"),
    *("neighbour_row", "neighbour_photo", "neighbour_label"),
    *("neighbour_x1", "neighbour_y1", "neighbour_x2", "neighbour_y2", "neighbour_distance"),
    *("neighbour_folded", "neighbour_t_s", "time"),
)


class _Lines(Closing):
    """File of whole pieces of text; an older file is kept until the first piece is written.

    Raises:
        RecordError: the file cannot be written; pieces written before are kept.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written_bytes = 0
        self._times = Times()
        try:
            # The file is unbuffered: the kernel has a line when write() returns, so a kill does not lose it.
            self._file: IO[bytes] = path.open("ab", buffering=0)
        except OSError as error:
            raise record_error(path, error, kept=False) from None
        self._older = self._file.seekable() and self._file.tell() > 0

    def _append(self, text: str) -> None:
        data = text_bytes(text)
        try:
            if self._older:
                self._file.truncate(0)
                self._older = False
            if self._file.write(data) != len(data):  # the disk had room for a part of the text
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.truncate(self._written_bytes)  # removes an incomplete line
            if not self._written_bytes and self._path.is_file():
                self._path.unlink(missing_ok=True)
            raise record_error(self._path, error, kept=self._written_bytes > 0) from None
        self._written_bytes += len(data)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class JsonlRecorder(_Lines):
    """Recorder of one JSON line ``{"frame", "t_s", "wh", "objects", "shown"}`` per frame.

    ``t_s`` is the presentation time, or for live sources the seconds since the first recorded frame;
    ``shown`` holds the strips of the picture, from which ``replay`` draws it again. The first line has
    ``began``, when its frame was captured; lines of live sources have ``time``, the same of theirs.

    Args:
        path: file to write; an older file is replaced when the first frame comes.
        video: facts about the recorded video file, written into the first line; see ``Recording.video``.
    """

    def __init__(self, path: Path, video: Mapping[str, Any] | None = None) -> None:
        super().__init__(path)
        self._first: dict[str, Any] | None = {} if video is None else {"video": dict(video)}

    def write(
        self, frame: Frame, objects: Sequence[dict[str, Any]], shown: Sequence[dict[str, Any]] | None = None
    ) -> None:
        """Append the line of one frame; see ``Recorder.write``."""
        height, width = frame.bgr.shape[:2]
        line = scene_record(frame.id, self._times.of(frame), (width, height), objects, shown)
        if frame.pts_s is None:
            line["time"] = self._times.wall(frame)
        if self._first is not None:
            line |= {"began": self._times.wall(frame), **self._first}
        self._first = None
        self._append(json_line(line) + "\n")


class CsvRecorder(_Lines):
    """Recorder of one CSV row per neighbour below a row of column names; see ``CSV_COLUMNS``.

    ``object`` counts the objects of a frame from 0, ``rank`` the neighbours of an object from 1: the rows of
    rank 1 are a table of objects. An object without neighbours has one row without a rank, a frame without
    objects has none.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._head = _csv([CSV_COLUMNS])
        if self._older:
            return
        try:
            self._begin()
        except BaseException:
            self.close()
            raise

    def write(
        self, frame: Frame, objects: Sequence[dict[str, Any]], shown: Sequence[dict[str, Any]] | None = None
    ) -> None:
        """Append the rows of one frame, all or none; see ``Recorder.write``."""
        t_s = self._times.of(frame)
        time = self._times.wall(frame) if frame.pts_s is None else ""
        self._begin()
        if objects:
            self._append(_csv([*row, time] for row in _rows(frame.id, t_s, objects)))

    def _begin(self) -> None:
        head, self._head = self._head, ""
        if head:
            self._append(head)


def _rows(number: int, t_s: float, objects: Sequence[dict[str, Any]]) -> Iterator[Sequence[Any]]:
    for i, item in enumerate(objects):
        of_object = (number, t_s, i, item["track"], item["label"], item["score"], *item["xyxy"])
        for rank, near in enumerate(item["neighbours"], 1):
            of_near = (near["row"], near["photo"], near["label"], *near["xyxy"], near["distance"])
            yield (*of_object, rank, *of_near, near["folded"], near.get("t_s", ""))
        if not item["neighbours"]:
            yield (*of_object, *[""] * (len(CSV_COLUMNS) - 1 - len(of_object)))


def _csv(rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
