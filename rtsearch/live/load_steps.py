"""Make a picture cheaper in steps where the machine does not keep up, and dearer again when there is room.

frames that came, frames that were drawn, time of the main thread -> every five seconds: a step up or down

1 the picture is drawn smaller, and enlarged by the window; 2 fewer crops; 3 every second frame is detected
"""

from __future__ import annotations

import logging

from rtsearch.config import ShowSettings

__all__ = ["STEPS", "LoadSteps", "lightened", "reduced"]

_log = logging.getLogger(__name__)

STEPS = 3
"""Number of steps."""
_LOOK_S = 5.0
_FLUENT_FPS = 25.0  # of a camera that gives more, no more need be drawn
_TOO_FEW = 0.6  # share of the frames that are drawn below which a step is taken
_ENOUGH = 0.9  # share from which on there is room, if
_IDLE = 0.5  # the main thread works for no larger share of the time
_WAIT_S = (30.0, 480.0)  # with room, before a step is taken back: at first, and at the most
_SMALLER = 2 / 3  # of the sides of a picture
_FEW = 8  # crops of an object


class LoadSteps:
    """Chooses the step from what a run gets done.

    Attributes:
        step: 0 for the full picture, up to ``STEPS``.
    """

    def __init__(self) -> None:
        self.step = 0
        self._last: tuple[float, int, int, float] | None = None  # time, frames, drawn, time of the thread
        self._room_s = 0.0  # for how long there has been room
        self._wait_s = _WAIT_S[0]
        self._told = False

    def update(self, now_s: float, frames: int, drawn: int, worked_s: float) -> int:
        """Return the step.

        Args:
            now_s: time of a clock.
            frames: that came so far.
            drawn: so far.
            worked_s: CPU time of the main thread so far, s.
        """
        now = now_s, frames, drawn, worked_s
        if self._last is None or now_s - self._last[0] < _LOOK_S:
            self._last = self._last or now
            return self.step
        length_s, came, shown, worked = (b - a for a, b in zip(self._last, now, strict=True))
        self._last = now
        if came:
            share = shown / min(came, _FLUENT_FPS * length_s)
            self._decide(share, worked / length_s, length_s)
        return self.step

    def _decide(self, share: float, busy: float, length_s: float) -> None:
        if share < _TOO_FEW:
            self._room_s = 0.0
            if self.step < STEPS:
                self._tell(share)
                self.step += 1
                self._wait_s = min(2 * self._wait_s, _WAIT_S[1])  # what was too much once is so again
        elif share < _ENOUGH or busy > _IDLE:
            self._room_s = 0.0
        else:
            self._room_s += length_s
            if self.step and self._room_s >= self._wait_s:
                self.step, self._room_s = self.step - 1, 0.0

    def _tell(self, share: float) -> None:
        if not self._told:
            _log.warning(
                "this machine draws %.0f %% of the frames that are to be seen: the picture gets simpler in "
                "steps, and as before when there is room",
                100 * share,
            )
        self._told = True


def reduced(wh: tuple[int, int], step: int) -> tuple[int, int]:
    """Return the size in which a picture for a window of a size is drawn, px."""
    return (round(_SMALLER * wh[0]), round(_SMALLER * wh[1])) if step >= 1 else wh


def lightened(show: ShowSettings, step: int) -> ShowSettings:
    """Return the layout at a step."""
    if step < 2:
        return show
    return show.model_copy(update={"results": min(show.results, _FEW), "fill": False})
