"""The picture that an object of a library was seen in: its photo, or its film at that moment."""

from __future__ import annotations

import contextlib
import math
import time

from rtsearch.errors import SourceError
from rtsearch.images.decode import quiet_decoders, read_photo
from rtsearch.library.index import SearchIndex
from rtsearch.sources import VideoFile
from rtsearch.types import Frame

__all__ = ["original_frame"]


def original_frame(index: SearchIndex, row: int, max_mp: float) -> Frame:
    """Return the picture that an object was seen in; the object's box is in pixels of it.

    Args:
        index: of the library.
        row: number of the object.
        max_mp: larger photos are refused, millions of pixels.

    Raises:
        PhotoError, SourceError: the file cannot be read.
    """
    path, t_s = index.library.photo_path(index.photo(row)), float(index.times_s[row, 0])
    if math.isnan(t_s):
        with quiet_decoders():
            return Frame(0, time.monotonic(), None, read_photo(path, max_mp))
    with contextlib.closing(VideoFile(str(path))) as film:
        film.seek(t_s)
        frame = next(film, None)
    if frame is None:
        raise SourceError(f"{path} ends before {t_s:.1f} s; analyse it anew")
    return frame
