"""Kernel that reads floats as dlib writes them; a file holds tens of millions."""

from __future__ import annotations

from math import inf, nan

import numpy as np
from numpy.typing import NDArray

from rtsearch._util.jit import kernel

__all__ = ["read_floats"]

# Exponents that stand for what is no number (dlib, float_details.h).
_INF, _NEGATIVE_INF, _NAN = 32000, 32001, 32002
_MOST_EXPONENT = 4096  # beyond those of a double


@kernel
def read_floats(data: NDArray[np.uint8], at: int, out: NDArray[np.float64]) -> int:
    """Read ``len(out)`` floats, each an integer mantissa and an integer exponent of two.

    Args:
        data: (bytes,) uint8.
        at: place of the first one.
        out: (n,) float64, is written.

    Returns:
        The place after the last one; -1 where the bytes are no floats or end too early.
    """
    for i in range(len(out)):
        mantissa = exponent = np.int64(0)
        for part in range(2):
            if at >= len(data):
                return -1
            head = data[at]
            length = head & 0x0F
            if head & 0x70 or length < 1 or length > 8 or at + 1 + length > len(data):
                return -1
            value = np.int64(0)
            for place in range(length):
                value |= np.int64(data[at + 1 + place]) << (8 * place)
            value = -value if head & 0x80 else value
            at += 1 + length
            if part == 0:
                mantissa = value
            else:
                exponent = value
        if exponent == _INF:
            out[i] = inf
        elif exponent == _NEGATIVE_INF:
            out[i] = -inf
        elif exponent == _NAN:
            out[i] = nan
        elif abs(exponent) > _MOST_EXPONENT:
            return -1
        else:
            out[i] = np.ldexp(np.float64(mantissa), exponent)
    return at
