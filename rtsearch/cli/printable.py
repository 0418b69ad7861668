"""Escape control characters in texts for a terminal, such as names of files, classes and devices."""

from __future__ import annotations

import unicodedata

from rtsearch.storage.address import in_addresses

__all__ = ["printable"]

# Categories of control characters, surrogates, line and paragraph separators.
_UNSEEN = {"Cc", "Cs", "Zl", "Zp"}
# Change the direction of the text after them.
_TURNS = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def printable(text: str) -> str:
    """Return a text with escapes instead of characters that would control a terminal or break the line.

    Folders that stand for addresses of object storage are shown as these.

    ``\\x1b`` for ESC, ``\\udcff`` for a byte that is not UTF-8; letters of all languages stay.
    """
    text = in_addresses(text)
    if text.isprintable():
        return text
    return "".join(_escape(char) if _controls(char) else char for char in text)


def _controls(char: str) -> bool:
    return unicodedata.category(char) in _UNSEEN or char in _TURNS


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode()
