"""Read numbers and texts out of a stream that any version of dlib has serialised, within its bounds.

whole number   byte: sign and length -> so many bytes, the lowest first
real number    mantissa and exponent (to the base 2), two whole numbers; of old versions decimal text and
               a blank
text, list     length -> its bytes, its items
matrix         -rows, -columns -> its numbers, row by row
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rtsearch._util.regular_files import open_regular
from rtsearch.library.dlib_kernels import fill, whole
from rtsearch.types import F32Array, U8Array

__all__ = ["DlibStream", "StreamError"]

_LEAST_BYTES = 2  # of any item: a number is at least a digit and a blank
_MOST_WIDTH = 65_536


class StreamError(ValueError):
    """Raised where bytes are not what is expected; the message says what was, and where."""


class DlibStream:
    """A file of serialised values, read one after the other.

    Args:
        path: the file; it is mapped, not read as a whole.

    Raises:
        OSError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        with open_regular(path) as file:
            size = file.seek(0, 2)
            self._data: U8Array = np.memmap(file, np.uint8, "r") if size else np.zeros(0, np.uint8)
        self._at = 0

    @property
    def at_end(self) -> bool:
        """Tell whether all bytes are read."""
        return self._at == len(self._data)

    def count(self) -> int:
        """Return the length of a list that the rest of the file has room for.

        Raises:
            StreamError: it has none.
        """
        number = self._whole()
        if not 0 <= number * _LEAST_BYTES <= len(self._data) - self._at:
            raise StreamError(
                f"a list of {number} items at byte {self._at:,}, which have no room in the file"
            )
        return number

    def table(self) -> F32Array:
        """Return a list of lists of equal length as an array, (n, width) float32; (0, 0) for an empty one.

        Raises:
            StreamError: there is none.
        """
        rows = self.count()
        if not rows:
            return np.zeros((0, 0), np.float32)
        before = self._at
        width = self.count()
        self._at = before
        self._expect_room(rows, width)
        return self._filled(np.empty((rows, width), np.float32), counted=True)

    def numbers(self) -> F32Array:
        """Return a list of numbers, (n,) float32.

        Raises:
            StreamError: there is none.
        """
        return self._filled(np.empty((1, self.count()), np.float32), counted=False).reshape(-1)

    def matrix(self) -> F32Array:
        """Return a matrix, (rows, columns) float32.

        Raises:
            StreamError: there is none.
        """
        rows, columns = abs(self._whole()), abs(self._whole())
        self._expect_room(rows, columns)
        return self._filled(np.empty((rows, columns), np.float32), counted=False)

    def texts(self) -> list[str]:
        """Return a list of texts; bytes that are no UTF-8 are kept as lone halves of characters.

        Raises:
            StreamError: there is none.
        """
        return [self._text() for _ in range(self.count())]

    def _text(self) -> str:
        length = self._whole()
        if not 0 <= length <= len(self._data) - self._at:
            raise StreamError(
                f"a text of {length} bytes at byte {self._at:,}, which have no room in the file"
            )
        begins, self._at = self._at, self._at + length
        return bytes(self._data[begins : self._at]).decode("utf-8", errors="surrogateescape")

    def _whole(self) -> int:
        number, at = whole(self._data, self._at)
        if at < 0:
            raise StreamError(f"no whole number at byte {self._at:,}")
        self._at = at
        return int(number)

    def _expect_room(self, rows: int, columns: int) -> None:
        if columns > _MOST_WIDTH or rows * columns * _LEAST_BYTES > len(self._data) - self._at:
            raise StreamError(
                f"{rows} x {columns} numbers at byte {self._at:,}, which have no room in the file"
            )

    def _filled(self, out: F32Array, *, counted: bool) -> F32Array:
        """Fill an array with the numbers that come next; ``counted``: each row after its length."""
        at = fill(self._data, self._at, out, counted)
        if at < 0:
            raise StreamError(f"no number at byte {-1 - at:,}")
        self._at = int(at)
        return out
