"""Compute the places of frame, notes and strips in the picture.

    ┌──────────────────────────────┐   the grid is chosen by the shapes of picture and frame alone: the frame
    │        frame, boxes          │   keeps 62 % of the height, and the room below it is divided evenly
    │                              │   among as many large strips as it holds
    ├───┬────┬───┬──────────┬──────┤
    │███│    │   │          │      │   a grid of more strips has lower ones, and takes height from the frame
    ├───┼────┴┬──┴──┬───┬───┴──────┤   only where they would get lower than ``thumb_height``
    │███│     │     │   │          │
    └───┴─────┴─────┴───┴──────────┘   an upright frame in a wide picture stands to the left of its strips

Notes stand beside the frame, which is centred as far as they allow, else below it, else over its lower edge.
Sizes in the settings are for a picture whose shorter side is 720 px; larger pictures have all sizes in
proportion, so that they look the same from a greater distance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple, TypeAlias

from rtsearch.config import ShowSettings
from rtsearch.render.theme import DARK, Theme, theme_of

__all__ = [
    "COLOUR_PX",
    "Canvas",
    "Layout",
    "Place",
    "Where",
    "base_strips",
    "canvas_of",
    "lay_out",
    "still_strips",
]

_WHOLE_PX = 720  # shorter side of the picture that sizes in the settings are for
_GAP_PX = 4
_LEAST_THUMB_PX = 60  # objects in lower crops are not recognised
_LABEL_PX = 132
COLOUR_PX = 4
"""Width of the bar in an object's colour, px of a picture whose shorter side is 720 px."""
_NOTES_PX = 200  # least width of notes beside the frame
_RIGHT_PX = 316  # kept free there before the frame is centred, for controls above the notes
_RIGHTS_PX = 620  # the same for controls beside the notes
_HIGH_PX = 330  # least height for controls above notes
_LINE_PX = 26  # height of notes below or over the frame
_NOTE_PX = 108  # least width of a note
_FRAME_SHARE = 0.62  # share of the picture's height that the frame keeps
_BESIDE_SHARE = 0.5  # largest share of a wide picture's width that an upright frame takes
_LARGE = 1.7  # height of the strips of the first grid, in ``thumb_height``
_UPRIGHT = 0.4  # aspect ratio of standing people, the narrowest frequent crops
_MOST_CROPS = 100  # largest number of crops of one object

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
        composition: ``strips`` or ``wall``.
        theme: colours.
        caption: line of text over the lower left of the frame; "" for none.
        logo: file of a picture over its lower right; "" for none.
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
    composition: Literal["strips", "wall"] = "strips"
    theme: Theme = DARK
    caption: str = ""
    logo: str = ""

    def px(self, size: int) -> int:
        """Convert a size for a picture 720 px high to this one, px."""
        return round(size * self.scale)

    @property
    def crops(self) -> int:
        """Largest number of crops of an object: the results, and as many as fill lines of narrow ones."""
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
        frame: place of the frame.
        notes: place of the notes; without notes it has no height.
        notes_are: ``beside`` or ``below`` the frame, or ``over`` its lower edge.
        strips: places of the strips, from the top.
        label_width: width of the labels, including the bar.
        gap: space between crops, lines and strips.
    """

    frame: Place
    notes: Place
    notes_are: Where
    strips: tuple[Place, ...]
    label_width: int
    gap: int

    @property
    def line_height(self) -> int:
        """Height of a line of crops, px; 0 without strips."""
        return self.strips[0][3] if self.strips else 0

    @property
    def line_width(self) -> int:
        """Width of a line of crops, px; 0 without strips."""
        return max(0, self.strips[0][2] - self.label_width - self.gap) if self.strips else 0

    @property
    def line_room(self) -> float:
        """Sum of aspect ratios that fills a line; each crop counts its gap (see ``justify.line_ends``)."""
        return (self.line_width + self.gap) / max(1, self.line_height)


class _Grid(NamedTuple):
    """Places of the strips of a grid: their corner, the size of one without its gap, and their number."""

    x: int
    y: int
    width: int
    height: int
    strips: int


@lru_cache(maxsize=64)
def canvas_of(show: ShowSettings) -> Canvas:
    """Return the canvas for settings; sizes grow with pictures larger than 720 px."""
    scale = max(1.0, min(show.window_wh) / _WHOLE_PX)
    header, thumb = round(show.header_height * scale), round(show.thumb_height * scale)
    room = show.window_wh[1] - header - round(_GAP_PX * scale)
    if room >= _LEAST_THUMB_PX:
        thumb = min(thumb, room)  # at least one strip must fit
    composition: Literal["strips", "wall"] = "wall" if show.fullscreen else "strips"
    if show.composition != "auto":
        composition = show.composition
    return Canvas(
        show.window_wh,
        header,
        thumb,
        show.results,
        scale,
        show.text,
        show.font,
        show.fill,
        composition=composition,
        theme=theme_of(show.theme),
        caption=show.caption,
        logo=show.logo,
    )


def base_strips(canvas: Canvas, frame_wh: tuple[int, int]) -> int:
    """Return the number of strips of the grid that a picture of this shape begins with."""
    room = canvas.wh[1] if _stands_left(canvas, frame_wh) else canvas.wh[1] - _kept(canvas, frame_wh)
    fitting = math.floor(room / (_LARGE * canvas.thumb_height + canvas.gap))
    return min(max(1, fitting), canvas.most_strips)


@lru_cache(maxsize=64)
def still_strips(canvas: Canvas, frame_wh: tuple[int, int]) -> int:
    """Return the largest number of strips for which the frame keeps the place that it begins with."""
    base = base_strips(canvas, frame_wh)
    place = lay_out(canvas, frame_wh, base).frame
    grids = range(base + 1, canvas.most_strips + 1)
    return max((n for n in grids if lay_out(canvas, frame_wh, n).frame == place), default=base)


@lru_cache(maxsize=256)
def lay_out(canvas: Canvas, frame_wh: tuple[int, int], grid: float) -> Layout:
    """Place a frame and a grid of strips.

    Args:
        canvas: size and settings of the picture.
        frame_wh: width and height of the query frame, px.
        grid: number of strips that are wanted; at least those of the first grid are placed, at most those
            that fit. A fraction lies between the layouts of the whole numbers beside it.
    """
    share = grid - math.floor(grid)
    if share:
        low, high = (lay_out(canvas, frame_wh, math.floor(grid) + more) for more in (0, 1))
        return _between(low, high, share)
    count = min(max(round(grid), base_strips(canvas, frame_wh)), canvas.most_strips)
    place = _beside if _stands_left(canvas, frame_wh) else _below
    frame, notes, where, grid_of = place(canvas, frame_wh, count)
    pitch = grid_of.height + canvas.gap
    label = canvas.px(COLOUR_PX if canvas.text == "none" else _LABEL_PX)
    return Layout(
        frame=frame,
        notes=notes,
        notes_are=where,
        strips=tuple(
            (grid_of.x, grid_of.y + i * pitch, grid_of.width, grid_of.height) for i in range(grid_of.strips)
        ),
        label_width=min(label, grid_of.width // 2),  # beside an upright frame in a small picture
        gap=canvas.gap,
    )


def _stands_left(canvas: Canvas, frame_wh: tuple[int, int]) -> bool:
    """Tell whether the frame stands beside its strips: above them it would leave two thirds of the width."""
    return canvas.wh[0] > canvas.wh[1] and frame_wh[0] < frame_wh[1]


def _full(canvas: Canvas, frame_wh: tuple[int, int]) -> int:
    """Return the largest height that a frame above its strips can use, with notes below it, px."""
    line = canvas.px(_LINE_PX) if canvas.text == "all" else 0
    return math.ceil(canvas.wh[0] * frame_wh[1] / frame_wh[0]) + line


def _kept(canvas: Canvas, frame_wh: tuple[int, int]) -> int:
    """Return the height that a frame above its strips keeps while they are large, px."""
    wanted = min(_full(canvas, frame_wh), round(_FRAME_SHARE * canvas.wh[1]))
    return min(canvas.wh[1], max(canvas.header_height, wanted))


def _below(canvas: Canvas, frame_wh: tuple[int, int], count: int) -> tuple[Place, Place, Where, _Grid]:
    """Place the frame above its strips."""
    width, height = canvas.wh
    if not count:
        return *_header(canvas, frame_wh, height), _Grid(0, height, width, 0, 0)
    # The frame has the same place in all grids whose strips fit below it.
    line = max(canvas.thumb_height, (height - _kept(canvas, frame_wh)) // count - canvas.gap)
    header = min(_kept(canvas, frame_wh), height - count * (line + canvas.gap))
    return *_header(canvas, frame_wh, header), _Grid(0, header + canvas.gap, width, line, count)


def _beside(canvas: Canvas, frame_wh: tuple[int, int], count: int) -> tuple[Place, Place, Where, _Grid]:
    """Place an upright frame to the left of its strips."""
    width, height = canvas.wh
    scale = min(height / frame_wh[1], _BESIDE_SHARE * width / frame_wh[0])
    w, h = max(1, round(frame_wh[0] * scale)), max(1, round(frame_wh[1] * scale))
    line = canvas.px(_LINE_PX) if canvas.text == "all" else 0
    frame = (0, (height - h) // 2, w, h)
    x = w + canvas.gap
    grid = _Grid(x, 0, width - x, (height + canvas.gap) // count - canvas.gap if count else 0, count)
    line = min(line, h)
    return frame, (0, frame[1] + h - line, w, line), "over", grid


def _between(low: Layout, high: Layout, share: float) -> Layout:
    """Return the layout on the way from one to another; strips that are only in the larger one stay out."""

    def mix(a: Place, b: Place) -> Place:
        x, y, width, height = (round(p + share * (q - p)) for p, q in zip(a, b, strict=True))
        return x, y, width, height

    strips = tuple(mix(a, b) for a, b in zip(low.strips, high.strips, strict=False))
    return Layout(
        mix(low.frame, high.frame),
        low.notes,
        low.notes_are,
        strips,
        low.label_width,
        low.gap,
    )


def _header(canvas: Canvas, frame_wh: tuple[int, int], header: int) -> tuple[Place, Place, Where]:
    """Return the places of frame and notes; without notes their place has no height."""
    width, line = canvas.wh[0], canvas.px(_LINE_PX) if canvas.text == "all" else 0
    scale = min(width / frame_wh[0], header / frame_wh[1])
    w, h = max(1, round(frame_wh[0] * scale)), max(1, round(frame_wh[1] * scale))
    x = (width - w) // 2
    if not line and width - w >= canvas.controls_wh[0]:
        x = min(x, width - w - canvas.controls_wh[0])
    if line and width - w >= canvas.px(_NOTES_PX):
        right = _RIGHT_PX if header >= canvas.px(_HIGH_PX) else _RIGHTS_PX
        x = max(0, min(x, width - w - canvas.px(right)))
        notes = _clear_of_controls((x + w, 0, width - x - w, header), canvas)
        if notes[3]:
            return (x, 0, w, h), notes, "beside"
    elif header - h >= line:
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
    there = [part for part in parts if part[2] >= canvas.px(_NOTE_PX) and part[3] >= canvas.px(_LINE_PX)]
    return max(there, key=lambda part: part[2] * part[3], default=(x, y, width, 0))
