"""Finish files when C code ends the process, past everything that Python would do."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
from collections.abc import Callable, Iterator

__all__ = ["finish_on_c_exit"]


@contextlib.contextmanager
def finish_on_c_exit(finish: Callable[[], None]) -> Iterator[None]:
    """Call ``finish`` if the process is ended inside the block by C's ``exit``; its exit code is then 2.

    So do Qt and Xlib when the X server dies, inside whatever call of OpenCV, and Python knows nothing of it.
    """
    if platform.libc_ver()[0] != "glibc":  # others cannot take back what ``exit`` is to call
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
