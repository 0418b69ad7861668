"""Keep what is made of rows of a library: most objects have the same neighbours frame after frame."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import numpy as np

from rtsearch.recording import Hits, neighbour_records

__all__ = ["ByRow"]

T = TypeVar("T")

_MOST = 20_000


class ByRow(Generic[T]):
    """Things made of rows; belongs to one outlet.

    What is remembered of a camera changes while it is seen, so it is made anew each time.

    Args:
        make: makes the thing of a neighbour, a value of ``recording.neighbour_records`` without a distance.
    """

    def __init__(self, make: Callable[[Mapping[str, Any]], T]) -> None:
        self._make = make
        self._library: Hits | None = None
        self._made: dict[int, T] = {}

    def of(self, rows: Sequence[int], library: Hits) -> list[T]:
        """Return the things of rows of a library, in their order."""
        if library is not self._library or len(self._made) > _MOST:
            self._library, self._made = library, {}
        known = self._made
        missing = [row for row in dict.fromkeys(rows) if row not in known]
        if not missing:
            return list(map(known.__getitem__, rows))
        unknown = np.full(len(missing), np.inf, np.float32)
        near = neighbour_records(np.array(missing, np.int32), unknown, library)
        made = {one["row"]: self._make(one) for one in near}
        known |= {one["row"]: made[one["row"]] for one in near if "seen_ns" not in one and one["photo"]}
        return [known[row] if row in known else made[row] for row in rows]
