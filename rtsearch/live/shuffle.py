"""Photos of a library in random order, for the source ``random``."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from rtsearch.library.index import SearchIndex

__all__ = ["library_photos"]


def library_photos(index: SearchIndex, seed: int | None = None) -> Iterator[Path]:
    """Yield photos of the library in random order, for ever; films are left out."""
    order = random.Random(seed)
    rows = np.flatnonzero(np.isnan(index.times_s[:, 0]))
    while len(rows):
        yield index.library.photo_path(index.photo(int(rows[order.randrange(len(rows))])))
