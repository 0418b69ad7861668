"""Read hours of the day, such as ``09:00-18:30``, and tell whether a time lies in them."""

from __future__ import annotations

import re

__all__ = ["is_open", "parse_hours"]

_RANGE = re.compile(r"(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})")


def parse_hours(text: str) -> tuple[int, int] | None:
    """Return the first minute of the day that lies in the hours and the first one after; None for "".

    Raises:
        ValueError: the text is neither empty nor hours.
    """
    if not text.strip():
        return None
    match = _RANGE.fullmatch(text.strip())
    if match is None:
        raise ValueError("expected hours such as 09:00-18:30")
    begins, ends = (60 * int(match[i]) + int(match[i + 1]) for i in (1, 3))
    if int(match[2]) > 59 or int(match[4]) > 59 or begins >= 24 * 60 or ends > 24 * 60 or begins == ends:
        raise ValueError("expected two different times of the day, such as 09:00-18:30")
    return begins, ends


def is_open(text: str, minute: int) -> bool:
    """Tell whether a minute of the day lies in hours, which may go on past midnight; "" is always.

    Raises:
        ValueError: the text is neither empty nor hours.
    """
    hours = parse_hours(text)
    if hours is None:
        return True
    begins, ends = hours
    return begins <= minute < ends if begins < ends else minute >= begins or minute < ends
