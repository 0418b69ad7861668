"""How kernels are compiled: serial, without the GIL, cached on disk, for the types they are called with."""

from __future__ import annotations

from typing import Any

from numba import njit

__all__ = ["kernel"]

# Without "nnan" and "ninf", which turn every check for NaN and infinity into False.
_FASTMATH = {"nsz", "arcp", "contract", "afn", "reassoc"}


def kernel(function: Any) -> Any:
    """Compile a function; signatures are lazy because explicit ones refuse read-only arrays."""
    return njit(cache=True, nogil=True, fastmath=_FASTMATH, error_model="numpy")(function)
