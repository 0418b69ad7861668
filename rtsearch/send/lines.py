"""Write scenes to standard output: one line of JSON each."""

from __future__ import annotations

import os
import sys

from rtsearch.recording import json_line, text_bytes
from rtsearch.send.outlet import ReaderGoneError
from rtsearch.send.scene import SentScene

__all__ = ["LinesPeer"]


class LinesPeer:
    """Standard output, which gets the lines that a record has."""

    longest_wait_s = 1.0
    known_after = 1

    def open(self) -> None:
        """Take the descriptor of standard output."""
        self._descriptor = sys.stdout.fileno()

    def send(self, scene: SentScene, /) -> None:
        """Write the line of a scene.

        Raises:
            ReaderGoneError: whoever read the lines has gone.
        """
        left = memoryview(text_bytes(json_line(scene.record) + "\n"))
        try:
            while left:
                left = left[os.write(self._descriptor, left) :]
        except BrokenPipeError:
            raise ReaderGoneError("whoever read standard output has gone") from None

    def finish(self) -> None:
        """Do nothing: each line is written at once."""

    def close(self) -> None:
        """Do nothing: standard output stays open."""
