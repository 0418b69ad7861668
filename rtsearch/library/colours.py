"""Name the colours of stored descriptions, for searches by words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtsearch.images.colour_bins import COLOUR_BINS
from rtsearch.images.colour_names import COLOUR_NAMES, bin_names
from rtsearch.types import U8Array

__all__ = ["stored_colours"]


def stored_colours(vectors: NDArray[np.floating], blocks: Sequence[Mapping[str, Any]]) -> U8Array:
    """Return the share of each of ``COLOUR_NAMES`` in n objects, (n, 11) uint8, 255 for all of it.

    Args:
        vectors: (n, D) descriptions as they are stored.
        blocks: kind and width of their parts, in order; without a colour histogram among them, shares are 0.
    """
    at = 0
    for block in blocks:
        if block["kind"] == "colour" and block["width"] == COLOUR_BINS:
            shares = vectors[:, at : at + COLOUR_BINS].astype(np.float32) ** 3  # cube roots are stored
            shares /= np.maximum(shares.sum(axis=1, keepdims=True), 1e-12)
            colours: U8Array = np.rint(255 * (shares @ bin_names())).astype(np.uint8)
            return colours
        at += block["width"]
    return np.zeros((len(vectors), len(COLOUR_NAMES)), np.uint8)
