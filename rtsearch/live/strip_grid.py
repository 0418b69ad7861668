"""Choose the grid of strips, so that the picture stands still as objects come and go."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["GROWS_AFTER_S", "GROWS_SOON_S", "SHRINKS_AFTER_S", "GridChoice"]

GROWS_AFTER_S = 5.0
"""Time for which more objects than strips must be there before the grid gets more strips, s."""
GROWS_SOON_S = 0.4
"""The same where all else in the picture keeps its place, s."""
SHRINKS_AFTER_S = 20.0
"""Time for which fewer must be there before it gets fewer again, s; most who leave are followed by others."""


class GridChoice:
    """Chooses the number of strips of one source's grid.

    A photo of a slide show, which stands still, gets a grid for its own objects.
    """

    def __init__(self) -> None:
        self._strips = 0  # 0: not chosen yet
        self._base = 0
        # Since when more strips are wanted, and the fewest of these; the same where nothing else moves.
        self._over: tuple[float, int] | None = None
        self._soon: tuple[float, int] | None = None
        self._under: tuple[float, int] | None = None  # since when fewer are, and the most of these

    def keep(self, objects: int, base: int, most: int, at_s: float, still: int = 0) -> int:
        """Return the number of strips of the grid, now that a frame shows so many objects.

        Args:
            objects: shown, those that are missed for a moment included.
            base: strips that the picture's shape suggests, which is also the least number.
            most: strips that fit.
            at_s: time of the frame.
            still: strips up to which nothing else in the picture moves; the grid gets these soon.
        """
        wanted = min(max(objects, base), most)
        if not self._strips or base != self._base:
            self._strips, self._base = wanted, base
        self._over = _since(self._over, wanted, at_s, min) if wanted > self._strips else None
        soon = min(wanted, still)
        self._soon = _since(self._soon, soon, at_s, min) if soon > self._strips else None
        self._under = _since(self._under, wanted, at_s, max) if wanted < self._strips else None
        runs = ((self._over, GROWS_AFTER_S), (self._soon, GROWS_SOON_S), (self._under, SHRINKS_AFTER_S))
        for run, after_s in runs:
            if run is not None and round(at_s - run[0], 6) >= after_s:  # times are sums of floats
                self._strips = run[1]
                self._over = self._soon = self._under = None
                break
        return self._strips

    def clear(self) -> None:
        """Choose anew: another photo is shown."""
        self._strips = 0


def _since(
    run: tuple[float, int] | None, wanted: int, at_s: float, which: Callable[[int, int], int]
) -> tuple[float, int]:
    """Return the run of frames that want another grid; a source that has gone back begins anew."""
    if run is None or at_s < run[0]:
        return at_s, wanted
    return run[0], which(run[1], wanted)
