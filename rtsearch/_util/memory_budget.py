"""Limit the memory that several threads use together."""

from __future__ import annotations

import threading

__all__ = ["MemoryBudget"]

_WAIT_S = 0.1


class MemoryBudget:
    """Budget of bytes that are in use at a time; a larger amount is granted when nothing else is in use.

    Args:
        limit_bytes: size of the budget.
        stop: event that ends all waiting; requests are granted then, as the work will not be done.
    """

    def __init__(self, limit_bytes: int, stop: threading.Event) -> None:
        self._limit_bytes = limit_bytes
        self._stop = stop
        self._used_bytes = 0
        self._changed = threading.Condition()

    def take(self, amount_bytes: int, *, wait: bool) -> bool:
        """Request memory; without ``wait``, return False if the budget is used up now."""
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
        """Return memory to the budget."""
        with self._changed:
            self._used_bytes -= amount_bytes
            self._changed.notify_all()
