"""A video in pieces, each a whole file: recordings of weeks are never one file that somebody must cut."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from rtsearch.recording.mp4 import VideoRecorder
from rtsearch.recording.problems import FinishesOnExit
from rtsearch.types import U8Array

__all__ = ["SplitRecorder", "piece_paths"]


def piece_paths(path: Path) -> list[Path]:
    """Return the pieces of a video that are there, ``NAME-0001.mp4`` and so on, by number."""
    return [piece for _, piece in sorted(_numbered(path)) if not piece.name.startswith(".")]


def _numbered(path: Path) -> list[tuple[int, Path]]:
    """Return the number and path of each piece, unfinished ones of killed runs too."""
    stem, suffix = re.escape(path.stem), re.escape(path.suffix)
    name = re.compile(rf"(?:{stem}|\.{stem})-(\d{{4,9}})(?:\.\d+\.(?:part|sound))?{suffix}")
    found = ((name.fullmatch(each.name), each) for each in path.parent.iterdir())
    return [(int(match[1]), each) for match, each in found if match]


class SplitRecorder(FinishesOnExit):
    """Writes the pictures of a run to one video after the other; a later run goes on counting.

    Args:
        path: ``NAME.mp4``, which names the pieces ``NAME-0001.mp4`` and so on.
        split_s: length of a piece.
        open_video: opens the video of a piece.

    Raises:
        RecordError: as ``VideoRecorder``.
    """

    def __init__(self, path: Path, split_s: float, open_video: Callable[[Path], VideoRecorder]) -> None:
        self._path = path
        self._split_s = split_s
        self._open_video = open_video
        self._finisher = ThreadPoolExecutor(1, "finish")  # a long piece takes seconds, the picture goes on
        self._finished: Future[None] | None = None
        self._number = max((number for number, _ in _numbered(path)), default=0)
        self._video = self._next()

    def write(self, bgr: U8Array, t_s: float) -> None:
        """Append a picture, to a new piece where the last one is long enough."""
        if self._video.length_s >= self._split_s:
            self._wait()
            self._finished = self._finisher.submit(self._video.close)
            self._video = self._next()
        self._video.write(bgr, t_s)

    def close(self) -> None:
        """Finish the last piece, and wait for the one before."""
        try:
            self._video.close()
            self._wait()
        finally:
            self._finisher.shutdown()

    def _next(self) -> VideoRecorder:
        self._number += 1
        return self._open_video(self._path.with_stem(f"{self._path.stem}-{self._number:04d}"))

    def _wait(self) -> None:
        finished, self._finished = self._finished, None
        if finished is not None:
            finished.result()
