"""Name colours by the eleven basic terms of English (Berlin and Kay, *Basic Color Terms*, 1969).

A colour belongs to the terms whose examples are near it in CIELAB, the nearest most.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

from rtsearch.images.colour_bins import MIDDLE, POINTS, bin_shares
from rtsearch.types import F32Array, U8Array

__all__ = ["COLOUR_NAMES", "COLOUR_WORDS", "bin_names", "crop_colours"]

# Examples in sRGB; several for terms that cover much, chosen by looking at crops of photos.
_EXAMPLES = {
    "black": ("000000", "1c1c1e", "2a2422", "20242c"),
    "white": ("ffffff", "e8e8e8", "f2ece0", "dfe6ee"),
    "grey": ("4c4c4c", "6e6e70", "909090", "b2b2b2", "7d8288", "8c8680"),
    "red": ("e01010", "b01020", "8a1018", "c8323c", "e84840", "5c0c14"),
    "orange": ("f07818", "ff9a30", "d8600c", "f0a060"),
    "yellow": ("f8e020", "e8c020", "f4e070", "c0a018", "fff0a0", "f0b028", "d09c20"),
    "green": ("108030", "50a848", "0c4c28", "90c060", "607838", "40603c", "70b8a0", "98b890"),
    "blue": ("1030d0", "2060b8", "102858", "58a0e0", "90b8e8", "185878", "46587c", "38b0d0"),
    "purple": ("701890", "50308c", "9860c0", "b890d0", "402048"),
    "pink": ("f060a8", "f8a8c0", "d85890", "f4c4d0", "e890a0"),
    "brown": ("6c4020", "4c2c18", "8c5c34", "a87c54", "3a2418", "846850"),
}
_OTHER_WORDS = {
    "black": "dark",
    "white": "cream, ivory",
    "grey": "gray, silver",
    "red": "scarlet, crimson, maroon",
    "yellow": "golden, gold, blond",
    "green": "olive, lime, turquoise",
    "blue": "navy, cyan, azure, denim",
    "purple": "violet, lilac, lavender, mauve",
    "pink": "magenta, rose",
    "brown": "tan, beige, wooden, bronze, copper",
}

COLOUR_NAMES = tuple(_EXAMPLES)
"""The eleven names, in the order of the columns below."""

COLOUR_WORDS = {name: name for name in COLOUR_NAMES} | {
    word.strip(): name for name, words in _OTHER_WORDS.items() for word in words.split(",")
}
"""Words of requests, each with the name that it is taken for."""

_SOFTNESS = 9.0  # CIELAB units in which a term fades by the factor e
_LEVELS = 32  # of a channel in the table of names
_USUAL_CHROMA = 22.0  # CIELAB units; photos hold far more colours near grey than the cube of all colours


@cache
def _table() -> F32Array:
    """Return the shares of the names at (_LEVELS ** 3, 11) colours, by blue, green and red."""
    lab = _lab(_all_colours())
    examples = [bytes.fromhex(colour)[::-1] for colours in _EXAMPLES.values() for colour in colours]
    distance = np.linalg.norm(lab[:, None] - _lab(np.array([list(e) for e in examples], np.uint8)), axis=2)
    first = np.cumsum([0, *(len(colours) for colours in _EXAMPLES.values())])[:-1]
    nearest = np.minimum.reduceat(distance, first, axis=1)
    shares = np.exp(-(nearest - nearest.min(axis=1, keepdims=True)) / _SOFTNESS) ** 2
    table: F32Array = (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32)
    return table


@cache
def bin_names() -> F32Array:
    """Return the shares of the names in each bin of a colour histogram, (COLOUR_BINS, 11) float32.

    They are the mean over the colours that fall into a bin, weighted by how often photos hold them.
    """
    colours = _all_colours()
    chroma = np.hypot(*_lab(colours)[:, 1:].T)
    weights = bin_shares(colours) * np.exp(-chroma / _USUAL_CHROMA)[:, None]
    names: F32Array = (weights.T @ _table()) / np.maximum(weights.sum(axis=0), 1e-12)[:, None]
    return names.astype(np.float32)


def crop_colours(bgr: U8Array) -> F32Array:
    """Return the shares of the names in a crop, (11,) float32, which sum to 1; the middle counts most.

    Args:
        bgr: (h, w, 3) uint8, the crop of an object.
    """
    small = cv2.resize(bgr, (POINTS, POINTS), interpolation=cv2.INTER_AREA)
    level = (small.reshape(-1, 3) // (256 // _LEVELS)).astype(np.int64)
    names = _table()[(level[:, 0] * _LEVELS + level[:, 1]) * _LEVELS + level[:, 2]]
    shares: F32Array = (MIDDLE @ names).astype(np.float32)
    return shares


def _all_colours() -> U8Array:
    """Return the middles of all levels, (_LEVELS ** 3, 3) uint8 BGR."""
    step = 256 // _LEVELS
    middles = np.arange(_LEVELS, dtype=np.uint8) * step + step // 2
    return np.stack(np.meshgrid(middles, middles, middles, indexing="ij"), axis=-1).reshape(-1, 3)


def _lab(bgr: U8Array) -> F32Array:
    """Return (n, 3) colours in CIELAB."""
    scaled = (bgr[None].astype(np.float32)) / 255
    lab: F32Array = cv2.cvtColor(scaled, cv2.COLOR_BGR2LAB)[0]
    return lab
