"""Find the folder for files that can be made again, such as networks and compiled kernels."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["user_cache"]


def user_cache() -> Path | None:
    """Return rtsearch's folder in the user's cache; None for a user without a home, as in containers."""
    named = os.environ.get("LOCALAPPDATA") or os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(named) if named else Path.home() / ".cache") / "rtsearch"
    except RuntimeError:  # HOME is not set, and the user id has no entry
        return None
