"""How many strips the picture keeps room for, so that it does not jump as objects come and go."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from rtsearch.track import STAYS_FRAMES, WHOLE_IMAGE

__all__ = ["Rows"]


class Rows:
    """Room is there at once for a new strip, and is given up when nothing has needed it for ``STAYS_FRAMES``.

    After a cut, when no object goes on, the picture is laid out anew; a replay knows as much from its record.
    """

    def __init__(self) -> None:
        self._needed: deque[int] = deque(maxlen=STAYS_FRAMES)
        self._tracks: set[int] = set()

    def keep(self, tracks: Sequence[int], strips: Sequence[int]) -> int:
        """Strips to keep room for, now that a frame shows these.

        Args:
            tracks: shown, those that are missed for a moment included.
            strips: of each.
        """
        before, self._tracks = self._tracks, set(tracks) - {WHOLE_IMAGE}
        if before and self._tracks and before.isdisjoint(self._tracks):
            self._needed.clear()
        self._needed.append(max(strips, default=-1) + 1)
        return max(self._needed)

    def clear(self) -> None:
        """Keep nothing: another photo is shown."""
        self._needed.clear()
