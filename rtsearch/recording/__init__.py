"""Record a run: its objects frame by frame, and the composed picture as a video.

object_records(...) -> open_record(path): .jsonl, .csv   written line by line, so a kill loses no line
                                          .parquet       written in groups of rows, renamed at the end
composed picture    -> VideoRecorder      .mp4 with the sound of the played file, renamed at the end
.jsonl              -> Recording          finds lines by frame or time
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from rtsearch.errors import RecordError
from rtsearch.recording.existing import left_parts, refuse_existing
from rtsearch.recording.jsonl_csv import CSV_COLUMNS, CsvRecorder, JsonlRecorder
from rtsearch.recording.mp4 import VideoRecorder
from rtsearch.recording.objects import (
    EventKind,
    Hits,
    Times,
    bare_records,
    event_record,
    json_line,
    neighbour_records,
    object_records,
    scene_record,
    shown_records,
    text_bytes,
)
from rtsearch.recording.picture import require_picture, save_picture
from rtsearch.recording.reader import SAME_S, Recording
from rtsearch.recording.split import SplitRecorder, piece_paths
from rtsearch.types import Frame

__all__ = [
    "CSV_COLUMNS",
    "SAME_S",
    "CsvRecorder",
    "EventKind",
    "Hits",
    "JsonlRecorder",
    "Recorder",
    "Recording",
    "SplitRecorder",
    "Times",
    "VideoRecorder",
    "bare_records",
    "event_record",
    "json_line",
    "left_parts",
    "neighbour_records",
    "object_records",
    "open_record",
    "piece_paths",
    "refuse_existing",
    "require_picture",
    "save_picture",
    "scene_record",
    "shown_records",
    "text_bytes",
]


class Recorder(Protocol):
    """Recorder of the objects of a run; leaving its context finishes the file."""

    def write(
        self, frame: Frame, objects: Sequence[dict[str, Any]], shown: Sequence[dict[str, Any]] | None = None
    ) -> None:
        """Append one frame.

        Args:
            frame: the frame.
            objects: its objects, made by ``object_records``.
            shown: the strips of its picture, made by ``shown_records``.

        Raises:
            RecordError: the file cannot be written any further.
        """
        ...

    def close(self) -> None:
        """Finish the file."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_record(path: Path, video: Mapping[str, Any] | None = None) -> Recorder:
    """Open a recorder for the suffix of a path.

    Args:
        path: file to write; an older file is replaced when the first frame comes, or later.
        video: facts about the recorded video file; see ``Recording.video``.

    Raises:
        RecordError: the suffix is not supported, or the file cannot be written.
    """
    kind = path.suffix.lower()
    if kind == ".jsonl":
        return JsonlRecorder(path, video)
    if kind == ".csv":
        return CsvRecorder(path)
    if kind == ".parquet":
        from rtsearch.recording.parquet import (
            ParquetRecorder,  # imported here, as pyarrow loads slowly
        )

        return ParquetRecorder(path)
    raise RecordError(f"{path}: objects are recorded as .jsonl, .csv or .parquet; choose such a name")
