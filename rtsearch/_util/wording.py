"""Word texts that messages and pictures share."""

from __future__ import annotations

from datetime import datetime

__all__ = ["ago", "counted", "iso_time", "one_line", "time_code"]

_LONGEST_S = {"min": 60 * 60, "h": 48 * 3600}  # that is counted in minutes, in hours


def counted(n: int, thing: str) -> str:
    """Return a number with its noun: ``1 object`` or ``1,234 objects``."""
    return f"{n:,} {thing}{'' if n == 1 else 's'}"


def time_code(seconds: float) -> str:
    """Return a time in a film: ``0:07.5``, ``1:02:03.0``."""
    tenths = round(10 * max(0.0, seconds))
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    clock = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    return f"{clock}:{rest // 10:02d}.{rest % 10}"


def iso_time(ns: int) -> str:
    """Return a moment, nanoseconds since 1970, as local date and time with its zone."""
    return datetime.fromtimestamp(ns / 1e9).astimezone().isoformat(timespec="seconds")


def one_line(error: object, most_chars: int = 200) -> str:
    """Return the text of an error in one line, cut after ``most_chars`` characters."""
    return " ".join(str(error).split())[:most_chars]


def ago(seconds: float) -> str:
    """Return how long ago something was: ``12 min ago``, ``3 h ago``, ``5 d ago``."""
    if seconds < 60:
        return "just now"
    if seconds < _LONGEST_S["min"]:
        return f"{seconds // 60:.0f} min ago"
    if seconds < _LONGEST_S["h"]:
        return f"{seconds // 3600:.0f} h ago"
    return f"{seconds // 86_400:.0f} d ago"
