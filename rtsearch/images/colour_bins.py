"""Define the bins of colour histograms: brightness, red against green, and blue against green, in logarithms.

A change of light moves all colours alike there, instead of stretching them.
"""

from __future__ import annotations

import numpy as np

from rtsearch.types import F32Array, U8Array

__all__ = ["COLOUR_BINS", "LOGARITHMS", "MIDDLE", "POINTS", "SHAPE", "START", "STEP", "bin_shares"]

SHAPE = (3, 6, 6)
"""Number of bins of brightness, red-green and blue-green."""

COLOUR_BINS = SHAPE[0] * SHAPE[1] * SHAPE[2]
"""Number of bins of a histogram."""

POINTS = 48
"""Points per side of a box whose colours count; 64 or 96 score the same, 32 scores lower."""

_SIGMA = 0.4  # width of the weight in half sides; .35 to .5 score alike, equal weights score far lower
_BELL = np.exp(-0.5 * ((np.arange(POINTS) + 0.5) / (POINTS / 2) - 1) ** 2 / _SIGMA**2)

MIDDLE = np.outer(_BELL, _BELL).ravel()
MIDDLE /= MIDDLE.sum()
"""(POINTS ** 2,) float64: weight of each point, row by row, 1 together; the middle of a box counts most."""

_LOW = np.array([6.0, -1.2, -1.6])
_HIGH = np.array([16.8, 1.2, 1.2])  # the ranges hold all but the most saturated colours of photos

# The 8 keeps the noise of dark pixels from counting as colour.
LOGARITHMS = np.log(np.arange(256, dtype=np.float32) + 8)
"""(256,) float32: logarithm of each value of a channel."""

STEP = (np.array(SHAPE) / (_HIGH - _LOW)).astype(np.float32)
"""(3,) float32: bins per unit, by axis."""

START = (-_LOW * STEP - 0.5).astype(np.float32)
"""(3,) float32: added to a scaled value, it puts the middle of bin i at place i."""


def bin_shares(bgr: U8Array) -> F32Array:
    """Return how (n, 3) colours are shared among the bins around them, (n, COLOUR_BINS) float32.

    The kernel of ``perception.colour_histogram`` does the same for pixels, faster.
    """
    blue, green, red = LOGARITHMS[bgr].T
    places = np.stack([blue + green + red, red - green, blue - green], axis=1) * STEP + START
    floors = np.floor(places).astype(int)
    parts = places - floors
    shares = np.zeros((len(bgr), COLOUR_BINS), np.float32)
    rows = np.arange(len(bgr))
    for corner in np.ndindex(2, 2, 2):
        a, b, c = (np.clip(floors + corner, 0, np.array(SHAPE) - 1)).T
        weights = np.where(corner, parts, 1 - parts).prod(axis=1)
        np.add.at(shares, (rows, (a * SHAPE[1] + b) * SHAPE[2] + c), weights.astype(np.float32))
    return shares
