"""The wall clock of films: when a film began, as its container says, and so when each object was seen."""

from __future__ import annotations

import contextlib
import time
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

import cv2  # noqa: F401  Where PyAV, which is imported below, is loaded first, OpenCV's first window hangs.
import numpy as np
from numpy.typing import NDArray

from rtsearch.errors import PhotoError
from rtsearch.library.reader import Library
from rtsearch.library.search_index import SearchIndex
from rtsearch.storage import address_of

__all__ = ["began_ns", "seen_between_ns"]

# Apple's has the zone of the camera, and is the beginning where the other may be the end.
_TAGS = ("com.apple.quicktime.creationdate", "creation_time")
_FIRST_YEAR = 1990  # clocks that were never set begin in 1904, 1970 or 1980
_DAY_NS = 86_400_000_000_000

Moments = NDArray[np.int64]


def seen_between_ns(index: SearchIndex) -> tuple[Moments, Moments]:
    """Return when each object was first and last seen by the wall clock, (n,) each, nanoseconds since 1970.

    In a film this is its beginning and the times in it. In photos, and in films whose container tells of no
    beginning, it is when the file was changed.
    """
    photos, numbers = index.library.photos(), index.photo_numbers
    changed = np.array(photos.mtime_ns, np.int64)[numbers]
    known_ns: dict[int, int] = {}
    for number in np.unique(numbers[index.tracks >= 0]).tolist():
        film_ns = began_ns(index.library, photos.path[number])
        if film_ns is not None:
            known_ns[number] = film_ns
    began, known = np.zeros(len(photos), np.int64), np.isin(numbers, list(known_ns))
    began[list(known_ns)] = list(known_ns.values())
    times_ns = (np.nan_to_num(index.times_s[:, 1:]) * 1e9).astype(np.int64)
    first, last = (np.where(known, began[numbers] + times_ns[:, i], changed) for i in range(2))
    return first, last


def began_ns(library: Library, path: str) -> int | None:
    """Return when the time 0 of a film was by the wall clock; None where it does not say, or cannot be read.

    Args:
        library: holds the film.
        path: of the film, as in ``photos().path``.
    """
    if address_of(library.photo_root) is None:  # films are not fetched for their dates
        with contextlib.suppress(PhotoError, OSError):
            full = library.photo_path(path)
            return _read_began_ns(full, full.stat().st_mtime_ns)
    return None


@lru_cache(maxsize=1 << 16)
def _read_began_ns(path: Path, _mtime_ns: int) -> int | None:
    """Return when the time 0 of a film was; a file that has changed since is read again."""
    import av

    try:
        with av.open(f"file:{path}", metadata_errors="ignore") as container:
            tags = [container.metadata, *(stream.metadata for stream in container.streams.video)]
            start_us = container.start_time or 0
    except (av.FFmpegError, OSError, ValueError):
        return None
    texts = (tag[name] for name in _TAGS for tag in tags if name in tag)
    began = next((ns for ns in map(_ns, texts) if ns is not None), None)
    return None if began is None else began - start_us * 1000


def _ns(text: str) -> int | None:
    """Return a date of a container, nanoseconds since 1970; None for one that cannot be."""
    try:
        date = datetime.fromisoformat(text.strip())
        ns = int(date.replace(tzinfo=date.tzinfo or UTC).timestamp() * 1e9)
    except (ValueError, OverflowError, OSError):
        return None
    return ns if date.year >= _FIRST_YEAR and ns <= time.time_ns() + _DAY_NS else None
