"""Record objects as a Parquet table, one row per object, with lists of neighbours.

Rows are written in groups during the run, under a temporary name; the footer is written and the file renamed
when the run ends, also by Ctrl-C or an error. Without frames an older file is kept. A killed process leaves
no table; record .jsonl as well where nothing may be lost.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rtsearch._util.atomic import publish
from rtsearch.errors import RecordError
from rtsearch.recording.objects import Times, text_bytes
from rtsearch.recording.problems import FinishesOnExit, record_error, require_place, require_room
from rtsearch.types import Frame

__all__ = ["SCHEMA", "ParquetRecorder"]

_GROUP_ROWS = (
    256  # with 16 neighbours a row, a group takes 6 ms to write; 1024 rows take 22 ms, which delays frames
)
_BOX = pa.list_(pa.float32(), 4)

SCHEMA = pa.schema(
    [
        ("frame", pa.int64()),
        ("t_s", pa.float64()),
        ("object", pa.int32()),
        ("track", pa.int64()),
        ("label", pa.string()),
        ("score", pa.float32()),
        *((side, pa.float32()) for side in ("x1", "y1", "x2", "y2")),
        ("neighbour_row", pa.list_(pa.int32())),
        ("neighbour_photo", pa.list_(pa.string())),
        ("neighbour_label", pa.list_(pa.string())),
        ("neighbour_xyxy", pa.list_(_BOX)),
        ("neighbour_distance", pa.list_(pa.float32())),
        ("neighbour_folded", pa.list_(pa.int32())),
        ("neighbour_t_s", pa.list_(pa.float64())),
        ("time", pa.string()),
    ]
)
"""Columns of the table; ``object`` counts the objects of a frame from 0, lists of a row have one length."""


class ParquetRecorder(FinishesOnExit):
    """Recorder of a Parquet table.

    Raises:
        RecordError: the file cannot be written, or the disk is nearly full.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._partial = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
        self._times = Times()
        self._columns: dict[str, list[Any]] = {name: [] for name in SCHEMA.names}
        require_place(path)
        self._frames = 0
        self._groups = 0
        self._failed = False
        self._closed = False
        self._writer: pq.ParquetWriter | None = None
        self._files = contextlib.ExitStack()

    def write(
        self, frame: Frame, objects: Sequence[dict[str, Any]], shown: Sequence[dict[str, Any]] | None = None
    ) -> None:
        """Append the rows of one frame; see ``Recorder.write``."""
        t_s = self._times.of(frame)
        time = self._times.wall(frame) if frame.pts_s is None else None
        self._frames += 1
        for i, item in enumerate(objects):
            near = item["neighbours"]
            of_object = (frame.id, t_s, i, item["track"], item["label"], item["score"], *item["xyxy"])
            lists = (
                [hit["row"] for hit in near],
                [text_bytes(hit["photo"]).decode() for hit in near],
                [hit["label"] for hit in near],
                [hit["xyxy"] for hit in near],
                [hit["distance"] for hit in near],
                [hit["folded"] for hit in near],
                [hit.get("t_s") for hit in near],
            )
            for column, value in zip(self._columns.values(), (*of_object, *lists, time), strict=True):
                column.append(value)
        if len(self._columns["frame"]) >= _GROUP_ROWS:
            self._flush()

    def close(self) -> None:
        """Write the remaining rows and rename the file to its own name."""
        closed, self._closed = self._closed, True
        if closed:
            return
        if not self._frames and self._path.exists():
            return
        writer = self._open()
        try:
            self._finish(writer)
        finally:
            with contextlib.suppress(OSError):  # the first error of writing has been raised before
                self._files.close()

    def _finish(self, writer: pq.ParquetWriter) -> None:
        failure = None
        try:
            self._flush()
        except RecordError as error:
            failure = error  # the groups written before are still a valid table
        if self._failed and not self._groups:
            with contextlib.suppress(OSError):
                writer.close()
            self._partial.unlink(missing_ok=True)
            if failure is not None:
                raise failure
            return
        try:
            writer.close()
            self._files.close()
            publish(self._partial, self._path)
        except OSError as error:
            raise record_error(self._path, error, kept=False) from None
        if failure is not None:
            raise failure

    def _open(self) -> pq.ParquetWriter:
        if self._writer is None:
            try:
                # pyarrow takes some paths for addresses of other machines, so it gets an open file.
                file = self._files.enter_context(self._partial.open("wb"))
                self._writer = pq.ParquetWriter(file, SCHEMA, compression="zstd")
            except OSError as error:
                raise record_error(self._path, error, kept=False) from None
        return self._writer

    def _flush(self) -> None:
        columns, self._columns = self._columns, {name: [] for name in SCHEMA.names}
        if not columns["frame"]:
            return
        self._failed = True  # cleared when the group is written
        require_room(self._path, kept=self._groups > 0)
        try:
            self._open().write_table(pa.table(columns, schema=SCHEMA))
        except OSError as error:
            raise record_error(self._path, error, kept=self._groups > 0) from None
        self._failed = False
        self._groups += 1
