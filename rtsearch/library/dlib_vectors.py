"""Read the vectors file of ReverseObjectSearchFast, the program of 2017 that this one follows.

    [encodings] projected, crops (x, y, width, height), probabilities, file names [projection, means]

It has encodings where only features were saved, else the projection. What fits is taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rtsearch.errors import LibraryError
from rtsearch.library.dlib_stream import DlibStream, StreamError
from rtsearch.types import F32Array

__all__ = ["DlibVectors", "read_dlib_vectors"]


@dataclass(frozen=True, slots=True)
class DlibVectors:
    """Objects of a vectors file.

    Attributes:
        vectors: (n, d) float32.
        xyxy: (n, 4) float32, boxes in their photos, px.
        scores: (n,) float32.
        paths: n paths of photos, relative to their folder, without a slash in front.
        projection: (D, d) float32 that has made the vectors; None of features.
    """

    vectors: F32Array
    xyxy: F32Array
    scores: F32Array
    paths: list[str]
    projection: F32Array | None


def read_dlib_vectors(path: Path) -> DlibVectors:
    """Read a vectors file.

    Raises:
        LibraryError: it cannot be read, or is no such file; the message says why.
    """
    try:
        try:
            return _read(DlibStream(path), features=False)
        except StreamError as error:
            why = error
        try:
            return _read(DlibStream(path), features=True)
        except StreamError:
            raise LibraryError(f"{path} is no vectors file of ReverseObjectSearchFast: {why}") from None
    except OSError as error:
        raise LibraryError(f"{path} cannot be read: {error.strerror or error}") from None


def _read(stream: DlibStream, *, features: bool) -> DlibVectors:
    vectors = stream.table()
    if features:
        stream.table()  # projected, of which there need be none
    n = len(vectors)
    crops, scores = stream.table(), stream.numbers()
    if not n or crops.shape != (n, 4) or len(scores) != n:
        raise StreamError(f"{n:,} vectors, {len(crops):,} boxes and {len(scores):,} scores do not fit")
    paths = [path.removeprefix("/") for path in stream.texts()]
    projection = None if features else stream.matrix()
    if projection is not None:
        stream.numbers()  # means of columns
    if len(paths) != n or not stream.at_end:
        raise StreamError(f"{len(paths):,} file names for {n:,} vectors, or more behind them")
    finite = np.isfinite(vectors).all() and np.isfinite(crops).all() and np.isfinite(scores).all()
    if not finite:
        raise StreamError("numbers that are infinite or none")
    xyxy = np.concatenate([crops[:, :2], crops[:, :2] + np.maximum(crops[:, 2:], 0)], axis=1)
    return DlibVectors(vectors, xyxy, np.clip(scores, 0, 1), paths, projection)
