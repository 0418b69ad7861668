"""How kernels are compiled: serial, without the GIL, cached on disk, for the types they are called with.

numba's own cache looks only at the file that a kernel stands in: change a kernel that it calls, in another
file, and the old code goes on running. So the cache lies in a folder named after the content of all files of
this package: beside them where that can be written to, else in the user's cache folder, else nowhere.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from numba import config, njit

__all__ = ["bare_kernel", "inlined", "kernel"]

# Without "nnan" and "ninf", which turn every check for NaN and infinity into False.
_FASTMATH = {"nsz", "arcp", "contract", "afn", "reassoc"}


def _cache_name() -> str:
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    return f"kernels-{digest.hexdigest()[:16]}"


def _cache_parents() -> list[Path]:
    if config.CACHE_DIR:  # numba's own setting, NUMBA_CACHE_DIR
        return [Path(config.CACHE_DIR)]
    home = os.environ.get("LOCALAPPDATA") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return [Path(__file__).parent / "__pycache__", Path(home) / "rtsearch"]


def _writable_folder(parents: list[Path], name: str) -> Path | None:
    """``name`` in the first of the parents that lets it be made and written to; None where none does."""
    for parent in parents:
        try:
            (parent / name).mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(parent / name, os.W_OK | os.X_OK):
            return parent / name
    return None


_FOLDER = _writable_folder(_cache_parents(), _cache_name())


def kernel(function: Any) -> Any:
    """Compile a function; signatures are lazy because explicit ones refuse read-only arrays."""
    return _compile(function, {})


def bare_kernel(function: Any) -> Any:
    """Compile a function that makes and returns no arrays, without counting references to those it is given.

    A tree and its scratch memory are 35 arrays; counted, handing them on tripled the time of an exact search.
    """
    return _compile(function, {"_nrt": False})


def inlined(function: Any) -> Any:
    """As bare_kernel, for small functions: compiled into their callers."""
    return _compile(function, {"_nrt": False, "forceinline": True})


def _compile(function: Any, options: dict[str, bool]) -> Any:
    before = config.CACHE_DIR
    config.CACHE_DIR = str(_FOLDER or before)
    options = {"cache": _FOLDER is not None, "nogil": True, **options}
    try:
        return njit(fastmath=_FASTMATH, error_model="numpy", **options)(function)
    finally:
        config.CACHE_DIR = before
