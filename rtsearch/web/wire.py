"""Convert scenes to the JSON and the messages that viewers get.

A message of ``/ws`` is a little-endian u32, the length of the JSON; the JSON, which is the line of a record
(see ``recording``) with a few more keys; and the frame as JPEG. Neighbours are given by their rows alone, as
viewers fetch each crop once: 0.9 kB instead of 14 for six objects with sixteen neighbours each.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Sequence
from typing import Any

from rtsearch.images.encode import encode_jpeg, shrunk
from rtsearch.recording import (
    Hits,
    bare_records,
    json_line,
    object_records,
    scene_record,
    shown_records,
    text_bytes,
)
from rtsearch.types import Neighbours, Scene, U8Array

__all__ = ["VERSION", "frame_jpeg", "message", "scene_line"]

VERSION = 1
"""Version of the messages; it grows when a program that reads them must change."""

_MOST_SIDE_PX = 1920  # of the frames that viewers get


def scene_line(scene: Scene, names: Sequence[str], t_s: float, library: Hits | None = None) -> dict[str, Any]:
    """Return a scene as the line of a record: ``{"frame", "t_s", "wh", "objects", "shown"}``.

    Args:
        scene: objects of the frame first, then those missed for a moment.
        names: the network's class names.
        t_s: time of the frame in its source, s.
        library: looks up the facts about neighbours; without it objects have no key ``neighbours``.
    """
    every, seen = scene.detections, len(scene.detections) - len(scene.held)
    found = every.rows(slice(seen))
    near = Neighbours(scene.neighbours.row[:seen], scene.neighbours.distance[:seen])
    objects = bare_records(found, names) if library is None else object_records(found, names, near, library)
    shown = shown_records(every, names, scene.strips, scene.neighbours.row, seen)
    height, width = scene.frame.bgr.shape[:2]
    return scene_record(scene.frame.id, t_s, (width, height), objects, shown)


def frame_jpeg(bgr: U8Array, quality: int) -> bytes:
    """Return a frame as JPEG, its longer side at most 1920 px."""
    return encode_jpeg(shrunk(bgr, _MOST_SIDE_PX), quality)


def message(place: int, scene: Scene, line: dict[str, Any], jpeg: bytes) -> bytes:
    """Return the message about a scene.

    Args:
        place: number of the source.
        scene: what is shown.
        line: made by ``scene_line``.
        jpeg: the frame.
    """
    age_s = time.monotonic() - scene.frame.captured_s
    tracks = scene.detections.track
    head = {
        "v": VERSION,
        "place": place,
        "at": round(time.time() - age_s, 4),
        "age_ms": round(age_s * 1e3, 1),
        "strips": scene.rows,
        "faint": [int(tracks[i]) for i in sorted(scene.faint)],
        "dims": scene.dims,
        **line,
    }
    data = text_bytes(json_line(head))
    return b"".join((struct.pack("<I", len(data)), data, jpeg))
