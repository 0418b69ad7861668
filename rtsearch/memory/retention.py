"""Choose the hours of a memory that go: those that are too old, then the oldest of too many bytes."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence

from rtsearch.config import MemorySettings
from rtsearch.memory.folder import MemoryFolder, end_of
from rtsearch.memory.hours import bytes_of_hour

__all__ = ["Retention"]


class Retention:
    """Holds a memory to ``memory.keep_days`` and ``memory.keep_gb``."""

    def __init__(self, memory: MemoryFolder, settings: MemorySettings) -> None:
        self._memory = memory
        self._settings = settings
        self._bytes: dict[str, int] = {}  # of closed hours, which do not change

    def hours_to_drop(self, names: Sequence[str], unfinished: Collection[str]) -> list[str]:
        """Return the hours that go.

        Args:
            names: of hours, the oldest first.
            unfinished: those that still grow.
        """
        least_ns = time.time_ns() - self._settings.keep_days * 86_400e9
        gone = [name for name in names if end_of(name) < least_ns]
        left = [name for name in names if name not in gone]
        sizes = {name: self._bytes.get(name) or bytes_of_hour(self._memory, name) for name in left}
        self._bytes = {name: size for name, size in sizes.items() if name not in unfinished}
        total = sum(sizes.values())
        for name in left:
            if total <= self._settings.keep_gb * 1e9:
                break
            gone.append(name)
            total -= sizes[name]
        return gone
