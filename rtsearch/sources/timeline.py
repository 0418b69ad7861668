"""Presentation times that can be relied on: strictly increasing, whatever a container says."""

from __future__ import annotations

import math

__all__ = ["DEFAULT_FPS", "Timeline"]

DEFAULT_FPS = 25.0
_GAP_S = 3600.0
_RESTART_S = 1.0


class Timeline:
    """Makes presentation times strictly increasing, keeping every one that already is.

    A missing time (raw streams repeat 0) continues by one frame interval. A small step back is a single odd
    time: the frame comes a tenth of an interval after the one before. A step back by more than a second, or
    ahead by more than an hour, is a new count, as in files joined end to end: what follows is shifted to
    continue.
    """

    def __init__(self, fps: float) -> None:
        self._interval_s = 1 / fps
        self._raw_s = -math.inf
        self._shift_s = 0.0
        self._last_s = -math.inf

    def mend(self, raw_s: float) -> float:
        """The presentation time, s, of the next frame, for which the container says ``raw_s``."""
        before_s, self._raw_s = self._raw_s, raw_s
        if self._last_s == -math.inf:
            self._last_s = raw_s if math.isfinite(raw_s) else 0.0
            return self._last_s
        step_s = raw_s + self._shift_s - self._last_s
        if not math.isfinite(raw_s) or raw_s == before_s or (raw_s <= 0 and step_s <= 0):
            self._last_s += self._interval_s
        elif step_s < -_RESTART_S or step_s > _GAP_S:
            self._last_s += self._interval_s
            self._shift_s = self._last_s - raw_s
        else:
            self._last_s += step_s if step_s > 0 else self._interval_s / 10
        return self._last_s
