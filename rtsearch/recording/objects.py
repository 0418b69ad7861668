"""Convert a frame, its objects, their neighbours and the events of tracks to JSON values.

Records, signals to other programs and pages hold the same values:

    scene  {"frame", "t_s", "wh", "objects": [object, ...], "shown": [strip, ...]}
    event  {"event": "new" | "update" | "end", "time", "frame", "t_s", "wh", "object": object}
    object {"track", "xyxy", "label", "score", "neighbours": [neighbour, ...]}
    neighbour {"row", "photo", "xyxy", "label", "folded", "distance"}, of a film with "t_s", "seen_s",
              and "seen_ns" where it is remembered
"""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

import numpy as np

from rtsearch.types import Detections, F32Array, Frame, I32Array, Neighbours, class_name

__all__ = [
    "EventKind",
    "Hits",
    "Times",
    "bare_records",
    "event_record",
    "json_line",
    "neighbour_records",
    "object_records",
    "scene_record",
    "shown_records",
    "text_bytes",
]

EventKind = Literal["new", "update", "end"]

# Looking for values that hold themselves takes an eighth of the time of a line; those made here do not.
_LINES = json.JSONEncoder(ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":"))


class Hits(Protocol):
    """Source of facts about a library's rows: one dict per row; see ``SearchIndex.hits``."""

    def hits(self, rows: I32Array, /) -> Sequence[dict[str, Any]]: ...


class Times:
    """Times of frames: presentation times, or for live sources seconds since the first recorded frame."""

    def __init__(self) -> None:
        self._begun_s: float | None = None

    def of(self, frame: Frame) -> float:
        """Return the time of a frame, s."""
        if self._begun_s is None:
            self._begun_s = frame.captured_s
        return round(frame.pts_s if frame.pts_s is not None else frame.captured_s - self._begun_s, 4)

    def wall(self, frame: Frame) -> str:
        """Return when a frame was captured, date and time of the day with their zone, ISO 8601."""
        captured = datetime.fromtimestamp(time.time() - time.monotonic() + frame.captured_s, UTC)
        return captured.astimezone().isoformat(timespec="milliseconds")


def text_bytes(text: str) -> bytes:
    r"""UTF-8; what a file name holds that is none becomes ``\udc..``, as JSON writes it."""
    return text.encode("utf-8", errors="backslashreplace")


def json_line(value: Mapping[str, Any]) -> str:
    """Return a JSON value as one line of text, without its end; NaN and infinity are errors."""
    return _LINES.encode(value)


def scene_record(
    number: int,
    t_s: float,
    wh: tuple[int, int],
    objects: Sequence[Mapping[str, Any]],
    shown: Sequence[Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """Return a frame as a JSON value ``{"frame", "t_s", "wh", "objects", "shown"}``.

    Args:
        number: number of the frame.
        t_s: its time, made by ``Times``, s.
        wh: its width and height, px.
        objects: its objects, made by ``object_records``.
        shown: the strips of its picture, made by ``shown_records``; None leaves them out.
    """
    scene = {"frame": number, "t_s": t_s, "wh": list(wh), "objects": list(objects)}
    return scene if shown is None else {**scene, "shown": list(shown)}


def event_record(
    kind: EventKind, time: str, scene: Mapping[str, Any], item: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the event of a track as a JSON value.

    Args:
        kind: ``new``, ``update`` or ``end``.
        time: date and time of the day, ISO 8601.
        scene: value of ``scene_record``: the frame of the event.
        item: one of its objects; for ``end`` the object as it was last.
    """
    of_frame = {key: scene[key] for key in ("frame", "t_s", "wh")}
    return {"event": kind, "time": time, **of_frame, "object": dict(item)}


def object_records(
    detections: Detections, names: Sequence[str], neighbours: Neighbours, library: Hits
) -> list[dict[str, Any]]:
    """Return the objects of one frame as JSON values.

    Each is ``{"track", "xyxy", "label", "score", "neighbours": [{"row", "photo", "xyxy", "label",
    "distance", "folded"}]}``, boxes in px with one decimal, labels as class names. A neighbour in a film has
    ``t_s`` and ``seen_s``, too; see ``SearchIndex.hits``. A distance is None where it is not known: replays
    draw crops of which their record holds the rows only.

    Args:
        detections: n objects.
        names: the network's class names.
        neighbours: neighbours of the same n objects.
        library: source of photo, box and label of a row.
    """
    there = neighbours.row >= 0
    near = iter(neighbour_records(neighbours.row[there], neighbours.distance[there], library))
    objects = bare_records(detections, names)
    for item, count in zip(objects, there.sum(1).tolist(), strict=True):
        item["neighbours"] = list(itertools.islice(near, count))
    return objects


def neighbour_records(rows: I32Array, distance: F32Array, library: Hits) -> list[dict[str, Any]]:
    """Return n neighbours as JSON values; see ``object_records``.

    Args:
        rows: (n,), rows of the library.
        distance: (n,), of each; infinite where it is not known.
        library: source of photo, box and label of a row.
    """
    hits = library.hits(rows)
    boxes = _rounded(np.array([hit["xyxy"] for hit in hits], np.float32).reshape(-1, 4), 1)
    facts = zip(rows.tolist(), hits, boxes, _rounded(distance, 5), strict=True)
    return [_neighbour(row, hit, box, far) for row, hit, box, far in facts]


def _neighbour(row: int, hit: Mapping[str, Any], box: list[float], far: float) -> dict[str, Any]:
    distance = far if math.isfinite(far) else None
    # A hit's own values take the places that are kept for them here; its further ones come last.
    near = {"row": row, "photo": "", "xyxy": (), "label": "", "distance": distance, **hit}
    near["xyxy"] = box
    return near


def bare_records(detections: Detections, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return n objects of one frame as JSON values, without neighbours; see ``object_records``."""
    xyxy, score = _rounded(detections.xyxy, 1), _rounded(detections.score, 4)
    return [
        {"track": track, "xyxy": box, "label": class_name(names, label), "score": sure}
        for track, box, label, sure in zip(
            detections.track.tolist(), xyxy, detections.label.tolist(), score, strict=True
        )
    ]


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
