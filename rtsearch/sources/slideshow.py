"""Photos as a source: one, a folder as a slide show, or any sequence of paths such as random ones of a
library.

Each photo is given once; its presentation time is its turn times the seconds that each stays, so a wall clock
(``pace.Paced``) shows a slide show and ``every`` goes straight through.

    cannot be read -> can any other be opened? -> yes: it is broken or deleted, and left out
          ^                                    -> no: the drive is away, the photo keeps its turn
          └─────────────── a second ───────────────────┘
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from rtsearch._util.regular_files import open_regular
from rtsearch.errors import PhotoError, SourceError
from rtsearch.images.decode import quiet_decoders, read_photo
from rtsearch.images.excluded import IGNORE_NAME, Patterns, read_patterns
from rtsearch.images.formats import PHOTO_SUFFIXES
from rtsearch.sources.base import Source, Status
from rtsearch.types import Frame, U8Array

__all__ = ["Photos", "photos_under"]

log = logging.getLogger(__name__)

_MAX_BAD_IN_A_ROW = 1000
_LOOK_AGAIN_S = 1.0
_WITNESSES = 20  # others that are tried before all photos are said to be lost; each look tries different ones
_MAX_WAITING = 10_000  # paths may go on for ever


def photos_under(folder: Path, exclude: Sequence[str] = ()) -> list[Path]:
    """Return the photos in a folder and those below it, sorted; links to folders are not followed.

    Args:
        folder: the folder.
        exclude: patterns of names that are left out, as are those of files ``.rtsearchignore``; see
            ``images.excluded``.
    """
    found: list[Path] = []
    waiting: list[tuple[str, tuple[Patterns, ...]]] = [("", (Patterns.of("", exclude),))]
    while waiting:
        place, patterns = waiting.pop()
        entries = _inside(folder / place)
        if any(entry.name == IGNORE_NAME for entry in entries):
            with contextlib.suppress(OSError):
                patterns = (*patterns, read_patterns(folder / place / IGNORE_NAME, place))
        for entry in entries:
            path = place + entry.name
            if any(each.match(path) for each in patterns):
                continue
            if entry.is_dir(follow_symlinks=False):
                waiting.append((f"{path}/", patterns))
            elif Path(path).suffix.lower() in PHOTO_SUFFIXES:
                found.append(folder / path)
    return sorted(found)


def _inside(folder: Path) -> list[os.DirEntry[str]]:
    """List a folder; one that cannot be read is left out, and the log says so."""
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        log.warning("left out: %s: the folder cannot be read: %s", folder, error.strerror)
        return []


class Photos(Source):
    """Photos in the order given; those that cannot be read are left out, and the log says why, once for each.

    Where none can be read any more (a drive is away), the next one is waited for.

    Args:
        name: what to call the source.
        paths: where the photos are; may go on for ever. A sequence begins again at its end while ``loop`` is
            true; times go on.
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
        self._all = paths if isinstance(paths, Sequence) else ()  # to begin again with
        self._paths: Iterator[Path] = iter(paths)
        self._waiting: deque[Path] = deque()  # taken from the paths; the first has its turn
        self._shown: deque[Path] = deque(maxlen=_WITNESSES)
        self._left_out: set[Path] = set()
        self._read = read
        self._every_s = every_s
        self._next_id = 0
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._lost = threading.Event()
        self._alone = frames == 1  # what is wrong with it is the error, and no line besides
        self._reason = "there are no photos in it"
        self._ahead = self._find(name, wait=False)
        if self._ahead is None:
            raise SourceError(f"{name} cannot be shown: {self._reason.removeprefix(f'{name}: ')}")
        first = self._ahead[1]
        super().__init__(name, fps=1 / every_s, frames=frames, wh=(first.shape[1], first.shape[0]))

    @property
    def status(self) -> Status:
        """``reconnecting`` while no photo can be read."""
        return "reconnecting" if self._lost.is_set() else "ok"

    def __next__(self) -> Frame:
        with self._lock:
            found, self._ahead = self._ahead or self._find(self.name, wait=True), None
            if found is None or self._stop.is_set():
                raise StopIteration
            path, bgr = found
            frame = Frame(self._next_id, time.monotonic(), self._next_id * self._every_s, bgr, str(path))
            self._next_id += 1
            return frame

    def close(self) -> None:
        """End; nothing is held open."""
        self._stop.set()

    def _find(self, name: str, *, wait: bool) -> tuple[Path, U8Array] | None:
        """Return the next photo that can be read; None at the end, or once all are lost, without ``wait``."""
        bad = 0
        while not self._stop.is_set() and (path := self._turn()) is not None:
            bgr = self._try(path)
            lost = bgr is None and not self._any_is_there()
            if not lost:
                bgr = self._try(path) if bgr is None else bgr  # it may have come back meanwhile
                self._waiting.popleft()
                if bgr is not None:
                    self._found(name, path)
                    return path, bgr
                self._leave_out(path)
                bad += 1
            # A library of broken photos has no end, and must not keep a core busy either.
            if lost or bad == _MAX_BAD_IN_A_ROW:
                if not wait:
                    return None
                bad = 0
                self._lose(name)
                self._stop.wait(_LOOK_AGAIN_S)
        return None

    def _turn(self) -> Path | None:
        """Return the photo whose turn it is; None at the end."""
        if not self._waiting:
            self._waiting.extend(itertools.islice(self._paths, 1))
        if not self._waiting and self.loop:
            self._paths = iter(self._all)
            self._waiting.extend(itertools.islice(self._paths, 1))
        return self._waiting[0] if self._waiting else None

    def _try(self, path: Path) -> U8Array | None:
        try:
            with quiet_decoders():
                return self._read(path)
        except PhotoError as error:
            self._reason = str(error)
            return None

    def _any_is_there(self) -> bool:
        """Tell whether any photo, shown or to come, can be opened."""
        if len(self._waiting) < _MAX_WAITING:
            self._waiting.extend(itertools.islice(self._paths, _WITNESSES))
        others = random.sample(self._waiting, min(_WITNESSES, len(self._waiting)))
        return any(map(_is_there, (self._waiting[0], *self._shown, *others)))

    def _found(self, name: str, path: Path) -> None:
        if self._lost.is_set():
            log.warning("%s: photos can be read again", name)
        self._lost.clear()
        self._shown.append(path)

    def _lose(self, name: str) -> None:
        if not self._lost.is_set():
            log.warning("%s: no photo can be read, trying again until one can: %s", name, self._reason)
        self._lost.set()

    def _leave_out(self, path: Path) -> None:
        if path not in self._left_out and not self._alone:
            log.warning("left out: %s", self._reason)
        self._left_out.add(path)


def _is_there(path: Path) -> bool:
    try:
        with open_regular(path) as file:
            file.read(1)
    except OSError:
        return False
    return True
