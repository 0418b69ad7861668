"""Photos of a library in random order, for the source ``random``."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from rtsearch.library.index import SearchIndex

__all__ = ["library_photos"]


def library_photos(index: SearchIndex, seed: int | None = None) -> Iterator[Path]:
    """Yield photos of the library in random order, for ever."""
    order = random.Random(seed)
    while True:
        yield index.library.photo_path(index.photo(order.randrange(len(index))))
