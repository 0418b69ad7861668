"""Kernels that read the numbers of a stream which dlib has serialised; see ``dlib_stream``."""

from __future__ import annotations

import math

import numpy as np

from rtsearch._util.jit import kernel

__all__ = ["fill", "whole"]

_INF, _NEGATIVE_INF, _NAN = 32_000, 32_001, 32_002  # exponents that say what the number is
_SIGN, _LENGTH, _TEXT = 0x80, 0x0F, 0x70  # bits of the first byte of a number


@kernel
def whole(data, at):
    """Return a packed whole number and the place after it, -1 where there is none."""
    if at >= data.size:
        return np.int64(0), np.int64(-1)
    first = data[at]
    length = np.int64(first & _LENGTH)
    if first & _TEXT or not 1 <= length <= 8 or at + length >= data.size:
        return np.int64(0), np.int64(-1)
    number = np.uint64(0)
    for i in range(length, 0, -1):
        number = (number << np.uint64(8)) | np.uint64(data[at + i])
    signed = np.int64(number)
    if signed < 0:
        return np.int64(0), np.int64(-1)
    return (-signed if first & _SIGN else signed), np.int64(at + 1 + length)


@kernel
def fill(data, at, out, counted):
    """Fill the rows of ``out``; return the place after them, or -1 less the place of what is no number."""
    for row in range(out.shape[0]):
        if counted:
            length, after = whole(data, at)
            if after < 0 or length != out.shape[1]:
                return np.int64(-1 - at)
            at = after
        for column in range(out.shape[1]):
            value, after = _real(data, at)
            if after < 0:
                return np.int64(-1 - at)
            out[row, column] = value
            at = after
    return np.int64(at)


@kernel
def _real(data, at):
    """Return a real number and the place after it, -1 where there is none."""
    if at >= data.size:
        return 0.0, np.int64(-1)
    if data[at] & _TEXT:
        return _decimal(data, at)
    mantissa, after = whole(data, at)
    if after < 0:
        return 0.0, np.int64(-1)
    exponent, after = whole(data, after)
    if after < 0:
        return 0.0, np.int64(-1)
    if exponent == _INF:
        return np.inf, after
    if exponent == _NEGATIVE_INF:
        return -np.inf, after
    if exponent == _NAN or not -2000 < exponent < 2000:
        return np.nan, after
    return math.ldexp(float(mantissa), int(exponent)), after


@kernel
def _decimal(data, at):
    """Return a number in decimal text and the place after the blank behind it."""
    end = at
    while end < data.size and data[end] != 32 and end - at < 40:
        end += 1
    if end >= data.size or data[end] != 32:
        return 0.0, np.int64(-1)
    sign, digits, tenths, exponent, i = 1.0, 0.0, 0, np.int64(0), at
    if data[i] == 45:  # -
        sign, i = -1.0, i + 1
    if i < end and (data[i] == 105 or data[i] == 110 or data[i] == 78):  # inf, ninf, NaN: no vector has them
        return np.nan, np.int64(end + 1)
    seen, point = 0, False
    while i < end and (48 <= data[i] <= 57 or (data[i] == 46 and not point)):
        if data[i] == 46:
            point = True
        else:
            digits = digits * 10.0 + (data[i] - 48)
            tenths += point
            seen += 1
        i += 1
    if i < end and (data[i] == 101 or data[i] == 69):  # e
        i += 1
        down = i < end and data[i] == 45
        i += i < end and (data[i] == 45 or data[i] == 43)
        while i < end and 48 <= data[i] <= 57 and exponent < 1000:
            exponent = exponent * 10 + (np.int64(data[i]) - 48)
            i += 1
        exponent = -exponent if down else exponent
    if i != end or not seen:
        return 0.0, np.int64(-1)
    return sign * digits * 10.0 ** float(exponent - tenths), np.int64(end + 1)
