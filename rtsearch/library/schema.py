"""Tables of a fragment: one row per photo looked at, one row per object found.

Both tables are ordinary Parquet without nulls, so that any tool can read them. A fragment's objects name
their photo by its row in the photo table of the same fragment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
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
    "PHOTO_SCHEMA_1",
    "ObjectRows",
    "PhotoRow",
    "PhotoState",
    "PhotoTable",
    "is_safe_path",
    "object_schema",
    "object_schema_1",
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
    """One photo that was looked at.

    Attributes:
        path: relative to the photo root, with ``/``.
        size_bytes: of the file; with ``mtime_ns`` it tells whether the file has changed since.
        mtime_ns: time of its last change, nanoseconds since 1970.
        width, height: pixels, after EXIF orientation; 0 when the photo failed.
        state: what became of it.
        reason: why it failed, else "".
        sha256: of the file's bytes, in hex, or of the first megabyte where they are no picture; "" in
            libraries of format 1, whose failed photos are tried again for that.
    """

    path: str
    size_bytes: int
    mtime_ns: int
    width: int
    height: int
    state: PhotoState
    reason: str = ""
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class ObjectRows:
    """The objects of one photo, as they are stored.

    Attributes:
        xyxy: (n, 4) float32, pixels of the photo after EXIF orientation.
        label: (n,) int32, index into the class names; -1 for the whole image.
        score: (n,) float32, 0..1.
        whole: (n,) bool, True for the row that stands for the whole image.
        vector: (n, D) float32 or float16; stored as float16.
    """

    xyxy: F32Array
    label: I32Array
    score: F32Array
    whole: NDArray[np.bool_]
    vector: NDArray[np.floating]

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

    def __len__(self) -> int:
        return len(self.path)

    @classmethod
    def empty(cls) -> PhotoTable:
        """A table of no photos, to which others are added."""
        return cls(*([] for _ in fields(cls)))

    def extend(self, other: PhotoTable) -> None:
        """Add the photos of another table at the end."""
        for field in fields(self):
            getattr(self, field.name).extend(getattr(other, field.name))

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
PHOTO_SCHEMA_1 = _schema(*_PHOTO_COLUMNS_1)
"""The photo table of format 1, which had no hash."""
PHOTO_SCHEMA = _schema(*_PHOTO_COLUMNS_1, ("sha256", pa.string()))

OBJECT_COLUMNS = (
    *("photo", "xyxy", "label", "score", "whole", "vector"),
    *("thumb_offset", "thumb_bytes", "thumb_crc32"),
)
NO_CRC = -1
"""The ``thumb_crc32`` of a library of format 1, which had none."""


def _vectors(kind: pa.DataType, dim: int) -> pa.DataType:
    # Items that cannot be null are read twice as fast as nullable ones (4 us a row of 528 instead of 8).
    return pa.list_(pa.field("item", kind, nullable=False), dim)


def object_schema(dim: int) -> pa.Schema:
    """Columns of an object table whose vectors have ``dim`` dimensions."""
    return object_schema_1(dim).append(pa.field("thumb_crc32", pa.int64(), nullable=False))


def object_schema_1(dim: int) -> pa.Schema:
    """Columns of the object table of format 1, which had no checksums of thumbnails."""
    return _schema(
        ("photo", pa.int32()),
        ("xyxy", _vectors(pa.float32(), 4)),
        ("label", pa.int32()),
        ("score", pa.float32()),
        ("whole", pa.bool_()),
        ("vector", _vectors(pa.float16(), dim)),
        ("thumb_offset", pa.int64()),
        ("thumb_bytes", pa.int32()),
    )


def photo_table(rows: Sequence[PhotoRow]) -> pa.Table:
    """Photo rows as a Parquet-ready table."""
    return pa.Table.from_pydict(
        {name: [getattr(row, name) for row in rows] for name in PHOTO_SCHEMA.names}, schema=PHOTO_SCHEMA
    )


def object_table(columns: dict[str, NDArray[np.generic]], dim: int) -> pa.Table:
    """Object columns (those of ``OBJECT_COLUMNS``) as a Parquet-ready table."""
    schema = object_schema(dim)
    arrays = []
    for field in schema:
        values = np.ascontiguousarray(columns[field.name])
        if pa.types.is_fixed_size_list(field.type):
            flat = pa.array(values.reshape(-1), type=field.type.value_type)
            arrays.append(pa.FixedSizeListArray.from_arrays(flat, type=field.type))
        else:
            arrays.append(pa.array(values, type=field.type))
    return pa.Table.from_arrays(arrays, schema=schema)


def to_numpy(column: pa.Array) -> NDArray[np.generic]:
    """One column of a record batch: (n,) or, for lists, (n, items)."""
    if pa.types.is_fixed_size_list(column.type):
        flat = column.flatten().to_numpy(zero_copy_only=False)
        array: NDArray[np.generic] = flat.reshape(len(column), column.type.list_size)
        return array
    plain: NDArray[np.generic] = column.to_numpy(zero_copy_only=False)
    return plain


def is_safe_path(path: str) -> bool:
    """Tell whether a path is relative, written with ``/``, and cannot lead out of its folder."""
    parts = path.split("/")
    return not (
        path == ""
        or "\0" in path
        or any(part in ("", ".", "..") for part in parts)
        or PurePosixPath(path).is_absolute()
    )
