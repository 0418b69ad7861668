"""Parse paths of the user."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

__all__ = ["path_of"]


def path_of(text: str) -> Path:
    """Return the path of a text, which may begin with ``~`` or be a ``file:///`` URL."""
    parts = urlsplit(text) if text.lower().startswith("file:/") else None
    if parts is not None and parts.netloc in ("", "localhost"):
        return Path(unquote(parts.path))
    try:
        return Path(text).expanduser()
    except RuntimeError:  # the user or the home folder does not exist
        return Path(text)
