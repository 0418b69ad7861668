"""Compose a wall: the camera, and large crops of at most two objects, for people who stand metres away.

    16:9 ┌─────────────────┬──────────┐   9:16 ┌──────────┐   a band: ┌──────────────┐
         │                 │  band    │        │  camera  │           │ word         │
         │  camera, filled ├──────────┤        ├──────────┤           │┌────┐┌──┐┌──┐│
         │                 │  band    │        │  band    │           ││    ││  ││  ││
         └─────────────────┴──────────┘        ├──────────┤           │└────┘└──┘└──┘│
                                               │  band    │           │ small crops  │
                                               └──────────┘           └──────────────┘

The places depend on the size of the picture alone, so nothing moves. A band without an object shows the
library: small crops that drift slowly by, or, after a while without any object, a walk through it.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from rtsearch.render.layout import Canvas, Place
from rtsearch.render.plan import Belt, Item, Plan
from rtsearch.render.text import draw_text, fit_text, text_wh
from rtsearch.render.theme import Colour
from rtsearch.types import Scene, U8Array

__all__ = ["BANDS", "CROPS", "FIRST", "HEROES", "compose_wall", "hero_px", "wall_places"]

BANDS = 2
"""Number of bands."""
CROPS = 30
"""Largest number of crops of a band."""
HEROES = 5
"""Largest number of these that are large."""
FIRST = 1.41
"""Height of the first crop, in heights of those beside it: it is twice as large."""
_CAMERA_WIDTH = 0.62  # share of a wide picture
_CAMERA_HEIGHT = 0.34  # least share of an upright one, such as 1080x1920
_MOST_CAMERA_HEIGHT = 0.42  # of one that is nearly square, such as half of a wide screen
_USUAL = 9 / 16
_WORD = 0.09  # sizes in a band, as shares of its height: the word,
_HERO = 0.46  # the crops beside the first,
_SMALL = 0.2  # and those below them
_LEAST_HERO = 0.225  # of the picture's height: what is lower is no sight from afar
_LEAST_SMALL = 0.04  # of the picture's height: what is lower is a row of specks
_CAPTION = 0.45  # size of the words about the library, in sizes of a word
_DRIFT_PX_S = 14
_FADE_S = 0.4


class WallPlaces(NamedTuple):
    """Places of the camera and of the bands."""

    camera: Place
    bands: tuple[Place, ...]


class _Content(NamedTuple):
    """Word and crops of a band, the first crop for the largest place; ``key`` begins the keys of both.

    So many crops at the beginning are high enough for large places.
    """

    key: Hashable
    word: str
    rows: Sequence[int]
    crops: Sequence[U8Array | None]
    shapes: Sequence[float]
    large: int


@lru_cache(maxsize=64)
def wall_places(wh: tuple[int, int], gap: int) -> WallPlaces:
    """Return the places in a picture of a size, px."""
    width, height = wh
    if width > height:
        x = round(_CAMERA_WIDTH * width)
        high = (height - 3 * gap) // 2
        bands = tuple((x + gap, gap + i * (high + gap), width - x - 2 * gap, high) for i in range(BANDS))
        return WallPlaces((0, 0, x, height), bands)
    whole = _USUAL * width / height  # share at which a usual frame is not cut
    y = round(min(max(whole, _CAMERA_HEIGHT), _MOST_CAMERA_HEIGHT) * height)
    high = (height - y - 3 * gap) // 2
    bands = tuple((gap, y + gap + i * (high + gap), width - 2 * gap, high) for i in range(BANDS))
    return WallPlaces((0, 0, width, y), bands)


def hero_px(canvas: Canvas) -> int:
    """Return the height of the large crops but for the first, px."""
    band = wall_places(canvas.wh, canvas.px(10)).bands[0]
    return round(max(_HERO * band[3], _LEAST_HERO * canvas.wh[1]))


def compose_wall(scene: Scene, canvas: Canvas) -> Plan:
    """Return what is drawn where: the camera, the bands of the first two strips, and the library.

    An object without crops has no band.
    """
    places = wall_places(canvas.wh, canvas.px(10))
    free = dict(enumerate(places.bands))
    items: list[Item] = []
    belts: list[Belt] = []
    shown: set[int] = set()
    for i, strip in enumerate(scene.strips):
        if strip in free and scene.thumbs[i]:
            shown.add(strip)
            items += _band(_object(scene, i), free.pop(strip), canvas)
    walks = bool(scene.walk) and len(free) == BANDS
    for stop in scene.walk if walks else ():
        items += _band(_Content(("walk", stop.number), *stop[1:]), free.pop(stop.number % BANDS), canvas)
    for band, place in free.items():
        words, belt = _drifting(scene, band, place, canvas)
        items += words
        belts.append(belt)
    nothing = (0, 0, 0, 0)
    return Plan(
        *(places.camera, tuple(items), shown, (), nothing, "over", tuple(belts), places.bands),
        fade_s=_FADE_S,
        walks=walks,
    )


def _object(scene: Scene, i: int) -> _Content:
    """Return the word and the crops of an object."""
    rows, order = scene.neighbours.row[i].tolist(), scene.order[i]
    return _Content(
        scene.strips[i],
        scene.names[i],
        [rows[k] if k < len(rows) else -1 for k in order],
        [scene.thumbs[i][k] for k in order],
        [scene.shapes[i][k] for k in order],
        scene.large[i],
    )


def _drifting(scene: Scene, band: int, place: Place, canvas: Canvas) -> tuple[list[Item], Belt]:
    """Return the words about the library, and its crops, which drift by below them."""
    x, y, width, height = place
    head = _head_px(height, canvas) if scene.about else 0
    words = []
    if head:
        size = round(_CAPTION * _WORD * height)
        pixels = _words(scene.about, size, (width, head), canvas, canvas.theme.faint)
        words.append(Item(("library", band), (x, y, width, head), pixels, reads=True))
    way = int(scene.now_s * canvas.px(_DRIFT_PX_S)) + band * width
    return words, Belt((x, y + head, width, height - head), way, scene.drift[band::BANDS])


def _band(content: _Content, band: Place, canvas: Canvas) -> list[Item]:
    """Return the word and the crops of a band."""
    x, y, width, height = band
    head, items = _head_px(height, canvas), []
    if head:
        pixels = _words(content.word, round(_WORD * height), (width, head), canvas, canvas.theme.ink)
        items.append(Item((content.key, "word"), (x, y, width, head), pixels, reads=True))
    room = (x, y + head, width, height - head)
    least = round(_LEAST_SMALL * canvas.wh[1])
    places = _crop_places(content, room, hero_px(canvas), canvas.px(6), least)
    crops = zip(places, content.crops, content.rows, strict=False)
    for at, (place, crop, row) in enumerate(crops):
        items.append(Item((content.key, at), place, crop, canvas.theme.field, row, covers=True))
    return items


def _head_px(band_height: int, canvas: Canvas) -> int:
    """Return the height of the line of a band's word, px; 0 where there are no words."""
    return 0 if canvas.text == "none" else round(1.5 * round(_WORD * band_height))


def _crop_places(content: _Content, room: Place, hero: int, gap: int, least: int) -> list[Place]:
    """Return places of crops: a large first one, some of a height beside it, small ones in lines below.

    Where these lines would be lower than ``least``, the crops beside the first take their room. Where large
    crops do not fill it, small ones do: a crop that is far lower than its place looks lost in it.
    """
    shapes, large = content.shapes, content.large
    x, y, width, height = room
    small = round(_SMALL / _HERO * hero)
    if not large:
        return _in_lines(shapes, room, small, gap)
    hero = max(1, min(hero, height))
    first = min(round(FIRST * hero), height)
    hero = first if first - hero - gap < least else hero
    wide = min(round(shapes[0] * first), round(0.5 * width))
    places = [(x, y, wide, first)]
    right, end = x + wide + gap, x + width
    places += _flush(shapes[1:large], (right, y, end - right, hero), gap)
    filled = max(place[0] + place[2] for place in places)
    if filled >= end - 1:  # widths are rounded
        places += _flush(shapes[len(places) :], (right, y + hero + gap, end - right, first - hero - gap), gap)
    else:
        under = (right, y + hero + gap, filled - right, first - hero - gap)
        places += _flush(shapes[len(places) :], under, gap) if filled > right else []
        beside = (filled + gap, y, end - filled - gap, first)
        places += _in_lines(shapes[len(places) :], beside, small, gap)
    below = (x, y + first + gap, width, height - first - gap)
    return places + _in_lines(shapes[len(places) :], below, small, gap)


def _in_lines(shapes: Sequence[float], room: Place, high: int, gap: int) -> list[Place]:
    """Return places in lines of about a height that fill a room."""
    x, y, width, height = room
    count = max(1, round(height / max(1, high)))
    line = (height + gap) // count - gap
    places: list[Place] = []
    for k in range(count):
        places += _flush(shapes[len(places) :], (x, y + k * (line + gap), width, line), gap)
    return places


def _flush(shapes: Sequence[float], line: Place, gap: int) -> list[Place]:
    """Return places of the crops whose widths nearly fill a line, widened or narrowed until they do."""
    x, y, width, height = line
    ends = list(itertools.accumulate(shape * height + gap for shape in shapes))
    count = min(range(len(ends)), key=lambda k: abs(ends[k] - gap - width), default=-1) + 1
    if not count or height < 2:
        return []
    stretch = (width - gap * (count - 1)) / (ends[count - 1] - gap * count)
    if stretch > 1.5:  # too few are left
        stretch = 1.0
    places, at = [], float(x)
    for shape in shapes[:count]:
        wide = shape * height * stretch
        places.append((round(at), y, max(1, round(at + wide) - round(at)), height))
        at += wide + gap
    return places


@lru_cache(maxsize=64)
def _words(text: str, size_px: int, wh: tuple[int, int], canvas: Canvas, colour: Colour) -> U8Array:
    """Return the picture of a line of words."""
    cell = np.full((wh[1], wh[0], 3), canvas.theme.ground, np.uint8)
    text = fit_text(text, size_px, wh[0], canvas.font)
    y = (wh[1] - text_wh(text, size_px, canvas.font)[1]) // 2
    draw_text(cell, text, (0, y), size_px, colour, canvas.font)
    return cell
