"""Convert the objects of a frame, their neighbours and the time of a frame to JSON values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from rtsearch.types import Detections, F32Array, Frame, I32Array, Neighbours, class_name

__all__ = ["Hits", "Times", "object_records", "shown_records", "text_bytes"]


class Hits(Protocol):
    """Source of facts about a library's rows: one dict per row; see ``SearchIndex.hits``."""

    def hits(self, rows: I32Array, /) -> Sequence[dict[str, Any]]: ...


_FURTHER = ("folded", "t_s", "seen_s")


class Times:
    """Times of frames: presentation times, or for live sources seconds since the first recorded frame."""

    def __init__(self) -> None:
        self._begun_s: float | None = None

    def of(self, frame: Frame) -> float:
        """Return the time of a frame, s."""
        if self._begun_s is None:
            self._begun_s = frame.captured_s
        return round(frame.pts_s if frame.pts_s is not None else frame.captured_s - self._begun_s, 4)


def text_bytes(text: str) -> bytes:
    r"""UTF-8; what a file name holds that is none becomes ``\udc..``, as JSON writes it."""
    return text.encode("utf-8", errors="backslashreplace")


def object_records(
    detections: Detections, names: Sequence[str], neighbours: Neighbours, library: Hits
) -> list[dict[str, Any]]:
    """Return the objects of one frame as JSON values.

    Each is ``{"track", "xyxy", "label", "score", "neighbours": [{"row", "photo", "xyxy", "label",
    "distance", "folded"}]}``, boxes in px with one decimal, labels as class names. A neighbour in a film has
    ``t_s`` and ``seen_s``, too; see ``SearchIndex.hits``.

    Args:
        detections: n objects.
        names: the network's class names.
        neighbours: neighbours of the same n objects.
        library: source of photo, box and label of a row.
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
            | {key: hit[key] for key in _FURTHER if key in hit}
            for far, (row, hit, box) in zip(
                distance[i][: (neighbours.row[i] >= 0).sum()], places, strict=False
            )
        ]
        objects.append(
            {
                "track": int(detections.track[i]),
                "xyxy": xyxy[i],
                "label": class_name(names, label),
                "score": score[i],
                "neighbours": near,
            }
        )
    return objects


def shown_records(
    detections: Detections, names: Sequence[str], strips: Sequence[int], rows: I32Array, seen: int
) -> list[dict[str, Any]]:
    """Return the strips of one picture as JSON values ``{"track", "strip", "label", "score", "rows"}``.

    Args:
        detections: objects of the frame, then missed objects whose strips are kept for a moment.
        names: the network's class names.
        strips: number of the strip of each object, counted from the top.
        rows: (n, k), rows of the shown neighbours from left to right; -1 for none.
        seen: number of objects of the frame; the others also get their expected box as ``xyxy``.
    """
    score, xyxy = _rounded(detections.score, 4), _rounded(detections.xyxy, 1)
    return [
        {
            "track": int(detections.track[i]),
            "strip": int(strips[i]),
            "label": class_name(names, label),
            "score": score[i],
            "rows": [row for row in rows[i].tolist() if row >= 0],
        }
        | ({"xyxy": xyxy[i]} if i >= seen else {})
        for i, label in enumerate(detections.label.tolist())
    ]


def _rounded(values: F32Array, decimals: int) -> list[Any]:
    # Values are rounded as float64, as a rounded float32 prints with all its digits.
    rounded: list[Any] = np.round(values.astype(np.float64), decimals).tolist()
    return rounded
