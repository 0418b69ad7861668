"""Write scenes to standard output: one line of JSON each, as records have it."""

from __future__ import annotations

import itertools
import math
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from rtsearch.recording import json_line, text_bytes
from rtsearch.send.by_row import ByRow
from rtsearch.send.outlet import ReaderGoneError
from rtsearch.send.scene import SentScene

__all__ = ["LinesPeer"]

# No text holds these: within one, quotes have a backslash before them.
_DISTANCE = '"distance":null'
_NEIGHBOURS = '"neighbours":null'


class LinesPeer:
    """Standard output, which gets the lines that a record has.

    Most of a line are neighbours, and most of these were in the line before: their texts are kept.
    """

    longest_wait_s = 1.0
    known_after = 1

    def __init__(self) -> None:
        self._texts = ByRow(_around_distance)

    def open(self) -> None:
        """Take the descriptor of standard output."""
        self._descriptor = sys.stdout.fileno()

    def send(self, scene: SentScene, /) -> None:
        """Write the line of a scene.

        Raises:
            ReaderGoneError: whoever read the lines has gone.
        """
        left = memoryview(text_bytes(self._line(scene)))
        try:
            while left:
                left = left[os.write(self._descriptor, left) :]
        except BrokenPipeError:
            raise ReaderGoneError("whoever read standard output has gone") from None

    def finish(self) -> None:
        """Do nothing: each line is written at once."""

    def close(self) -> None:
        """Do nothing: standard output stays open."""

    def _line(self, scene: SentScene) -> str:
        pieces = json_line(scene.outline).split(_NEIGHBOURS)
        parts = [pieces[0]]
        for text, piece in zip(self._neighbours(scene), pieces[1:], strict=True):
            parts += ('"neighbours":[', text, "]", piece)
        return "".join((*parts, "\n"))

    def _neighbours(self, scene: SentScene) -> Iterator[str]:
        """Yield the texts of the neighbours of each object of the frame."""
        rows = scene.neighbours.row[: scene.seen, : scene.results]
        there = rows >= 0
        far = scene.neighbours.distance[: scene.seen, : scene.results][there].astype(np.float64)
        distances = np.round(far, 5).tolist()
        texts = self._texts.of(rows[there].tolist(), scene.library)
        known = (
            f"{head}{d if math.isfinite(d) else 'null'}{tail}"
            for (head, tail), d in zip(texts, distances, strict=True)
        )
        for count in there.sum(1).tolist():
            yield ",".join(itertools.islice(known, count))


def _around_distance(near: Mapping[str, Any]) -> tuple[str, str]:
    """Return the text of a neighbour before and after the value of its distance."""
    head, tail = json_line(near).split(_DISTANCE)
    return f'{head}"distance":', tail
