"""Places of frame, notes and strips in the picture: arithmetic, no pixels.

    ┌──────────────────┬───────────┐   the query frame is as large as the strips leave room for,
    │ frame, boxes     │ notes     │   never less high than asked for;
    │                  │           │
    ├───┬────┬───┬─────┴┬────┬─────┤   a strip has several lines where one does not hold its results and
    │███│    │   │      │    │     │   the frame stays large all the same; where the frame is as wide as
    ├───┼────┴┬──┴──┬───┼────┼─────┤   the picture already (a screen on its side), crops grow instead
    │███│     │     │   │    │     │
    └───┴─────┴─────┴───┴────┴─────┘   notes: beside the frame, which then stands in the middle as far as they
                                       leave it, else below it, else over its lower edge

Sizes in the settings are those of a picture whose shorter side is 720 px; a larger one has everything in
proportion, so that a wall looks like a desk seen from afar.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeAlias

from rtsearch.config import ShowSettings

__all__ = ["Canvas", "Layout", "Place", "canvas_of", "lay_out"]

_WHOLE_PX = 720  # shorter side of a picture at whose size settings are meant
_GAP_PX = 2
_LEAST_THUMB_PX = 60  # what is lower is not recognised
_LABEL_PX = 108
_COLOUR_PX = 6
_NOTES_PX = 200  # least width of notes beside the frame
_RIGHT_PX = 316  # kept free there before the frame moves into the middle: for the controls above the notes,
_RIGHTS_PX = 620  # or beside them
_HIGH_PX = 330  # height from which on there is room for both above each other
_LINE_PX = 26  # height of notes below the frame, or over it
_BAR_PX = 5  # width of what tells that there are more strips
_FRAME_SHARE = 0.6  # of the picture's height that the frame keeps before a strip gets a second line
_ASPECT = 1.25  # of crops, on average
_UPRIGHT = 0.4  # of people standing, the narrowest crops there are many of
_MOST_CROPS = 100  # of one object
_MOST_GROWTH = 3.0  # stored crops are small: larger ones would be blurred
_SOME_GROWTH = 1.5  # the same, where not all results are seen

Place: TypeAlias = tuple[int, int, int, int]
"""x, y, width and height, px."""
Where: TypeAlias = Literal["beside", "below", "over"]


@dataclass(frozen=True, slots=True)
class Canvas:
    """Sizes that a picture is laid out with.

    Attributes:
        wh: width and height of the picture, px.
        header_height: least height of the query frame and what stands beside it, px.
        thumb_height: least height of a line of crops, px.
        results: crops of one object that room is made for.
        scale: of text and gaps.
        text: see ``ShowSettings``; there is room for no other.
        font: file of all text, or "" for the built-in one.
        fill: have further crops where a line ends before the picture does.
        controls_wh: room at the upper right that controls stand on, px; no notes are placed there.
    """

    wh: tuple[int, int]
    header_height: int
    thumb_height: int
    results: int
    scale: float = 1.0
    text: Literal["all", "names", "none"] = "all"
    font: str = ""
    fill: bool = True
    controls_wh: tuple[int, int] = (0, 0)

    def px(self, size: int) -> int:
        """A size of a picture 720 px high, in this one."""
        return round(size * self.scale)

    @property
    def crops(self) -> int:
        """Crops of one object that are of use: the results, and what fills a line of narrow ones.

        It follows from the settings alone: if it changed with every strip that comes or goes, so would what
        the other strips show.
        """
        if not self.fill:
            return self.results
        return max(self.results, min(_MOST_CROPS, math.ceil(self.wh[0] / (_UPRIGHT * self.thumb_height))))

    @property
    def most_strips(self) -> int:
        """Return the number of strips that fit below a frame of the least height."""
        room = self.wh[1] - min(self.header_height, self.wh[1])
        return room // (self.thumb_height + self.gap)

    @property
    def gap(self) -> int:
        """Space between crops, lines and strips, px."""
        return self.px(_GAP_PX)


@dataclass(frozen=True, slots=True)
class Layout:
    """Places in the picture, px.

    Attributes:
        header_height: of the frame and what stands beside it.
        frame: its place.
        notes: their place.
        notes_are: ``beside`` or ``below`` the frame, or ``over`` its lower edge.
        strip_tops: upper edge of each strip that fits.
        strip_height: of one strip, its gap not counted.
        thumb_height: of a line of crops.
        most_thumb_height: of a line in a strip whose crops leave room.
        lines: of a strip.
        colour_width: of the bar in an object's colour.
        label_width: of the column that names the objects, the bar with it.
        strip_width: of label and crops; beside it stands what tells that there are more strips.
        gap: between crops, lines and strips.
    """

    header_height: int
    frame: Place
    notes: Place
    notes_are: Where
    strip_tops: tuple[int, ...]
    strip_height: int
    thumb_height: int
    most_thumb_height: int
    lines: int
    colour_width: int
    label_width: int
    strip_width: int
    gap: int


@lru_cache(maxsize=64)
def canvas_of(show: ShowSettings) -> Canvas:
    """Return the canvas for settings; on one larger than 720 px their sizes grow with it."""
    scale = max(1.0, min(show.window_wh) / _WHOLE_PX)
    header, thumb = round(show.header_height * scale), round(show.thumb_height * scale)
    room = show.window_wh[1] - header - round(_GAP_PX * scale)
    if room >= _LEAST_THUMB_PX:
        thumb = min(thumb, room)  # at least one strip, however high it was to be
    return Canvas(
        show.window_wh,
        header,
        thumb,
        show.results,
        scale,
        show.text,
        show.font,
        show.fill,
    )


@lru_cache(maxsize=256)
def lay_out(canvas: Canvas, frame_wh: tuple[int, int], strips: int) -> Layout:
    """Place a frame and as many of the strips as fit.

    Args:
        canvas: to lay out on.
        frame_wh: size of the query frame, px.
        strips: that room is wanted for.
    """
    width, height = canvas.wh
    gap, label = canvas.gap, canvas.px(_COLOUR_PX if canvas.text == "none" else _LABEL_PX)
    shown = min(strips, canvas.most_strips)
    strip_width = width - (canvas.px(_BAR_PX) + gap if strips > shown else 0)
    # The frame as wide as the picture, with its notes below: it cannot use more.
    full = math.ceil(width * frame_wh[1] / frame_wh[0]) + (canvas.px(_LINE_PX) if canvas.text == "all" else 0)
    thumb, lines = _lines(canvas, shown, strip_width - label, full)
    strip_height = lines * (thumb + gap) - gap
    header = height - shown * (strip_height + gap)
    if shown:  # what is left over is below the strips, not above
        header = min(header, max(full, canvas.header_height))
    frame, notes, where = _header(canvas, frame_wh, header)
    return Layout(
        header_height=header,
        frame=frame,
        notes=notes,
        notes_are=where,
        strip_tops=tuple(header + gap + i * (strip_height + gap) for i in range(shown)),
        strip_height=strip_height,
        thumb_height=thumb,
        most_thumb_height=max(thumb, round(_MOST_GROWTH * canvas.thumb_height)),
        lines=lines,
        colour_width=canvas.px(_COLOUR_PX),
        label_width=label,
        strip_width=strip_width,
        gap=gap,
    )


def _lines(canvas: Canvas, strips: int, width: int, full: int) -> tuple[int, int]:
    """Return height and number of a strip's lines of crops.

    Args:
        canvas: see ``lay_out``.
        strips: that are shown.
        width: of a line.
        full: height that the frame can use.
    """
    height, least, gap = canvas.wh[1], canvas.thumb_height, canvas.gap
    if not strips:
        return least, 1
    kept = max(canvas.header_height, min(full, round(_FRAME_SHARE * height)))
    wanted = math.ceil(canvas.results * _ASPECT * (least + gap) / max(1, width))
    lines = max(1, min(wanted, (height - kept) // strips // (least + gap)))
    spare = (height - max(full, canvas.header_height)) // strips
    if spare < lines * (least + gap):
        return least, lines
    room = spare // (least + gap)
    if room < wanted:  # not all are seen; larger ones would hide more of them
        return min(spare // room - gap, round(_SOME_GROWTH * least)), room
    sizes = []
    for more in range(wanted, room + 1):  # as large as all of them can be
        seen = int(more * width / (canvas.results * _ASPECT)) - gap
        sizes.append((max(least, min(spare // more - gap, seen, round(_MOST_GROWTH * least))), more))
    return max(sizes)


def _header(canvas: Canvas, frame_wh: tuple[int, int], header: int) -> tuple[Place, Place, Where]:
    """Return places of the frame and its notes; where there are none, their place has no height."""
    width, line = canvas.wh[0], canvas.px(_LINE_PX) if canvas.text == "all" else 0
    scale = min(width / frame_wh[0], header / frame_wh[1])
    w, h = max(1, round(frame_wh[0] * scale)), max(1, round(frame_wh[1] * scale))
    x = (width - w) // 2
    if line and width - w >= canvas.px(_NOTES_PX):
        right = _RIGHT_PX if header >= canvas.px(_HIGH_PX) else _RIGHTS_PX
        x = max(0, min(x, width - w - canvas.px(right)))
        notes = _clear_of_controls((x + w, 0, width - x - w, header), canvas)
        if notes[3]:
            return (x, 0, w, h), notes, "beside"
    elif header - h >= line:
        y = (header - h - line) // 2 if header == canvas.wh[1] else 0  # it stays put as strips come and go
        notes = _clear_of_controls((0, y + h, width, line), canvas)
        return (x, y, w, h), notes, "below"
    return (x, 0, w, h), _clear_of_controls((x, header - line, w, line), canvas), "over"


def _clear_of_controls(notes: Place, canvas: Canvas) -> Place:
    """Return the larger part of a place that is left or below of the controls; of no height without room."""
    x, y, width, height = notes
    left, low = canvas.wh[0] - canvas.controls_wh[0], canvas.controls_wh[1]
    if x + width <= left or y >= low:
        return notes
    parts = ((x, y, left - x, height), (x, low, width, y + height - low))
    there = [part for part in parts if part[2] >= canvas.px(_LABEL_PX) and part[3] >= canvas.px(_LINE_PX)]
    return max(there, key=lambda part: part[2] * part[3], default=(x, y, width, 0))
