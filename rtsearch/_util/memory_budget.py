"""Limit the memory that several threads use together."""

from __future__ import annotations

import threading

__all__ = ["MemoryBudget"]

_WAIT_S = 0.1


class MemoryBudget:
    """Bytes that may be in use at a time; more than that is granted only to one that is alone.

    Args:
        limit_bytes: the budget.
        stop: once set, waiting ends and everything is granted, for nothing will be done with it.
    """

    def __init__(self, limit_bytes: int, stop: threading.Event) -> None:
        self._limit_bytes = limit_bytes
        self._stop = stop
        self._used_bytes = 0
        self._changed = threading.Condition()

    def take(self, amount_bytes: int, *, wait: bool) -> bool:
        """Ask for memory; without ``wait``, False means that there is no room now."""
        with self._changed:
            while self._used_bytes and self._used_bytes + amount_bytes > self._limit_bytes:
                if self._stop.is_set():
                    break
                if not wait:
                    return False
                self._changed.wait(_WAIT_S)
            self._used_bytes += amount_bytes
            return True

    def give(self, amount_bytes: int) -> None:
        """Give memory back."""
        with self._changed:
            self._used_bytes -= amount_bytes
            self._changed.notify_all()
