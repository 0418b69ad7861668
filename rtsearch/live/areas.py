"""Parts of the pictures in which objects count, and parts in which they do not, such as a mirror in view."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from rtsearch._util.areas import LEAST_CORNERS, Area, parse_area, written_area
from rtsearch.config import LiveSettings
from rtsearch.types import WHOLE_IMAGE_LABEL, Detections, F32Array, Outline

__all__ = ["Areas", "counting"]


@dataclass(frozen=True, slots=True)
class Areas:
    """Decide by the middle of its box whether an object counts.

    Attributes:
        regions: objects count in these only; none for everywhere.
        masks: objects in these do not count.
        pending: corners that are being set, of an area to be; None without any.
    """

    regions: tuple[Area, ...] = ()
    masks: tuple[Area, ...] = ()
    pending: Area | None = None

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
        outlines = [Outline(area.corners, True) for area in _of_source(self.regions, place)]
        outlines += [Outline(area.corners, False) for area in _of_source(self.masks, place)]
        if self.pending is not None:
            outlines += [Outline(area.corners, True, True) for area in _of_source((self.pending,), place)]
        return tuple(map(_mirrored, outlines)) if mirrored else tuple(outlines)

    def settings(self) -> dict[str, list[str]]:
        """Return the settings that mean the areas, by name."""
        return {
            "live.regions": [written_area(area) for area in self.regions],
            "live.masks": [written_area(area) for area in self.masks],
        }

    def with_corner(self, source: int, xy: tuple[float, float]) -> Areas:
        """Return the areas with a further corner; one in another source begins anew.

        Args:
            source: number of the source, from 1; 0 where there is only one.
            xy: shares of the frame's width and height, as the camera sees it.
        """
        pending = self.pending
        if pending is None or pending.source != source:
            pending = Area(source, ())
        return replace(self, pending=Area(source, (*pending.corners, xy)))

    def finished(self, *, counts: bool) -> Areas:
        """Return the areas with one made of the corners, where objects count or not; as before if too few."""
        if self.pending is None or len(self.pending.corners) < LEAST_CORNERS:
            return self
        if counts:
            return Areas((*self.regions, self.pending), self.masks)
        return Areas(self.regions, (*self.masks, self.pending))

    def taken_back(self) -> Areas:
        """Return the areas without the last corner, or else without the last mask or the last region."""
        if self.pending is not None:
            corners = self.pending.corners[:-1]
            return replace(self, pending=Area(self.pending.source, corners) if corners else None)
        if self.masks:
            return Areas(self.regions, self.masks[:-1])
        return Areas(self.regions[:-1])


def counting(found: Detections, outlines: tuple[Outline, ...], wh: tuple[int, int]) -> Detections:
    """Return the objects that count in a frame of a width and a height, px; a whole image always does."""
    if not outlines or not len(found):
        return found
    middles = (found.xyxy[:, :2] + found.xyxy[:, 2:]) / (2 * np.array(wh, np.float32))
    outlines = tuple(outline for outline in outlines if not outline.is_open)
    inside = [_holds(outline, middles) for outline in outlines if outline.counts]
    good = np.any(inside, axis=0) if inside else np.ones(len(found), np.bool_)
    for outline in outlines:
        if not outline.counts:
            good &= ~_holds(outline, middles)
    return found.rows(np.flatnonzero(good | (found.label == WHOLE_IMAGE_LABEL)))


def _of_source(areas: Iterable[Area], place: int) -> list[Area]:
    return [area for area in areas if area.source in (0, place + 1)]


def _mirrored(outline: Outline) -> Outline:
    return outline._replace(corners=tuple((1 - x, y) for x, y in outline.corners))


def _holds(outline: Outline, points: F32Array) -> NDArray[np.bool_]:
    """Tell which of (n, 2) points lie in an outline or on its edge."""
    corners = np.array(outline.corners, np.float32)
    inside = [cv2.pointPolygonTest(corners, (x, y), False) >= 0 for x, y in points.tolist()]
    return np.array(inside, np.bool_)
