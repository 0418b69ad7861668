"""Read parts of a picture, such as ``0.6,0.1 0.9,0.1 0.9,0.4``: polygons by their corners."""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["LEAST_CORNERS", "Area", "parse_area", "written_area"]

_CORNER = re.compile(r"(\d*\.?\d+),(\d*\.?\d+)")
LEAST_CORNERS = 3
_MOST_CORNERS = 64


class Area(NamedTuple):
    """A polygon in the pictures of one source, or of all.

    Attributes:
        source: number of the source, from 1; 0 for all sources.
        corners: x and y of at least three corners, as shares of the picture's width and height from its top
            left corner.
    """

    source: int
    corners: tuple[tuple[float, float], ...]


def parse_area(text: str) -> Area:
    """Return the area that a text such as ``2 0,0 1,0 1,0.2`` means: corners, after the number of a source.

    Raises:
        ValueError: it is none; the message says what is expected.
    """
    words = text.split()
    source = int(words.pop(0)) if words and re.fullmatch(r"[1-9]\d{0,2}", words[0]) else 0
    found = [_CORNER.fullmatch(word) for word in words]
    if not LEAST_CORNERS <= len(found) <= _MOST_CORNERS or None in found:
        raise ValueError(
            "expected at least three corners of a part of the picture, such as 0.6,0.1 0.9,0.1 0.9,0.4"
        )
    corners = tuple((float(match[1]), float(match[2])) for match in found if match is not None)
    if not all(0 <= value <= 1 for corner in corners for value in corner):
        raise ValueError("expected shares of the width and the height of the picture, 0 to 1 each")
    return Area(source, corners)


def written_area(area: Area) -> str:
    """Return the text that ``parse_area`` reads, rounded to a thousandth of the picture."""
    corners = (f"{x:.3g},{y:.3g}" for x, y in area.corners)
    return " ".join([*([str(area.source)] if area.source else []), *corners])
