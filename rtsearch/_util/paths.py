"""Find the user's cache folder, and parse paths as users write them."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

__all__ = ["path_of", "user_cache"]


def user_cache() -> Path | None:
    """Return rtsearch's folder in the user's cache; None for a user without a home, as in containers."""
    named = os.environ.get("LOCALAPPDATA") or os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(named) if named else Path.home() / ".cache") / "rtsearch"
    except RuntimeError:  # HOME is not set, and the user id has no entry
        return None


def path_of(text: str) -> Path:
    """Return the path of a text, which may begin with ``~`` or be a ``file:///`` URL."""
    parts = urlsplit(text) if text.lower().startswith("file:/") else None
    if parts is not None and parts.netloc in ("", "localhost"):
        return Path(unquote(parts.path))
    try:
        return Path(text).expanduser()
    except RuntimeError:  # the user or the home folder does not exist
        return Path(text)
