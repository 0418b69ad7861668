"""Words that messages and pictures share."""

from __future__ import annotations

__all__ = ["counted"]


def counted(n: int, thing: str) -> str:
    """Return ``1 object`` or ``1,234 objects``."""
    return f"{n:,} {thing}{'' if n == 1 else 's'}"
