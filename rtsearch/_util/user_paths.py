"""Paths as people write them."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

__all__ = ["path_of"]


def path_of(text: str) -> Path:
    """Return the path that a text means; ``~`` is a home, if there is one, ``file:///`` begins a URL."""
    parts = urlsplit(text) if text.lower().startswith("file:/") else None
    if parts is not None and parts.netloc in ("", "localhost"):
        return Path(unquote(parts.path))
    try:
        return Path(text).expanduser()
    except RuntimeError:  # no such user, or nobody has a home
        return Path(text)
