"""Define an entry, which a memory keeps of a track, and the way in which an hour's library holds it.

photo     SOURCE/LAST-VISIT: one per entry; its date is when the object was last seen, by the wall clock
object    box and crop, pooled vector, times in the source
crop      a JPEG whose comment holds the path of the box, so that one cannot stay without the other
"""

from __future__ import annotations

import json
import re
import struct
import time
from dataclasses import dataclass

import numpy as np

from rtsearch._util.masking import masked
from rtsearch.library import ObjectRows, PhotoRow, PhotoState
from rtsearch.types import F32Array

__all__ = ["Entry", "PathPoint", "name_of", "path_in", "source_of", "with_path"]

PathPoint = tuple[float, float, float, float, float]
"""Time in the source, s, and box, px."""

_COMMENT = b"\xff\xfe"  # marker of a JPEG (ITU-T T.81, B.2.4.5)
_START = b"\xff\xd8"
_MOST_NAME = 80  # characters of a source's name
_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Entry:
    """Content of a memory for a track, or for a minute of it.

    Attributes:
        source: name of its source, fit for a path.
        visit: number of the track, the same for all entries of one.
        label, score, xyxy: class, confidence and box, (4,) float32 px, of the crop.
        vector: (D,) float32, mean description.
        jpeg: the crop, with the path of the box.
        wh: size of the frame, px.
        times_s: in the source: of the crop, and first and last seen.
        seen_ns: first and last seen by the wall clock, nanoseconds since 1970.
    """

    source: str
    visit: int
    label: int
    score: float
    xyxy: F32Array
    vector: F32Array
    jpeg: bytes
    wh: tuple[int, int]
    times_s: tuple[float, float, float]
    seen_ns: tuple[int, int]

    @property
    def name(self) -> str:
        """Name of the entry in its memory."""
        return name_of(self.source, self.seen_ns[1], self.visit)

    def photo(self) -> PhotoRow:
        """Return the row of the photo table that it is."""
        first, last = self.seen_ns
        return PhotoRow(
            path=self.name,
            size_bytes=len(self.jpeg),
            mtime_ns=last,
            width=self.wh[0],
            height=self.wh[1],
            state=PhotoState.OK,
            length_s=max(0, last - first) / _NS,
        )

    def objects(self) -> ObjectRows:
        """Return the row of the object table that it is."""
        return ObjectRows(
            xyxy=self.xyxy[None],
            label=np.array([self.label], np.int32),
            score=np.array([self.score], np.float32),
            whole=np.zeros(1, np.bool_),
            vector=self.vector[None],
            times_s=np.array([self.times_s], np.float64),
            track=np.array([self.visit], np.int32),
        )


def source_of(name: str) -> str:
    """Return the name of a source without secrets and as part of a path: ``rtsp-door.local-live``."""
    plain = re.sub(r"[^\w.-]+", "-", masked(name)).strip("-.")
    return plain[-_MOST_NAME:].strip("-.") or "source"


def name_of(source: str, last_ns: int, visit: int) -> str:
    """Return the name of an entry: ``SOURCE/20260501T131502.123-VISIT``, in UTC."""
    second, rest = divmod(last_ns, _NS)
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(second))
    return f"{source}/{stamp}.{rest // 1_000_000:03d}-{visit}"


def with_path(jpeg: bytes, path: list[PathPoint]) -> bytes:
    """Return a JPEG with the path of a box in its comment."""
    points = [[round(t_s, 2), *(round(side) for side in box)] for t_s, *box in path]
    text = json.dumps({"path": points}, separators=(",", ":")).encode()
    return jpeg[:2] + _COMMENT + struct.pack(">H", len(text) + 2) + text + jpeg[2:]


def path_in(jpeg: bytes) -> list[PathPoint]:
    """Return the path of a box that ``with_path`` has written; [] where there is none."""
    if jpeg[:4] != _START + _COMMENT or len(jpeg) < 6:
        return []
    (length,) = struct.unpack(">H", jpeg[4:6])
    try:
        points = json.loads(jpeg[6 : 4 + length])["path"]
        return [(float(t), float(a), float(b), float(c), float(d)) for t, a, b, c, d in points]
    except (ValueError, TypeError, KeyError, RecursionError):
        return []
