"""The detecting thread's part of a source: the objects that are looked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rtsearch.images.scene_cut import SceneCutDetector
from rtsearch.live.controls import Chooser
from rtsearch.live.live_frame import LiveFrame
from rtsearch.live.tracker import Tracker
from rtsearch.types import WHOLE_IMAGE_LABEL, I64Array

__all__ = ["ChoosingSide"]


class ChoosingSide:
    """Chooses objects of one source, and follows all of them where the chooser knows them by their tracks.

    What is shown is followed once more, by the search side: there a strip stays while an object is missed.
    """

    def __init__(self) -> None:
        self._tracker = Tracker()
        self._cuts = SceneCutDetector()
        self._last: tuple[int, str] | None = None  # epoch and name of the picture

    def chosen(self, item: LiveFrame, chooser: Chooser | None) -> LiveFrame:
        """Return a detected frame with the objects that a chooser takes; None takes all."""
        if chooser is None:
            return item
        found = item.detections
        if chooser.follows:
            found = replace(found, track=self._tracks(item))
        matching = chooser.matching(item.frame.bgr, found)
        return replace(item, detections=found.rows(np.flatnonzero(matching)))

    def _tracks(self, item: LiveFrame) -> I64Array:
        """Return the numbers of the tracks of a frame's objects; a cut begins anew."""
        this = item.epoch, item.frame.name
        if self._cuts.is_cut(item.frame.bgr) or this != self._last:
            self._tracker.reset()
        self._last = this
        found = item.detections
        return self._tracker.update(found.xyxy, found.label == WHOLE_IMAGE_LABEL).number
