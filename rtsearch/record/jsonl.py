"""The objects of each frame and their neighbours, one JSON object per line."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol, Self

import numpy as np

from rtsearch.record.problems import record_error
from rtsearch.records import Detections, F32Array, Frame, I32Array, Neighbours

__all__ = ["Hits", "JsonlRecorder", "object_records"]


class Hits(Protocol):
    """What a library tells about its rows: one dict per row with ``photo``, ``xyxy`` and ``label``."""

    def hits(self, rows: I32Array, /) -> Sequence[dict[str, Any]]: ...


def object_records(
    detections: Detections, names: Sequence[str], neighbours: Neighbours, library: Hits
) -> list[dict[str, Any]]:
    """The objects of one frame as JSON can hold them.

    Each is ``{"track", "xyxy", "label", "score", "neighbours": [{"row", "photo", "xyxy", "label",
    "distance"}]}``, boxes in px with one decimal, labels as words, ``whole image`` for label -1.

    Args:
        detections: n objects.
        names: the network's class names.
        neighbours: of the same n objects.
        library: gives the photo, box and label of a row.
    """
    rows = neighbours.row[neighbours.row >= 0]
    hits = library.hits(rows)
    boxes = _rounded(np.array([hit["xyxy"] for hit in hits], np.float32).reshape(-1, 4), 1)
    places = zip(rows.tolist(), hits, boxes, strict=True)
    distance = _rounded(neighbours.distance, 5)
    xyxy, score = _rounded(detections.xyxy, 1), _rounded(detections.score, 4)
    objects = []
    for i, label in enumerate(detections.label.tolist()):
        near = [
            {"row": row, "photo": hit["photo"], "xyxy": box, "label": hit["label"], "distance": far}
            for far, (row, hit, box) in zip(
                distance[i][: (neighbours.row[i] >= 0).sum()], places, strict=False
            )
        ]
        objects.append(
            {
                "track": int(detections.track[i]),
                "xyxy": xyxy[i],
                "label": names[label] if label >= 0 else "whole image",
                "score": score[i],
                "neighbours": near,
            }
        )
    return objects


def _rounded(values: F32Array, decimals: int) -> list[Any]:
    # Rounded as float64: a rounded float32 would print with all its digits again.
    rounded: list[Any] = np.round(values.astype(np.float64), decimals).tolist()
    return rounded


class JsonlRecorder:
    """One line ``{"frame", "t_s", "objects"}`` per frame.

    ``t_s`` is the presentation time, or for live sources the seconds since the first recorded frame.

    Raises:
        RecordError: the file cannot be written; lines already written stay.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._begun_s: float | None = None
        self._written_bytes = 0
        try:
            # Unbuffered: a line is with the kernel when write() returns, so that a kill cannot take it.
            self._file: IO[bytes] = path.open("wb", buffering=0)
        except OSError as error:
            raise record_error(path, error) from None

    def write(self, frame: Frame, objects: Sequence[dict[str, Any]]) -> None:
        """Append the line of one frame; ``objects`` as ``object_records`` gives them."""
        if self._begun_s is None:
            self._begun_s = frame.captured_s
        t_s = frame.pts_s if frame.pts_s is not None else frame.captured_s - self._begun_s
        line = {"frame": frame.id, "t_s": round(t_s, 4), "objects": objects}
        data = json.dumps(line, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode() + b"\n"
        try:
            if self._file.write(data) != len(data):  # the disk had room for a part of it
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.truncate(self._written_bytes)  # no half line
            raise record_error(self._path, error) from None
        self._written_bytes += len(data)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
