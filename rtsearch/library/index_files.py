"""Files of an index: which there are, their list with lengths and hashes, and the names of photos among them.

Somebody may have made them up: each is read within bounds, and only as what ``index`` writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, NonNegativeInt, ValidationError

from rtsearch._util.array_files import load_array
from rtsearch._util.regular_files import read_regular
from rtsearch.errors import DamagedError
from rtsearch.images.colour_names import COLOUR_NAMES
from rtsearch.library.files import sha256_of
from rtsearch.search.projection import FILE_NAME as PROJECTION_NAME
from rtsearch.search.store import FILE_NAME as TREE_NAME
from rtsearch.types import I32Array, I64Array, U8Array

__all__ = [
    "DERIVED",
    "FILES",
    "LIST_NAME",
    "MOST_LIST_BYTES",
    "TABLE",
    "IndexFile",
    "PhotoPaths",
    "are_safe_paths",
    "check_files",
    "check_leaders",
    "empty_table",
    "fragments_of",
    "listed_files",
    "load_table",
    "write_list",
]

TABLE: dict[str, type[np.generic]] = {
    "photo": np.int32,
    "xyxy": np.float32,
    "label": np.int32,
    "pack": np.int32,
    "thumb_offset": np.int64,
    "thumb_bytes": np.int32,
    "thumb_crc32": np.int64,
    "times_s": np.float64,
    "track": np.int32,
    "colours": np.uint8,
}
"""Columns per object, each a .npy file; ``colours``: share of each of COLOUR_NAMES, 255 for all."""
DERIVED: dict[str, type[np.generic]] = {"leader": np.int32}
"""Columns per object that are made when the tree is there, each a .npy file; see ``duplicates``."""

_WIDTHS = {"xyxy": 4, "times_s": 3, "colours": len(COLOUR_NAMES)}

LIST_NAME = "index.json"
FILES = (
    {f"{name}.npy" for name in (*TABLE, *DERIVED)}
    | {"paths.npy", "paths_end.npy"}
    | {PROJECTION_NAME, TREE_NAME}
)
FILES |= {LIST_NAME}
"""Names of all files of an index."""

MOST_LIST_BYTES = 1 << 24
_SLASH, _DOT = ord("/"), ord(".")


class IndexFile(BaseModel):
    """Length and hash of a file of an index."""

    bytes: NonNegativeInt
    sha256: str


class _List(BaseModel):
    format: int
    fragments: tuple[str, ...]
    files: dict[str, IndexFile]


def write_list(folder: Path, form: int, fragments: Sequence[str]) -> None:
    """Write the list of the other files of an index, which is then whole.

    Args:
        folder: the index.
        form: format of its files.
        fragments: names of those that it was built of, in order.
    """
    files = {
        path.name: IndexFile(bytes=path.stat().st_size, sha256=sha256_of(path))
        for path in sorted(folder.iterdir())
    }
    (folder / LIST_NAME).write_text(
        _List(format=form, fragments=tuple(fragments), files=files).model_dump_json(), encoding="utf-8"
    )


def check_files(folder: Path) -> None:
    """Check every file of an index against its length and hash.

    Raises:
        DamagedError: a file is missing, altered or too many; it is named.
    """
    for name, file in listed_files(folder).items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != file.bytes or sha256_of(path) != file.sha256:
            raise DamagedError(f"{path} is missing or altered")


def listed_files(folder: Path) -> dict[str, IndexFile]:
    """Return the other files of an index by their names.

    Raises:
        DamagedError: its list cannot be read, or names other files than an index has.
    """
    listed = _read_list(folder).files
    if listed.keys() != FILES - {LIST_NAME}:
        raise DamagedError(f"{folder / LIST_NAME} lists other files than an index has")
    return listed


def fragments_of(folder: Path) -> tuple[str, ...]:
    """Return the names of the fragments that an index was built of.

    Raises:
        DamagedError: its list cannot be read.
    """
    return _read_list(folder).fragments


def _read_list(folder: Path) -> _List:
    path = folder / LIST_NAME
    try:
        return _List.model_validate_json(read_regular(path, MOST_LIST_BYTES))
    except (OSError, ValidationError) as error:
        reason = "it is no list of files" if isinstance(error, ValidationError) else error
        raise DamagedError(f"{path} cannot be read: {reason}") from None


def empty_table(n: int) -> dict[str, NDArray[Any]]:
    """Return the columns of ``TABLE`` with n rows, which are still to be filled."""
    return {name: np.empty(_shape(name, n), dtype) for name, dtype in TABLE.items()}


def _shape(column: str, n: int) -> tuple[int, ...]:
    return (n, _WIDTHS[column]) if column in _WIDTHS else (n,)


def load_table(folder: Path, n: int) -> dict[str, NDArray[Any]]:
    """Map the columns of ``TABLE`` and ``DERIVED``, n rows each.

    Raises:
        DamagedError: one of them has another type or length.
    """
    return {
        name: load_array(folder / f"{name}.npy", dtype, _shape(name, n))
        for name, dtype in (TABLE | DERIVED).items()
    }


def check_leaders(folder: Path, leader: I32Array) -> None:
    """Check that each row's leader is a row that leads itself.

    Raises:
        DamagedError: one is not.
    """
    n = len(leader)
    if n and (leader.min() < 0 or leader.max() >= n or (leader[leader] != leader).any()):
        raise DamagedError(f"{folder / 'leader.npy'} has numbers that name nothing")


class PhotoPaths:
    """Many relative paths as two flat arrays, so that opening reads none.

    Args:
        text: (bytes,) uint8, all of them in UTF-8, end to end.
        end: (n,) int64, where each ends.
    """

    def __init__(self, text: U8Array, end: I64Array) -> None:
        self._text, self._end = text, end

    def __len__(self) -> int:
        return len(self._end)

    def __getitem__(self, i: int) -> str:
        start = int(self._end[i - 1]) if i else 0
        return bytes(self._text[start : int(self._end[i])]).decode("utf-8", errors="surrogateescape")

    def below(self, folder: str) -> NDArray[np.bool_]:
        """Tell which of the paths lie in a folder or below it, (n,) bool; 100,000 paths take 3 ms.

        Args:
            folder: relative, with ``/``; "" for all paths.
        """
        wanted = np.frombuffer(f"{folder}/".encode("utf-8", errors="surrogateescape"), np.uint8)
        length = np.diff(self._end, prepend=0)
        if not folder:
            return np.ones(len(length), np.bool_)
        inside = length > len(wanted)
        start = (self._end - length)[inside]
        for place, byte in enumerate(wanted):
            same = self._text[start + place] == byte
            inside[np.flatnonzero(inside)[~same]] = False
            start = start[same]
        return inside

    @staticmethod
    def save(folder: Path, paths: Sequence[str]) -> None:
        """Write paths into a folder that exists."""
        encoded = [path.encode("utf-8", errors="surrogateescape") for path in paths]
        np.save(folder / "paths_end.npy", np.cumsum([len(e) for e in encoded], dtype=np.int64))
        np.save(folder / "paths.npy", np.frombuffer(b"".join(encoded), np.uint8))

    @classmethod
    def load(cls, folder: Path, n: int) -> PhotoPaths:
        """Map what ``save`` wrote of n paths.

        Raises:
            DamagedError: there are others, or a path would lead out of the folder that it is relative to.
        """
        end = load_array(folder / "paths_end.npy", np.int64, (n,))
        if n and (int(end[0]) < 0 or (np.diff(end) < 0).any()):
            raise DamagedError(f"{folder / 'paths_end.npy'} is damaged")
        text = load_array(folder / "paths.npy", np.uint8, (int(end[-1]) if n else 0,))
        if not are_safe_paths(text, end):
            raise DamagedError(f"{folder / 'paths.npy'} has a path that leads out of the photo folder")
        return cls(text, end)


def are_safe_paths(text: U8Array, end: I64Array) -> bool:
    """Tell whether ``library.schema.is_safe_path`` holds for all paths at once, 100,000 of them in 15 ms.

    Args:
        text, end: as for ``PhotoPaths``.
    """
    if (np.diff(end, prepend=0) == 0).any() or (text == 0).any():
        return False
    slash, dot = text == _SLASH, text == _DOT
    first, last = np.zeros(len(text), bool), np.zeros(len(text), bool)  # characters of the parts of a path
    first[np.concatenate([[0], end[:-1]])[: len(end)]] = True
    last[end - 1] = True
    first[1:] |= slash[:-1]
    last[:-1] |= slash[1:]
    empty, here = slash & (first | last), dot & first & last
    above = dot[:-1] & dot[1:] & first[:-1] & last[1:]
    return not (empty.any() or here.any() or above.any())
