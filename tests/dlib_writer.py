"""Write what dlib's serialization writes, from its description: the new form of floats and the old one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def integer(value: int) -> bytes:
    """A byte with the sign and the length, then the bytes, the lowest first; zero has one byte too."""
    size = max(1, (abs(value).bit_length() + 7) // 8)
    return bytes([size | (0x80 if value < 0 else 0)]) + abs(value).to_bytes(size, "little")


def new_float(value: float) -> bytes:
    """Mantissa and exponent; low bytes of the mantissa that are zero are shifted off."""
    if math.isnan(value):
        return integer(0) + integer(32002)
    if math.isinf(value):
        return integer(0) + integer(32000 if value > 0 else 32001)
    share, exponent = math.frexp(value)
    mantissa, exponent = int(math.ldexp(share, 53)), exponent - 53
    for _ in range(8):
        if mantissa and mantissa & 0xFF == 0:
            mantissa >>= 8
            exponent += 8
    return integer(mantissa) + integer(exponent)


def old_float(value: float) -> bytes:
    """Decimal text and a blank."""
    if math.isinf(value):
        return b"inf " if value > 0 else b"ninf "
    return b"NaN " if math.isnan(value) else f"{value:.35g} ".encode()


FORMS = {"new": new_float, "old": old_float}


def floats(values: Sequence[float] | np.ndarray, form: str) -> bytes:
    return integer(len(values)) + b"".join(FORMS[form](float(value)) for value in values)


def rows(table: np.ndarray, form: str) -> bytes:
    return integer(len(table)) + b"".join(floats(row, form) for row in table)


def texts(names: Sequence[str]) -> bytes:
    coded = [name.encode("utf-8", "surrogateescape") for name in names]
    return integer(len(names)) + b"".join(integer(len(name)) + name for name in coded)


def matrix(table: np.ndarray, form: str) -> bytes:
    numbers = b"".join(FORMS[form](float(value)) for value in table.ravel())
    return integer(-table.shape[0]) + integer(-table.shape[1]) + numbers


def saved(
    vectors: np.ndarray,
    xywh: np.ndarray,
    scores: np.ndarray,
    names: Sequence[str],
    *,
    features_only: bool = False,
    form: str = "new",
) -> bytes:
    """The file of the application: projected vectors with their projection, or features only."""
    body = rows(xywh, form) + floats(scores, form) + texts(names)
    if features_only:
        return rows(vectors, form) + integer(0) + body
    dim = vectors.shape[1]
    projection = matrix(np.full((dim + 2, dim), 0.5), form) + floats(np.zeros(dim + 2), form)
    return rows(vectors, form) + body + projection
