"""Tables of a fragment: one row per photo looked at, one row per object found.

Both tables are ordinary Parquet without nulls, so that any tool can read them. A fragment's objects name
their photo by its row in the photo table of the same fragment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rtsearch.types import F32Array, I32Array

__all__ = [
    "NO_CRC",
    "OBJECT_COLUMNS",
    "PHOTO_SCHEMA",
    "PHOTO_SCHEMAS",
    "UNKNOWN",
    "ObjectRows",
    "PhotoRow",
    "PhotoState",
    "PhotoTable",
    "are_times",
    "is_safe_path",
    "object_schema",
    "object_schemas",
    "object_table",
    "photo_table",
    "to_numpy",
]


class PhotoState(StrEnum):
    """Outcome of analysing a photo."""

    OK = "ok"
    EMPTY = "no objects"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class PhotoRow:
    """One photo or film that was looked at.

    Attributes:
        path: relative to the photo root, with ``/``.
        size_bytes: of the file; with ``mtime_ns`` it tells whether the file has changed since.
        mtime_ns: time of its last change, nanoseconds since 1970.
        width, height: pixels, after EXIF orientation; 0 when the photo failed.
        state: what became of it.
        reason: why it failed, else "".
        sha256: of the file's bytes, in hex, or of the first megabyte where they are no picture; of a film, of
            its first and its last megabyte; "" in libraries of format 1, whose failed photos are tried again
            for that.
        length_s: of a film, from its first to its last picture; 0 for a photo.
    """

    path: str
    size_bytes: int
    mtime_ns: int
    width: int
    height: int
    state: PhotoState
    reason: str = ""
    sha256: str = ""
    length_s: float = 0.0


_NO_TIMES: NDArray[np.float64] = np.zeros((0, 3))  # defaults, known by their identity
_NO_TRACKS: I32Array = np.zeros(0, np.int32)


@dataclass(frozen=True, slots=True)
class ObjectRows:
    """The objects of one photo or film, as they are stored.

    An object of a film is a crop of a track: of all that was seen of one thing between two cuts.

    Attributes:
        xyxy: (n, 4) float32, pixels of the photo after EXIF orientation.
        label: (n,) int32, index into the class names; -1 for the whole image.
        score: (n,) float32, 0..1.
        whole: (n,) bool, True for the row that stands for the whole image.
        vector: (n, D) float32 or float16; stored as float16.
        times_s: (n, 3) float64, presentation times in a film: of the crop, and when the track was first and
            last seen; NaN for photos.
        track: (n,) int32, number of the track within its film; -1 for photos.
    """

    xyxy: F32Array
    label: I32Array
    score: F32Array
    whole: NDArray[np.bool_]
    vector: NDArray[np.floating]
    times_s: NDArray[np.float64] = field(default_factory=lambda: _NO_TIMES)
    track: I32Array = field(default_factory=lambda: _NO_TRACKS)

    def __post_init__(self) -> None:
        if self.times_s is _NO_TIMES:
            object.__setattr__(self, "times_s", np.full((len(self.xyxy), 3), np.nan))
            object.__setattr__(self, "track", np.full(len(self.xyxy), -1, np.int32))

    def __len__(self) -> int:
        return len(self.xyxy)


@dataclass(frozen=True, slots=True)
class PhotoTable:
    """Photos of a library or fragment, as columns of equal length (see PhotoRow)."""

    path: list[str]
    size_bytes: list[int]
    mtime_ns: list[int]
    width: list[int]
    height: list[int]
    state: list[str]
    reason: list[str]
    sha256: list[str]
    length_s: list[float]

    def __len__(self) -> int:
        return len(self.path)

    @classmethod
    def empty(cls) -> PhotoTable:
        """A table of no photos, to which others are added."""
        return cls(*([] for _ in fields(cls)))

    def extend(self, other: PhotoTable) -> None:
        """Add the photos of another table at the end."""
        for each in fields(self):
            getattr(self, each.name).extend(getattr(other, each.name))

    def row(self, i: int) -> PhotoRow:
        """One photo as a record."""
        return PhotoRow(
            self.path[i],
            self.size_bytes[i],
            self.mtime_ns[i],
            self.width[i],
            self.height[i],
            PhotoState(self.state[i]),
            self.reason[i],
            self.sha256[i],
            self.length_s[i],
        )


def _schema(*columns: tuple[str, pa.DataType]) -> pa.Schema:
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in columns])


_PHOTO_COLUMNS_1 = (
    ("path", pa.string()),
    ("size_bytes", pa.int64()),
    ("mtime_ns", pa.int64()),
    ("width", pa.int32()),
    ("height", pa.int32()),
    ("state", pa.string()),
    ("reason", pa.string()),
)
_PHOTO_COLUMNS_2 = (*_PHOTO_COLUMNS_1, ("sha256", pa.string()))
PHOTO_SCHEMA = _schema(*_PHOTO_COLUMNS_2, ("length_s", pa.float64()))
PHOTO_SCHEMAS = (PHOTO_SCHEMA, _schema(*_PHOTO_COLUMNS_2), _schema(*_PHOTO_COLUMNS_1))
"""The photo table of all formats, the newest first; format 1 had no hash, format 2 no films."""

OBJECT_COLUMNS = (
    *("photo", "xyxy", "label", "score", "whole", "vector"),
    *("thumb_offset", "thumb_bytes", "thumb_crc32", "times_s", "track"),
)
NO_CRC = -1
"""The ``thumb_crc32`` of a library of format 1, which had none."""
UNKNOWN = {"thumb_crc32": np.int64(NO_CRC), "times_s": np.full(3, np.nan), "track": np.int32(-1)}
"""Values of columns that older formats do not have."""


def _vectors(kind: pa.DataType, dim: int) -> pa.DataType:
    # Items that cannot be null are read twice as fast as nullable ones (4 us a row of 528 instead of 8).
    return pa.list_(pa.field("item", kind, nullable=False), dim)


def object_schema(dim: int) -> pa.Schema:
    """Columns of an object table whose vectors have ``dim`` dimensions."""
    return object_schemas(dim)[0]


def object_schemas(dim: int) -> tuple[pa.Schema, ...]:
    """The object table of all formats, the newest first.

    Format 1 had no checksums of thumbnails, format 2 no films.
    """
    columns = (
        ("photo", pa.int32()),
        ("xyxy", _vectors(pa.float32(), 4)),
        ("label", pa.int32()),
        ("score", pa.float32()),
        ("whole", pa.bool_()),
        ("vector", _vectors(pa.float16(), dim)),
        ("thumb_offset", pa.int64()),
        ("thumb_bytes", pa.int32()),
    )
    columns_2 = (*columns, ("thumb_crc32", pa.int64()))
    columns_3 = (*columns_2, ("times_s", _vectors(pa.float64(), 3)), ("track", pa.int32()))
    return _schema(*columns_3), _schema(*columns_2), _schema(*columns)


def photo_table(rows: Sequence[PhotoRow]) -> pa.Table:
    """Photo rows as a Parquet-ready table."""
    return pa.Table.from_pydict(
        {name: [getattr(row, name) for row in rows] for name in PHOTO_SCHEMA.names}, schema=PHOTO_SCHEMA
    )


def object_table(columns: dict[str, NDArray[np.generic]], dim: int) -> pa.Table:
    """Object columns (those of ``OBJECT_COLUMNS``) as a Parquet-ready table."""
    schema = object_schema(dim)
    arrays = []
    for column in schema:
        values = np.ascontiguousarray(columns[column.name])
        if pa.types.is_fixed_size_list(column.type):
            flat = pa.array(values.reshape(-1), type=column.type.value_type)
            arrays.append(pa.FixedSizeListArray.from_arrays(flat, type=column.type))
        else:
            arrays.append(pa.array(values, type=column.type))
    return pa.Table.from_arrays(arrays, schema=schema)


def to_numpy(column: pa.Array) -> NDArray[np.generic]:
    """One column of a record batch: (n,) or, for lists, (n, items)."""
    if pa.types.is_fixed_size_list(column.type):
        flat = column.flatten().to_numpy(zero_copy_only=False)
        array: NDArray[np.generic] = flat.reshape(len(column), column.type.list_size)
        return array
    plain: NDArray[np.generic] = column.to_numpy(zero_copy_only=False)
    return plain


def are_times(times_s: NDArray[np.floating]) -> bool:
    """Tell whether (n, 3) values may be ``ObjectRows.times_s``: none, or a crop's within its track's."""
    t_s, first_s, last_s = times_s.T
    inside = np.isfinite(times_s).all(axis=1) & (first_s <= t_s) & (t_s <= last_s)
    return bool((inside | np.isnan(times_s).all(axis=1)).all())


def is_safe_path(path: str) -> bool:
    """Tell whether a path is relative, written with ``/``, and cannot lead out of its folder."""
    parts = path.split("/")
    return not (
        path == ""
        or "\0" in path
        or any(part in ("", ".", "..") for part in parts)
        or PurePosixPath(path).is_absolute()
    )
