"""Things to be recorded, and what a recording shows."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from clips import paint, read_number

from rtsearch.recording import (
    VideoRecorder,
    open_record,
)
from rtsearch.sources import VideoFile
from rtsearch.types import Detections, Frame, I32Array

NAMES = ["person", "cat"]


class FakeLibrary:
    def hits(self, rows: I32Array, /) -> list[dict[str, Any]]:
        return [
            {"photo": f"é/{row}.jpg", "xyxy": box, "label": "dog", "folded": int(row) % 3}
            for row, box in ((row, np.array([0.04, 1, 2.25, row], np.float32)) for row in rows)
        ]


def detections(n: int) -> Detections:
    xyxy = np.arange(4 * n, dtype=np.float32).reshape(n, 4) / np.float32(3)
    label = (np.arange(n) % 3 - 1).astype(np.int32)
    track = np.arange(n, dtype=np.int64) + 2**40
    return Detections(xyxy, np.full(n, 1 / 3, np.float32), label, np.zeros((n, 8), np.float32), track)


def frame(number: int, pts_s: float | None = None) -> Frame:
    return Frame(number, 500 + number / 8, pts_s, paint(number))


def recorded(path: Path, frames: int) -> list[tuple[Frame, list[dict[str, Any]]]]:
    """Frames with 0, 1, 2, 0, ... objects, recorded; a photo's name needs quotes, another is no UTF-8."""
    names = ["a, b", 'the "é"\n.jpg', os.fsdecode(b"\xff.jpg")]
    written = []
    with open_record(path) as recorder:
        for i in range(frames):
            near: list[dict[str, Any]] = [
                {
                    "row": j,
                    "photo": names[j],
                    "xyxy": [0.0, 1.5, 2.0, j],
                    "label": "dog",
                    "distance": 0.25 * j,
                    "folded": 2 * j,
                }
                for j in range(i % 4)
            ]
            if near:  # of a film
                near[-1] |= {"t_s": 12.5, "seen_s": [10.0, 13.5]}
            objects = [
                {"track": j, "xyxy": [1.0, 2.0, 3.0, i], "label": "cat", "score": 0.5, "neighbours": near}
                for j in range(i % 3)
            ]
            written.append((frame(2 * i, i / 10), objects))
            recorder.write(*written[-1])
    return written


def shown(path: Path) -> list[tuple[int, float]]:
    with VideoFile(str(path)) as source:
        return [(read_number(f.bgr), round(f.pts_s or 0.0, 3)) for f in source]


def record_clip(path: Path, times: list[float], fps: float = 10) -> None:
    with VideoRecorder(path, fps) as recorder:
        for i, t_s in enumerate(times):
            recorder.write(paint(i), t_s)
