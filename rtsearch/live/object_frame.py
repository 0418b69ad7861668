"""Read the picture that an object of a library was seen in."""

from __future__ import annotations

import contextlib
import math
import time

from rtsearch.errors import PhotoError, SourceError
from rtsearch.images.decode import quiet_decoders, read_photo
from rtsearch.library.index import SearchIndex
from rtsearch.sources import VideoFile
from rtsearch.types import Frame

__all__ = ["object_frame"]


def object_frame(index: SearchIndex, row: int, max_photo_mp: float) -> Frame:
    """Return the photo or the picture of a film that an object was seen in.

    Args:
        index: of the library.
        row: number of the object.
        max_photo_mp: largest size of a photo, megapixels.

    Raises:
        PhotoError, SourceError: the file cannot be read.
    """
    if row >= len(index):
        raise PhotoError("of what is remembered there is this crop only")
    path, t_s = index.library.photo_path(index.photo(row)), index.time_s(row)
    if math.isnan(t_s):
        with quiet_decoders():
            return Frame(0, time.monotonic(), None, read_photo(path, max_photo_mp))
    with contextlib.closing(VideoFile(str(path))) as film:
        film.seek(t_s)
        frame = next(film, None)
    if frame is None:
        raise SourceError(f"{path} has no picture at {t_s:.1f} s any more")
    return frame
