"""The picture that an object of a library was seen in, with its box."""

from __future__ import annotations

import numpy as np

from rtsearch.config import Settings
from rtsearch.library.index import SearchIndex
from rtsearch.live.object_frame import object_frame
from rtsearch.render.boxes import boxed_frame
from rtsearch.types import Detections, Neighbours, Scene, U8Array

__all__ = ["object_picture"]


def object_picture(index: SearchIndex, row: int, settings: Settings) -> U8Array:
    """Return the photo or the picture of a film that an object was seen in, (H, W, 3) uint8 BGR.

    Args:
        index: of the library.
        row: number of the object.
        settings: sections ``analyze`` and ``show``.

    Raises:
        PhotoError, SourceError: the file cannot be read.
    """
    hit = index.hits(np.array([row], np.int32))[0]
    frame = object_frame(index, row, settings.analyze.max_photo_mp)
    one = np.ones(1, np.float32)
    seen = Detections(
        np.array([hit["xyxy"]], np.float32),
        one,
        np.array([index.labels[row]], np.int32),
        one[:, None],
        np.zeros(1, np.int64),  # which is no track, and is not drawn
    )
    none = Neighbours(np.zeros((1, 0), np.int32), np.zeros((1, 0), np.float32))
    scene = Scene(frame, seen, (hit["label"],), none, 1, ((),))
    names = settings.show.model_copy(update={"text": "names"})  # no score is stored in an index
    return boxed_frame(scene, names)
