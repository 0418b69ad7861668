"""Room that the picture keeps for strips, so that it does not jump as objects come and go."""

from __future__ import annotations

from collections.abc import Sequence

from rtsearch.live.tracker import is_over
from rtsearch.types import WHOLE_IMAGE_TRACK

__all__ = ["StripReservation"]


class StripReservation:
    """Keeps room for strips.

    Room is there at once for a new strip, and is given up when nothing has needed it for ``STAYS_S``.

    After a cut, when no object goes on, the picture is laid out anew; a replay knows as much from its record.
    """

    def __init__(self) -> None:
        self._needed: list[tuple[float, int]] = []  # when, how many strips
        self._tracks: set[int] = set()

    def keep(self, tracks: Sequence[int], strips: Sequence[int], at_s: float) -> int:
        """Return the number of strips to keep room for, now that a frame shows these.

        Args:
            tracks: shown, those that are missed for a moment included.
            strips: of each.
            at_s: time of the frame.
        """
        before, self._tracks = self._tracks, set(tracks) - {WHOLE_IMAGE_TRACK}
        if before and self._tracks and before.isdisjoint(self._tracks):
            self._needed.clear()
        rows = max(strips, default=-1) + 1
        # What needed no more than what came after it does not matter.
        self._needed = [(then_s, n) for then_s, n in self._needed if n > rows and not is_over(then_s, at_s)]
        self._needed.append((at_s, rows))
        return self._needed[0][1]

    def clear(self) -> None:
        """Keep nothing: another photo is shown."""
        self._needed.clear()
