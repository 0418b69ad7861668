"""Finished parts of a film that is being analysed: what a stopped analysis goes on from.

    LIB/films/KEY-0003.parquet   objects and crops of part 3; KEY says which film and which settings

A film becomes part of the library when all of it is done; then its parts are removed.
"""

from __future__ import annotations

import io
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from rtsearch._util.atomic import write_atomic
from rtsearch._util.regular_files import open_regular
from rtsearch.errors import DamagedError
from rtsearch.library.files import disk_errors
from rtsearch.library.pages import unpacked_bytes
from rtsearch.library.schema import ObjectRows, are_times, to_numpy
from rtsearch.library.sweep import final_name, own_folder

__all__ = ["FilmPart", "FilmParts", "remove_film_parts"]

_FOLDER = "films"
_NAME = re.compile(r"([0-9a-f]{16})-\d{4,}\.parquet")
_MOST_BYTES = 1 << 30
_FIRST_BYTES = b"PAR1"


class FilmPart(NamedTuple):
    """Objects of a part of a film, one JPEG for each, and the number of tracks that they belong to."""

    objects: ObjectRows
    jpegs: Sequence[bytes]
    tracks: int


class FilmParts:
    """The parts of one film.

    Args:
        library: folder of the library.
        key: 16 hexadecimal digits that change with the film and with all that shapes its objects.
        dim: dimensions of the vectors.
    """

    def __init__(self, library: Path, key: str, dim: int) -> None:
        self._library = library
        self._key = key
        self._dim = dim

    def done(self) -> list[FilmPart]:
        """Return the parts that are there and whole, up to the first that is not."""
        parts: list[FilmPart] = []
        while True:
            try:
                parts.append(self._read(len(parts)))
            except FileNotFoundError:
                return parts
            except (DamagedError, OSError, ValueError, KeyError, pa.ArrowException):
                return parts  # it is analysed again

    def write(self, number: int, part: FilmPart) -> None:
        """Keep a part.

        Raises:
            LibraryError: the disk refuses.
        """
        rows = part.objects
        with np.errstate(over="ignore"):  # what float16 does not hold is refused with the film
            half = rows.vector.astype(np.float16)
        columns = {**{name: getattr(rows, name) for name in _COLUMNS}, "vector": half}
        schema = _schema(self._dim)
        arrays = [_array(columns[name], schema.field(name).type) for name in _COLUMNS]
        table = pa.table([*arrays, pa.array(list(part.jpegs), pa.binary())], schema=schema)
        table = table.replace_schema_metadata({_TRACKS: str(part.tracks)})
        data = io.BytesIO()
        pq.write_table(table, data, compression="none", use_dictionary=False, write_page_checksum=True)
        with disk_errors(self._library):
            own_folder(self._library / _FOLDER).mkdir(exist_ok=True)
            write_atomic(self._path(number), data.getvalue())

    def _path(self, number: int) -> Path:
        return self._library / _FOLDER / f"{self._key}-{number:04d}.parquet"

    def _read(self, number: int) -> FilmPart:
        with open_regular(self._path(number)) as file:
            if max(file.seek(0, io.SEEK_END), unpacked_bytes(file)) > _MOST_BYTES:
                raise DamagedError(f"{self._path(number)} is larger than any part of a film")
            file.seek(0)
            table = pq.read_table(file, page_checksum_verification=True).combine_chunks()
        if not table.schema.equals(_schema(self._dim)) or any(map(_has_gaps, table.columns)):
            raise DamagedError(f"{self._path(number)} is no table of a part of a film")
        columns: dict[str, Any] = {name: to_numpy(_one_chunk(table, name)) for name in _COLUMNS}
        tracks, track = int((table.schema.metadata or {})[_TRACKS]), columns["track"]
        if not are_times(columns["times_s"]) or (
            len(track) and not 0 <= track.min() <= track.max() < 2**31 - 1
        ):
            raise DamagedError(f"{self._path(number)} has times or tracks that there cannot be")
        if not 0 <= tracks <= len(track):
            raise DamagedError(f"{self._path(number)} has more tracks than objects")
        rows = ObjectRows(whole=columns["label"] < 0, **columns)
        return FilmPart(rows, table["jpeg"].to_pylist(), tracks)


_COLUMNS = ("xyxy", "label", "score", "vector", "times_s", "track")
_TRACKS = b"tracks"


def _schema(dim: int) -> pa.Schema:
    columns = {
        "xyxy": pa.list_(pa.float32(), 4),
        "label": pa.int32(),
        "score": pa.float32(),
        "vector": pa.list_(pa.float16(), dim),
        "times_s": pa.list_(pa.float64(), 3),
        "track": pa.int32(),
        "jpeg": pa.binary(),
    }
    return pa.schema(columns.items())


def remove_film_parts(library: Path, keep: Collection[str] = ()) -> None:
    """Remove the parts of all films but those of these keys; foreign files stay."""
    folder = own_folder(library / _FOLDER)
    if not folder.is_dir():
        return
    with disk_errors(library):
        for path in folder.iterdir():
            found = _NAME.fullmatch(final_name(path) or path.name)
            if found and found[1] not in keep and path.is_file() and not path.is_symlink():
                with path.open("rb") as file:
                    begins = file.read(len(_FIRST_BYTES))
                if _FIRST_BYTES.startswith(begins):  # a kill leaves less of a file
                    path.unlink(missing_ok=True)
        if not any(folder.iterdir()):
            folder.rmdir()


def _array(values: NDArray[Any], kind: pa.DataType) -> pa.Array:
    if not pa.types.is_fixed_size_list(kind):
        return pa.array(values, kind)
    flat = pa.array(np.ascontiguousarray(values).reshape(-1), type=kind.value_type)
    return pa.FixedSizeListArray.from_arrays(flat, type=kind)


def _has_gaps(column: pa.ChunkedArray) -> bool:
    """Tell whether a value is missing, in the column or in its lists."""
    lists = pa.types.is_fixed_size_list(column.type)
    return column.null_count > 0 or (lists and any(chunk.flatten().null_count for chunk in column.chunks))


def _one_chunk(table: pa.Table, name: str) -> pa.Array:
    column = table[name]
    return column.chunk(0) if column.num_chunks else pa.array([], column.type)
