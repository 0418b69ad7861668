"""Write fragments anew as one: without some photos, with other rows for some, or several joined."""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rtsearch._util.regular_files import open_regular
from rtsearch.library.fragment import Columns, FragmentWriter, checked_path, read_objects
from rtsearch.library.manifest import Fragment
from rtsearch.library.schema import OBJECT_COLUMNS, PhotoRow

__all__ = ["Part", "rewritten"]

_BATCH_ROWS = 4096

Mask: TypeAlias = NDArray[np.bool_]
Pack: TypeAlias = mmap.mmap | bytes


class Part(NamedTuple):
    """Fragment that is written anew: all its photos, with the rows they get, and (n,) bool, which stay."""

    fragment: Fragment
    photos: Sequence[PhotoRow]
    keep: Mask


def rewritten(folder: Path, name: str, dim: int, parts: Sequence[Part]) -> Fragment:
    """Write what is kept of some fragments as one; photos and objects keep their order.

    Args:
        folder: the library.
        name: of the new fragment, which the manifest has yet to name.
        dim: dimensions of the vectors.
        parts: of the library.

    Raises:
        DamagedError: a fragment is damaged; it is named.
        OSError: the disk refuses.
    """
    writer = FragmentWriter(folder, name, dim)
    try:
        for part in parts:
            _copy(folder, dim, part, writer)
        return writer.finish()
    except BaseException:
        writer.discard()
        raise


def _copy(folder: Path, dim: int, part: Part, writer: FragmentWriter) -> None:
    new_number = np.int32(writer.photos - 1) + np.cumsum(part.keep, dtype=np.int32)
    for i in np.flatnonzero(part.keep).tolist():
        writer.add_photo(part.photos[i])
    with _mapped(checked_path(folder, part.fragment, "thumbs")) as pack:
        for rows in read_objects(folder, part.fragment, dim, OBJECT_COLUMNS, _BATCH_ROWS):
            _copy_rows(writer, rows, part.keep[rows["photo"]], new_number, pack)


def _copy_rows(
    writer: FragmentWriter, rows: Columns, keep: Mask, new_number: NDArray[np.int32], pack: Pack
) -> None:
    rows = {name: column[keep] for name, column in rows.items()}
    lengths = rows["thumb_bytes"]
    starts = rows["thumb_offset"].tolist()
    jpegs = b"".join(pack[start : start + n] for start, n in zip(starts, lengths.tolist(), strict=True))
    rows["photo"] = new_number[rows["photo"]]
    writer.add_objects(rows, lengths, jpegs)


@contextlib.contextmanager
def _mapped(path: Path) -> Iterator[Pack]:
    with open_regular(path) as file:
        if path.stat().st_size == 0:  # which cannot be mapped
            yield b""
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as pack:
            yield pack
