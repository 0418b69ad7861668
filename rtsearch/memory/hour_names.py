"""Names of the hours that entries go to. A closed hour is never opened again, whatever the clock does."""

from __future__ import annotations

import threading
from collections.abc import Collection

from rtsearch.memory.folder import hour_of

__all__ = ["HourNames"]


class HourNames:
    """Gives entries the names of their hours; safe to use from several threads.

    Args:
        closed: hours that nothing may be added to; one that is begun anew gets a number behind its name.
    """

    def __init__(self, closed: Collection[str]) -> None:
        self._closed = set(closed)
        self._names: dict[str, str] = {}
        self._lock = threading.Lock()

    def name(self, ns: int) -> str:
        """Return the name of the hour of a moment, nanoseconds since 1970."""
        base = hour_of(ns)
        with self._lock:
            name = self._names.get(base, base)
            turn = 1
            while name in self._closed:
                turn += 1
                name = f"{base}-{turn}"
            self._names = {base: name}
            return name

    def close(self, name: str) -> None:
        """Let nothing be added to an hour from now on."""
        with self._lock:
            self._closed.add(name)
