"""Word texts that messages and pictures share."""

from __future__ import annotations

__all__ = ["counted", "one_line"]


def counted(n: int, thing: str) -> str:
    """Return a number with its noun: ``1 object`` or ``1,234 objects``."""
    return f"{n:,} {thing}{'' if n == 1 else 's'}"


def one_line(error: object, most_chars: int = 200) -> str:
    """Return the text of an error in one line, cut after ``most_chars`` characters."""
    return " ".join(str(error).split())[:most_chars]
