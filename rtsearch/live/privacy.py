"""Make people unrecognisable in frames, before anything is drawn, recorded or sent.

frame -> detection of persons too, with a lower threshold -> frame with pixelated persons, wanted objects

What the settings leave out (other classes, small or covered objects, low scores) is detected nevertheless, so
that no person is left clear for that; it is left out afterwards. A person who is missed stays pixelated where
it was last for a second. Nobody is protected whom the network has not found in that time.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from rtsearch.config import DetectSettings
from rtsearch.errors import ConfigError
from rtsearch.perception.detector import drop_overlapping, iou, wanted_classes
from rtsearch.types import WHOLE_IMAGE_LABEL, Detections, F32Array, Frame, U8Array

__all__ = ["Privacy", "pixelate"]

_PERSON = "person"
_THRESHOLD = 0.1  # of persons; the doubtful ones cost a few squares in the picture
_MOST_OBJECTS = 300
_MARGIN = 0.08  # of a box, on each side: hands and hair stick out
_STAYS_S = 1.0  # that a person who is missed stays pixelated
_SAME = 0.3  # overlap of two boxes of one person
_SQUARES = 10  # along the shorter side of a box; nobody is recognised in them
_LEAST_SQUARE_PX = 12


class Privacy:
    """Pixelates the persons of one source.

    Args:
        kind: ``faces`` or ``persons``.
        class_names: by label.

    Raises:
        ConfigError: the network does not know persons.
    """

    def __init__(self, kind: str, class_names: tuple[str, ...]) -> None:
        if _PERSON not in class_names:
            raise ConfigError(f"show.privacy = {kind!r}: this network knows no persons; choose another one")
        self._faces = kind == "faces"
        self._names = class_names
        self._label = class_names.index(_PERSON)
        self._name = ""  # of the last frame
        self._last: list[tuple[float, F32Array]] = []  # time and box of persons seen lately

    @staticmethod
    def asked(settings: DetectSettings) -> DetectSettings:
        """Return the settings of a detection that finds all persons that can be found."""
        return settings.model_copy(
            update={
                "threshold": min(settings.threshold, _THRESHOLD),
                "classes": (),
                "min_px": 0,
                "overlap": "iou",
                "max_overlap": 1.0,
                "max_objects": _MOST_OBJECTS,
            }
        )

    def wanted(self, found: Detections, settings: DetectSettings) -> Detections:
        """Return the objects that a detection with the settings themselves would have found."""
        whole = found.label == WHOLE_IMAGE_LABEL
        sides = found.xyxy[:, 2:] - found.xyxy[:, :2]
        good = (found.score >= settings.threshold) & (sides >= settings.min_px).all(1)
        if settings.classes:
            good &= wanted_classes(settings.classes, self._names)[found.label]
        rows = np.flatnonzero(good & ~whole)
        rows = rows[drop_overlapping(found.xyxy[rows], settings)][: settings.max_objects]
        return found.rows(np.concatenate([np.flatnonzero(whole), rows]))

    def frame(self, frame: Frame, found: Detections) -> Frame:
        """Return a frame in which the persons are pixelated, and those that were there a moment ago.

        Args:
            frame: is not changed.
            found: its objects, found with ``asked``, or as they were recorded.
        """
        if frame.name != self._name:  # another photo, in which nobody of the last stands
            self._name, self._last = frame.name, []
        now = found.xyxy[found.label == self._label]
        missed = [
            (at_s, box)
            for at_s, box in self._last
            if 0 <= frame.at_s - at_s <= _STAYS_S and not (iou(box, now) > _SAME).any()
        ]
        self._last = [*((frame.at_s, box) for box in now), *missed]
        if not self._last:
            return frame
        bgr = frame.bgr.copy()
        for _, box in self._last:
            pixelate(bgr, self._hidden(box))
        return replace(frame, bgr=bgr)

    def _hidden(self, box: F32Array) -> F32Array:
        """Return the part of a person that is hidden, with a margin.

        A head is a seventh of somebody who stands, and nearly all of a person before the camera: for that,
        the wider a box is, the more of it is hidden.
        """
        x1, y1, x2, y2 = box
        width, height = x2 - x1, y2 - y1
        dx, dy = _MARGIN * width, _MARGIN * height
        if self._faces:
            height = min(height, max(np.float32(0.75) * width, np.float32(0.25) * height))
        return np.array([x1 - dx, y1 - dy, x2 + dx, y1 + height + dy], np.float32)


def pixelate(bgr: U8Array, box: F32Array) -> None:
    """Draw a part of a picture in large squares.

    Args:
        bgr: (H, W, 3) uint8, is changed.
        box: x1, y1, x2, y2, px; may lie outside of the picture.
    """
    height, width = bgr.shape[:2]
    limits = np.array([width, height, width, height])
    left, top, right, bottom = np.clip([*np.floor(box[:2]), *np.ceil(box[2:])], 0, limits).astype(int)
    part = bgr[top:bottom, left:right]
    if not part.size:
        return
    square = max(_LEAST_SQUARE_PX, min(part.shape[:2]) // _SQUARES)
    few = (max(1, part.shape[1] // square), max(1, part.shape[0] // square))
    small = cv2.resize(part, few, interpolation=cv2.INTER_AREA)
    part[:] = cv2.resize(small, part.shape[1::-1], interpolation=cv2.INTER_NEAREST)
