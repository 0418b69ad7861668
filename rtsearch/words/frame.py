"""Find what words describe among the objects of a frame, while it plays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rtsearch.images.colour_names import COLOUR_NAMES, crop_colours
from rtsearch.types import Detections, U8Array
from rtsearch.words.find import HAS_COLOUR
from rtsearch.words.request import Part, Request, parse_request

__all__ = ["FrameWords", "frame_words"]


class FrameWords:
    """Tells which objects of a frame a request describes; safe to use from several threads.

    Args:
        request: words that were understood.
    """

    follows = False

    def __init__(self, request: Request) -> None:
        self._request = request

    def matching(self, bgr: U8Array, found: Detections) -> NDArray[np.bool_]:
        """Return (n,) bool: objects that are looked for, in a frame that holds all that the request names.

        Args:
            bgr: (H, W, 3) uint8, the frame.
            found: n objects of it.
        """
        there = _of_part(self._request.main, bgr, found)
        complete = all(_of_part(part, bgr, found).any() for part in self._request.beside)
        return there if complete else np.zeros_like(there)


def frame_words(text: str, class_names: Sequence[str]) -> FrameWords | None:
    """Return what tells which objects a text describes; None for a text without a word.

    Raises:
        WordsError: a word is not known.
    """
    return FrameWords(parse_request(text, class_names)) if text.strip() else None


def _of_part(part: Part, bgr: U8Array, found: Detections) -> NDArray[np.bool_]:
    """Return which objects are of a part; none where there are not as many as it says."""
    there: NDArray[np.bool_] = np.isin(found.label, part.labels)
    if part.colour is not None:
        name = COLOUR_NAMES.index(part.colour)
        for i in np.flatnonzero(there):
            crop = _crop(bgr, found.xyxy[i])
            there[i] = crop.size > 0 and crop_colours(crop)[name] >= HAS_COLOUR
    if part.count is not None and int(there.sum()) != part.count:
        return np.zeros_like(there)
    return there


def _crop(bgr: U8Array, xyxy: NDArray[np.float32]) -> U8Array:
    height, width = bgr.shape[:2]
    x1, y1, x2, y2 = np.clip(np.rint(xyxy), 0, [width, height, width, height]).astype(int)
    return bgr[y1:y2, x1:x2]
