"""Define the answer of a composition: what is drawn where."""

from __future__ import annotations

from collections.abc import Collection, Hashable
from typing import NamedTuple

from rtsearch.render.layout import Place, Where
from rtsearch.render.theme import Colour
from rtsearch.types import U8Array

__all__ = ["Belt", "Item", "Plan"]


class Item(NamedTuple):
    """Crop or label in its place.

    Attributes:
        key: what it is from picture to picture, such as the third crop of the first strip.
        place: x, y, width and height, px; no item lies upon another.
        pixels: (h, w, 3) uint8 BGR, scaled to fit into the place; None fills the place with ``colour``.
        colour: of a place without pixels.
        row: object of the library that it shows; -1 for none.
        covers: the pixels are cut to the shape of the place instead.
        reads: the pixels are words, which go before others come: two that cross over read as a third one.
    """

    key: tuple[Hashable, ...]
    place: Place
    pixels: U8Array | None
    colour: Colour = (0, 0, 0)
    row: int = -1
    covers: bool = False
    reads: bool = False

    def moved(self, x: int, y: int) -> Item:
        """Return the same item farther to the right and below, px."""
        left, top, width, height = self.place
        return self._replace(place=(left + x, top + y, width, height))

    def same(self, other: Item) -> bool:
        """Tell whether both look alike; comparing pixels would cost more than drawing."""
        return (self.place, self.colour) == (other.place, other.colour) and self.pixels is other.pixels


class Belt(NamedTuple):
    """Crops that drift through a place, px.

    Attributes:
        place: x, y, width and height.
        way: how far they have come.
        crops: (h, w, 3) uint8 BGR each, or None for one that is not loaded.
    """

    place: Place
    way: int
    crops: tuple[U8Array | None, ...]


class Plan(NamedTuple):
    """Places of everything in a picture.

    Attributes:
        frame: place of the query frame.
        items: crops and labels.
        shown: numbers of the strips in sight; boxes of other objects are drawn as corners.
        notes: lines about the run.
        notes_place: their place; without room it has no height.
        notes_are: ``beside`` or ``below`` the frame, or ``over`` its lower edge.
        belts: crops that drift by.
        bands: places of the strips in sight, which lines join with their objects; the frame then fills its
            place.
        fade_s: time in which items come, go and change.
        walks: the bands show a walk through the library, which makes way at once.
    """

    frame: Place
    items: tuple[Item, ...]
    shown: Collection[int]
    notes: tuple[str, ...]
    notes_place: Place
    notes_are: Where
    belts: tuple[Belt, ...] = ()
    bands: tuple[Place, ...] = ()
    fade_s: float = 0.25
    walks: bool = False
