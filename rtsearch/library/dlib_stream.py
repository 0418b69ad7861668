"""Read the vectors file of ReverseObjectSearchFast, the openFrameworks application of 2017.

It is a stream of dlib's serialization, without any header:

    [vectors (n, D)]  projected (n, d) or none  boxes (n, 4)  scores (n,)  names (n,)  [axes, means]

The first part is there if "features only" were saved, the last if not; a file is read as the one and, where
that does not come out even, as the other. Numbers are integers of as many bytes as they need, or floats as a
mantissa and an exponent; older versions of dlib wrote floats as decimal text. Formats after dlib's
``serialize.h`` and ``float_details.h``.

Every count is compared with the bytes that are left before memory is taken for it.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rtsearch._util.regular_files import open_regular
from rtsearch.errors import FormatError
from rtsearch.types import F32Array

__all__ = ["DlibObjects", "read_dlib"]

_MOST_DIM = 65536
_MOST_NAME_BYTES = 4096
_LEAST_FLOAT_BYTES = 2  # a digit and a blank
_MOST_TEXT_BYTES = 64  # of a float as text
_IS_TEXT = 0x70  # no byte that begins an integer has any of these bits, and every digit has some


@dataclass(frozen=True, slots=True)
class DlibObjects:
    """The n objects of a vectors file.

    Attributes:
        vectors: (n, D) float32, the unprojected ones where the file has them.
        projected: the vectors are projected ones.
        xywh: (n, 4) float32, left, top, width and height in pixels of the photo.
        scores: (n,) float32.
        names: n paths of photos below a folder, with ``/`` and as written, mostly with one in front.
    """

    vectors: F32Array
    projected: bool
    xywh: F32Array
    scores: F32Array
    names: tuple[str, ...]


def read_dlib(path: Path) -> DlibObjects:
    """Read a vectors file.

    Raises:
        FormatError: it is none, or it is damaged.
        OSError: it cannot be read.
    """
    with open_regular(path) as file:
        if path.stat().st_size == 0:
            raise FormatError(f"{path} is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            for features_only in (False, True):
                try:
                    return _read(np.frombuffer(data, np.uint8), features_only=features_only)
                except _NotSoError as problem:
                    reason = str(problem)
    raise FormatError(f"{path} is no vectors file of ReverseObjectSearchFast, or it is damaged ({reason})")


class _NotSoError(Exception):
    """The bytes are not what is read."""


def _read(data: NDArray[np.uint8], *, features_only: bool) -> DlibObjects:
    stream = _Stream(data)
    features = stream.rows() if features_only else None
    projected = stream.rows()
    boxes = stream.rows()
    scores = stream.floats(stream.count(_LEAST_FLOAT_BYTES))
    names = tuple(stream.text() for _ in range(stream.count(1)))
    if not features_only:
        stream.matrix()
        stream.floats(stream.count(_LEAST_FLOAT_BYTES))
    vectors = projected if features is None else features
    if stream.left:
        raise _NotSoError(f"{stream.left} bytes too many")
    if boxes.shape[1:] != (4,) or not len(vectors) == len(boxes) == len(scores) == len(names):
        raise _NotSoError("its parts have different lengths")
    return DlibObjects(vectors, features is None, boxes, scores, names)


class _Stream:
    """Reads one thing after the other."""

    def __init__(self, data: NDArray[np.uint8]) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        """Bytes that are left."""
        return len(self._data) - self._at

    def integer(self) -> int:
        """Read an integer: a byte with its sign and length, then its bytes, the lowest first."""
        head = self._take(1)[0]
        length = head & 0x0F
        if head & _IS_TEXT or not 1 <= length <= 8:
            raise _NotSoError("no number where one is expected")
        value = int.from_bytes(self._take(length), "little")
        return -value if head & 0x80 else value

    def count(self, least_bytes: int) -> int:
        """Read the number of things that follow, each of at least so many bytes."""
        count = self.integer()
        if not 0 <= count * least_bytes <= self.left:
            raise _NotSoError(f"it says {count} where {self.left} bytes are left")
        return count

    def text(self) -> str:
        """Read a text, which need not be UTF-8."""
        length = self.count(1)
        if length > _MOST_NAME_BYTES:
            raise _NotSoError(f"a name of {length} bytes")
        return self._take(length).decode("utf-8", "surrogateescape")

    def floats(self, count: int) -> F32Array:
        """Read so many floats."""
        from rtsearch.library.dlib_floats import read_floats  # loads numba

        if count and self.left and self._data[self._at] & _IS_TEXT:
            return self._text_floats(count)
        values = np.empty(count)
        end = read_floats(self._data, self._at, values)
        if end < 0:
            raise _NotSoError("no float where one is expected")
        self._at = end
        return _narrow(values)

    def rows(self) -> F32Array:
        """Read a list of lists of the same length, (n, length)."""
        count = self.count(1)
        first = self._row() if count else np.zeros(0, np.float32)
        if count * len(first) * _LEAST_FLOAT_BYTES > self.left + len(first) * _MOST_TEXT_BYTES:
            raise _NotSoError(f"it says {count} rows where {self.left} bytes are left")
        rows = np.empty((count, len(first)), np.float32)
        for i in range(count):
            rows[i] = first if i == 0 else self._row(len(first))
        return rows

    def matrix(self) -> None:
        """Pass over a matrix, whose height and width are written as negative numbers."""
        height, width = -self.integer(), -self.integer()
        if height < 0 or width < 0 or height * width * _LEAST_FLOAT_BYTES > self.left:
            raise _NotSoError("no matrix where one is expected")
        self.floats(height * width)

    def _row(self, length: int | None = None) -> F32Array:
        count = self.count(_LEAST_FLOAT_BYTES)
        if count > _MOST_DIM or length not in (None, count):
            raise _NotSoError("vectors of different lengths")
        return self.floats(count)

    def _text_floats(self, count: int) -> F32Array:
        """Read floats as text, a blank after each; dlib writes ``ninf`` for the negative infinity."""
        room = self._data[self._at : self._at + count * _MOST_TEXT_BYTES].tobytes()
        words = room.split(b" ", count)
        if len(words) <= count:
            raise _NotSoError("fewer numbers than it says")
        self._at += sum(map(len, words[:count])) + count
        try:
            return _narrow(np.array([float(word.replace(b"ninf", b"-inf")) for word in words[:count]]))
        except ValueError:
            raise _NotSoError("no float where one is expected") from None

    def _take(self, count: int) -> bytes:
        if count > self.left:
            raise _NotSoError("it ends too early")
        taken = self._data[self._at : self._at + count].tobytes()
        self._at += count
        return taken


def _narrow(values: NDArray[np.float64]) -> F32Array:
    with np.errstate(over="ignore"):
        return values.astype(np.float32)
