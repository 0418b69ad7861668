"""Compute the places of frame, notes and strips in the picture.

    ┌──────────────────┬───────────┐   the query frame takes the height that strips leave free,
    │ frame, boxes     │ notes     │   at least ``header_height``;
    │                  │           │
    ├───┬────┬───┬─────┴┬────┬─────┤   a strip has several lines where its results do not fit into one
    │███│    │   │      │    │     │   and the frame stays large; where the frame is already as wide as
    ├───┼────┴┬──┴──┬───┼────┼─────┤   the picture (an upright screen), crops grow instead
    │███│     │     │   │    │     │
    └───┴─────┴─────┴───┴────┴─────┘   notes: beside the frame, which is centred as far as they allow, else
                                       below it, else over its lower edge

Sizes in the settings are for a picture whose shorter side is 720 px; larger pictures have all sizes in
proportion, so that they look the same from a greater distance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeAlias

from rtsearch.config import ShowSettings

__all__ = ["Canvas", "Layout", "Place", "canvas_of", "lay_out"]

_WHOLE_PX = 720  # shorter side of the picture that sizes in the settings are for
_GAP_PX = 2
_LEAST_THUMB_PX = 60  # objects in lower crops are not recognised
_LABEL_PX = 108
_COLOUR_PX = 6
_NOTES_PX = 200  # least width of notes beside the frame
_RIGHT_PX = 316  # kept free there before the frame is centred, for controls above the notes
_RIGHTS_PX = 620  # the same for controls beside the notes
_HIGH_PX = 330  # least height for controls above notes
_LINE_PX = 26  # height of notes below or over the frame
_BAR_PX = 5  # width of the scroll bar
_FRAME_SHARE = 0.6  # share of the picture's height that the frame keeps before strips get a second line
_ASPECT = 1.25  # average aspect ratio of crops
_UPRIGHT = 0.4  # aspect ratio of standing people, the narrowest frequent crops
_MOST_CROPS = 100  # largest number of crops of one object
_MOST_GROWTH = 3.0  # largest magnification of stored crops, which would be blurred beyond
_SOME_GROWTH = 1.5  # largest magnification where not all results are visible

Place: TypeAlias = tuple[int, int, int, int]
"""x, y, width and height, px."""
Where: TypeAlias = Literal["beside", "below", "over"]


@dataclass(frozen=True, slots=True)
class Canvas:
    """Sizes that a picture is laid out with.

    Attributes:
        wh: width and height of the picture, px.
        header_height: least height of the query frame, px.
        thumb_height: least height of a line of crops, px.
        results: number of crops per object that room is made for.
        scale: scale of text and gaps.
        text: ``all``, ``names`` or ``none``; see ``ShowSettings``.
        font: font file of all text, or "" for the built-in font.
        fill: add further crops where a line ends before the picture does.
        controls_wh: width and height of the controls at the upper right, px; notes are placed beside them.
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
        """Convert a size for a picture 720 px high to this one, px."""
        return round(size * self.scale)

    @property
    def crops(self) -> int:
        """Number of crops per object: the results, and as many as fill a line of narrow ones.

        It depends on the settings alone: if it changed with every strip that comes or goes, the contents of
        other strips would change too.
        """
        if not self.fill:
            return self.results
        return max(self.results, min(_MOST_CROPS, math.ceil(self.wh[0] / (_UPRIGHT * self.thumb_height))))

    @property
    def most_strips(self) -> int:
        """Number of strips that fit below a frame of the least height."""
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
        header_height: height of frame and notes beside it.
        frame: place of the frame.
        notes: place of the notes.
        notes_are: ``beside`` or ``below`` the frame, or ``over`` its lower edge.
        strip_tops: upper edge of each strip that fits.
        strip_height: height of a strip without its gap.
        thumb_height: height of a line of crops.
        most_thumb_height: largest height of a line in a strip whose crops leave room.
        lines: number of lines of a strip.
        colour_width: width of the bar in an object's colour.
        label_width: width of the labels, including the bar.
        strip_width: width of label and crops, without the scroll bar beside them.
        gap: space between crops, lines and strips.
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
    """Return the canvas for settings; sizes grow with pictures larger than 720 px."""
    scale = max(1.0, min(show.window_wh) / _WHOLE_PX)
    header, thumb = round(show.header_height * scale), round(show.thumb_height * scale)
    room = show.window_wh[1] - header - round(_GAP_PX * scale)
    if room >= _LEAST_THUMB_PX:
        thumb = min(thumb, room)  # at least one strip must fit
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
        canvas: size and settings of the picture.
        frame_wh: width and height of the query frame, px.
        strips: number of strips that room is kept for.
    """
    width, height = canvas.wh
    gap, label = canvas.gap, canvas.px(_COLOUR_PX if canvas.text == "none" else _LABEL_PX)
    shown = min(strips, canvas.most_strips)
    strip_width = width - (canvas.px(_BAR_PX) + gap if strips > shown else 0)
    # A frame as wide as the picture, with its notes below, cannot use more height.
    full = math.ceil(width * frame_wh[1] / frame_wh[0]) + (canvas.px(_LINE_PX) if canvas.text == "all" else 0)
    thumb, lines = _lines(canvas, shown, strip_width - label, full)
    strip_height = lines * (thumb + gap) - gap
    header = height - shown * (strip_height + gap)
    if shown:  # the remaining height is left below the strips, not above
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
        canvas: size and settings of the picture.
        strips: number of strips that are shown.
        width: width of a line, px.
        full: largest height that the frame can use, px.
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
    if room < wanted:  # not all results fit, and larger crops would hide more of them
        return min(spare // room - gap, round(_SOME_GROWTH * least)), room
    sizes = []
    for more in range(wanted, room + 1):  # crops grow as long as all results fit
        seen = int(more * width / (canvas.results * _ASPECT)) - gap
        sizes.append((max(least, min(spare // more - gap, seen, round(_MOST_GROWTH * least))), more))
    return max(sizes)


def _header(canvas: Canvas, frame_wh: tuple[int, int], header: int) -> tuple[Place, Place, Where]:
    """Return the places of frame and notes; without notes their place has no height."""
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
        # Its place must not change as strips come and go.
        y = (header - h - line) // 2 if header == canvas.wh[1] else 0
        notes = _clear_of_controls((0, y + h, width, line), canvas)
        return (x, y, w, h), notes, "below"
    return (x, 0, w, h), _clear_of_controls((x, header - line, w, line), canvas), "over"


def _clear_of_controls(notes: Place, canvas: Canvas) -> Place:
    """Return the larger part of a place beside or below the controls; its height is 0 without room."""
    x, y, width, height = notes
    left, low = canvas.wh[0] - canvas.controls_wh[0], canvas.controls_wh[1]
    if x + width <= left or y >= low:
        return notes
    parts = ((x, y, left - x, height), (x, low, width, y + height - low))
    there = [part for part in parts if part[2] >= canvas.px(_LABEL_PX) and part[3] >= canvas.px(_LINE_PX)]
    return max(there, key=lambda part: part[2] * part[3], default=(x, y, width, 0))
