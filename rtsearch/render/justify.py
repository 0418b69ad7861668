"""Break a strip's crops into lines that end flush with both edges, as photo galleries do.

A line takes crops until they would fill its width at its full height, and is then scaled down so that they
end at the edge: no crop is cut, and none is enlarged. A last line that is not filled keeps its height.
"""

from __future__ import annotations

from collections.abc import Sequence

from rtsearch.render.layout import Place

__all__ = ["line_ends", "line_places"]


def line_ends(shapes: Sequence[float], room: float, gap: float) -> list[int]:
    """Return one past the last crop of each line that the crops fill.

    Args:
        shapes: aspect ratios of the crops, width by height.
        room: width of a line and one gap, in heights of a line.
        gap: space between crops, in heights of a line.
    """
    ends: list[int] = []
    filled = 0.0
    for i, shape in enumerate(shapes):
        filled += shape + gap
        if filled >= room:
            ends.append(i + 1)
            filled = 0.0
    return ends


def line_places(shapes: Sequence[float], strip: Place, height: int, gap: int) -> list[Place]:
    """Return the places of the crops that fit into a strip, line by line.

    Args:
        shapes: aspect ratios of the crops' places, width by height.
        strip: x, y, width and height of all lines, px.
        height: height of a full line, px.
        gap: space between crops and lines, px.
    """
    left, top, width, total = strip
    lines = (total + gap) // (height + gap)
    ends = line_ends(shapes, (width + gap) / height, gap / height)
    begins = [0, *ends]
    if len(ends) < lines and begins[-1] < len(shapes):
        ends.append(len(shapes))
    places: list[Place] = []
    for line, (first, end) in enumerate(zip(begins, ends[:lines], strict=False)):
        natural = height * sum(shapes[first:end])
        scale = min(1.0, (width - gap * (end - first - 1)) / natural)
        high = max(1, round(height * scale))
        y = top + line * (height + gap) + (height - high) // 2
        x = float(left)
        for shape in shapes[first:end]:
            wide = shape * height * scale
            places.append((round(x), y, max(1, round(x + wide) - round(x)), high))
            x += wide + gap
    return places
