"""Parts of the pictures in which objects count, and parts in which they do not, such as a mirror in view."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from rtsearch._util.areas import Area, parse_area
from rtsearch.config import LiveSettings
from rtsearch.types import WHOLE_IMAGE_LABEL, Detections, F32Array, Outline

__all__ = ["Areas", "counting"]


@dataclass(frozen=True, slots=True)
class Areas:
    """Decide by the middle of its box whether an object counts.

    Attributes:
        regions: objects count in these only; none for everywhere.
        masks: objects in these do not count.
    """

    regions: tuple[Area, ...] = ()
    masks: tuple[Area, ...] = ()

    @classmethod
    def of(cls, settings: LiveSettings) -> Areas:
        """Return the areas that the settings name."""
        return cls(tuple(map(parse_area, settings.regions)), tuple(map(parse_area, settings.masks)))

    def outlines(self, place: int, *, mirrored: bool) -> tuple[Outline, ...]:
        """Return the areas of a source as they lie in its frames.

        Args:
            place: number of the source, from 0.
            mirrored: left and right of its frames were changed.
        """
        if not self.regions and not self.masks:
            return ()
        return tuple(
            Outline(tuple((1 - x, y) for x, y in area.corners) if mirrored else area.corners, counts)
            for counts, areas in ((True, self.regions), (False, self.masks))
            for area in areas
            if area.source in (0, place + 1)
        )


def counting(found: Detections, outlines: tuple[Outline, ...], wh: tuple[int, int]) -> Detections:
    """Return the objects that count in a frame of a width and a height, px; a whole image always does."""
    if not outlines or not len(found):
        return found
    middles = (found.xyxy[:, :2] + found.xyxy[:, 2:]) / (2 * np.array(wh, np.float32))
    inside = [_holds(outline, middles) for outline in outlines if outline.counts]
    good = np.any(inside, axis=0) if inside else np.ones(len(found), np.bool_)
    for outline in outlines:
        if not outline.counts:
            good &= ~_holds(outline, middles)
    return found.rows(np.flatnonzero(good | (found.label == WHOLE_IMAGE_LABEL)))


def _holds(outline: Outline, points: F32Array) -> NDArray[np.bool_]:
    """Tell which of (n, 2) points lie in an outline or on its edge."""
    corners = np.array(outline.corners, np.float32)
    inside = [cv2.pointPolygonTest(corners, (x, y), False) >= 0 for x, y in points.tolist()]
    return np.array(inside, np.bool_)
