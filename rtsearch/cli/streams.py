"""Standard output that says what is wrong with it in one line."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast

from rtsearch.errors import RecordError

__all__ = ["worded_output"]


@contextlib.contextmanager
def worded_output() -> Iterator[None]:
    """Let writing to standard output inside the block raise a RecordError where it is full or closed."""
    plain = sys.stdout
    worded = sys.stdout = cast(TextIO, _Worded(plain))
    try:
        yield
        sys.stdout.flush()
    finally:
        if sys.stdout is worded:  # typer puts another one there when a pipe's reader has gone
            sys.stdout = plain


class _Worded:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with _wording(self._stream):
            return self._stream.write(text)

    def flush(self) -> None:
        with _wording(self._stream):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def _wording(stream: TextIO) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.EPIPE:  # a reader that has seen enough is no fault
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # for what is still in its buffer
        raise RecordError(
            f"standard output cannot be written: {error.strerror}; redirect it to a place that can be"
        ) from None
