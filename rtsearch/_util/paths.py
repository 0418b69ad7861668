"""Find the user's cache folder, and parse paths as users write them."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

__all__ = ["is_file_name", "path_of", "user_cache"]

_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def user_cache() -> Path | None:
    """Return rtsearch's folder in the user's cache; None for a user without a home, as in containers."""
    named = os.environ.get("LOCALAPPDATA") or os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(named) if named else Path.home() / ".cache") / "rtsearch"
    except RuntimeError:  # HOME is not set, and the user id has no entry
        return None


def is_file_name(text: str) -> bool:
    """Tell whether a text is a plain name of a file: up to 64 letters, digits, ., _ and -, no . first."""
    return _FILE_NAME.fullmatch(text) is not None


def path_of(text: str) -> Path:
    """Return the path of a text, which may begin with ``~`` or be a ``file:///`` URL."""
    parts = urlsplit(text) if text.lower().startswith("file:/") else None
    if parts is not None and parts.netloc in ("", "localhost"):
        return Path(unquote(parts.path))
    try:
        return Path(text).expanduser()
    except RuntimeError:  # the user or the home folder does not exist
        return Path(text)
