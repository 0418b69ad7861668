"""Facts about rows of a library, as they travel: all that a picture or a record says of a neighbour."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rtsearch.library.search_index import SearchIndex
from rtsearch.types import F32Array, I32Array

__all__ = ["RECORD", "Facts", "facts_of"]

RECORD = np.dtype(
    [
        ("row", "<i4"),
        ("photo", "<i4"),
        ("label", "<i4"),
        ("folded", "<i4"),
        ("leader", "<i4"),
        ("xyxy", "<f4", (4,)),
        ("times_s", "<f8", (3,)),
    ]
)
"""Numbers of a row, without padding; ``leader`` is the row that stands for its near duplicates."""


class Facts(NamedTuple):
    """Facts about n rows.

    Attributes:
        records: (n,) of dtype ``RECORD``.
        points: (n, dim) float32, where the rows lie.
        paths: of each row's photo or film.
    """

    records: NDArray[Any]
    points: F32Array
    paths: tuple[str, ...]


def facts_of(index: SearchIndex, rows: I32Array) -> Facts:
    """Return the facts about rows of an index of this machine.

    Args:
        index: narrowed as the search is, which decides how many near duplicates a row stands for.
        rows: (n,) int32, each once.
    """
    records = np.empty(len(rows), RECORD)
    records["row"] = rows
    records["photo"] = index.photos_of(rows)
    records["label"] = index.labels[rows]
    records["folded"] = index.folded(rows)
    records["leader"] = index.leaders[rows]
    records["xyxy"] = index.boxes[rows]
    records["times_s"] = index.times_s[rows]
    return Facts(records, index.points(rows), tuple(index.photo(row) for row in rows.tolist()))
