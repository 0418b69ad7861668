"""Finish files when C code ends the process without returning to Python."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
from collections.abc import Callable, Iterator

__all__ = ["finish_on_c_exit"]


@contextlib.contextmanager
def finish_on_c_exit(finish: Callable[[], None]) -> Iterator[None]:
    """Call ``finish`` if C's ``exit`` ends the process inside the block; the exit code is then 2.

    Qt and Xlib call ``exit`` when the X server dies, inside any call of OpenCV and unnoticed by Python.
    """
    if platform.libc_ver()[0] != "glibc":  # other C libraries cannot remove functions that ``exit`` calls
        yield
        return
    inside = True

    def at_exit(_: object) -> None:
        if inside:
            try:
                finish()
            finally:
                os._exit(2)

    libc = ctypes.CDLL(None)
    callback = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(at_exit)
    libc.__cxa_atexit(callback, None, ctypes.cast(callback, ctypes.c_void_p))
    try:
        yield
    finally:
        inside = False
        libc.__cxa_finalize(ctypes.cast(callback, ctypes.c_void_p))
