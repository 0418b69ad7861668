"""Compile kernels with decorators: serial, without the GIL, for the types of their arguments.

All kernels share one set of fast-math flags and one cache on disk (``kernel_cache``).
"""

from __future__ import annotations

from typing import Any

from numba import njit

from rtsearch._util.kernel_cache import keep_on_disk

__all__ = ["FASTMATH", "bare_kernel", "inlined", "kernel"]

# "nnan" and "ninf" are left out, as they turn checks for NaN and infinity into False.
FASTMATH = frozenset({"nsz", "arcp", "contract", "afn", "reassoc"})
"""Fast-math flags of all kernels."""


def kernel(function: Any) -> Any:
    """Compile a function at its first call, as explicit signatures refuse read-only arrays."""
    return _compile(function, {})


def bare_kernel(function: Any) -> Any:
    """Compile a function that makes and returns no arrays, without counting references to its arguments.

    A tree and its scratch memory are 35 arrays; counting references to them tripled the time of an exact
    search.
    """
    return _compile(function, {"_nrt": False})


def inlined(function: Any) -> Any:
    """Compile a small function as ``bare_kernel`` does, into its callers."""
    return _compile(function, {"_nrt": False, "forceinline": True})


def _compile(function: Any, options: dict[str, bool]) -> Any:
    dispatcher = njit(nogil=True, fastmath=set(FASTMATH), error_model="numpy", **options)(function)
    keep_on_disk(dispatcher)
    return dispatcher
