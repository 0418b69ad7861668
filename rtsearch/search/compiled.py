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


def _cache_folder() -> Path | None:
    here = Path(__file__).parent
    digest = hashlib.sha256()
    for source in sorted(here.glob("*.py")):
        digest.update(source.read_bytes())
    name = f"kernels-{digest.hexdigest()[:16]}"
    chosen = [Path(config.CACHE_DIR)] if config.CACHE_DIR else [here / "__pycache__", _user_cache()]
    for folder in chosen:
        try:
            (folder / name).mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder / name, os.W_OK | os.X_OK):
            return folder / name
    return None


def _user_cache() -> Path:
    home = os.environ.get("LOCALAPPDATA") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "rtsearch"


_FOLDER = _cache_folder()


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
