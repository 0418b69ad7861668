"""Photos as a source: one, a folder as a slide show, or any sequence of paths such as random ones of a
library.

Each photo is given once; its presentation time is its turn times the seconds that each stays, so a wall clock
(``pace.Paced``) shows a slide show and ``every`` goes straight through.
"""

from __future__ import annotations

import itertools
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from rtsearch.errors import PhotoError, SourceError
from rtsearch.pictures import quiet_decoders, read_photo
from rtsearch.records import Frame, U8Array
from rtsearch.sources.base import Source

__all__ = ["PHOTO_SUFFIXES", "Photos", "photos_under"]

log = logging.getLogger(__name__)

PHOTO_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp"})
_MAX_BAD_IN_A_ROW = 1000


def photos_under(folder: Path) -> list[Path]:
    """The photos in a folder and those below it, sorted; links to folders are not followed."""
    return sorted(
        Path(here) / name
        for here, _, names in os.walk(folder)
        for name in names
        if Path(name).suffix.lower() in PHOTO_SUFFIXES
    )


class Photos(Source):
    """Photos in the order given; those that cannot be read are left out, and the log says why.

    Args:
        name: what to call the source.
        paths: where the photos are; may go on for ever.
        every_s: seconds that each stays.
        read: gives the picture at a path, or raises PhotoError.
        frames: how many there are, where that is known.

    Raises:
        SourceError: not one of them can be read.
    """

    slides = True

    def __init__(
        self,
        name: str,
        paths: Iterable[Path],
        *,
        every_s: float,
        read: Callable[[Path], U8Array] = read_photo,
        frames: int | None = None,
    ) -> None:
        self._paths: Iterator[Path] = iter(paths)
        self._read = read
        self._every_s = every_s
        self._next_id = 0
        self._closed = False
        self._lock = threading.Lock()
        self._alone = frames == 1  # what is wrong with it is the error, and no line besides
        self._reason = "there are no photos in it"
        self._ahead = self._find()
        if self._ahead is None:
            raise SourceError(f"{name} cannot be shown: {self._reason.removeprefix(f'{name}: ')}")
        first = self._ahead[1]
        super().__init__(name, fps=1 / every_s, frames=frames, wh=(first.shape[1], first.shape[0]))

    def __next__(self) -> Frame:
        with self._lock:
            found, self._ahead = self._ahead or (None if self._closed else self._find()), None
            if found is None or self._closed:
                raise StopIteration
            path, bgr = found
            frame = Frame(self._next_id, time.monotonic(), self._next_id * self._every_s, bgr, str(path))
            self._next_id += 1
            return frame

    def close(self) -> None:
        """End; nothing is held open."""
        self._closed = True

    def _find(self) -> tuple[Path, U8Array] | None:
        # A library whose photos are gone must not be searched for ever.
        for path in itertools.islice(self._paths, _MAX_BAD_IN_A_ROW):
            try:
                with quiet_decoders():
                    return path, self._read(path)
            except PhotoError as error:
                self._reason = str(error)
                if not self._alone:
                    log.warning("left out: %s", error)
        return None
