"""Look at a picture twice: larger, which finds more, and as always, which describes what both have found.

    picture -> network, input half as large again -> further boxes ┐
            -> network, usual input -> boxes ──────────────────────┴> maps of the usual input describe all

Descriptions of further objects come from the same maps as those of live pictures, so they compare.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rtsearch.config import DetectSettings
from rtsearch.perception.detector import Detector, Found, drop_overlapping
from rtsearch.types import F32Array, U8Array

__all__ = ["TwoLooks", "larger_wh"]

_LARGER = 1.5


def larger_wh(input_wh: tuple[int, int], multiple: int) -> tuple[int, int]:
    """Return width and height of the larger input, px: at least half as large again."""
    width, height = (-(-round(_LARGER * side) // multiple) * multiple for side in input_wh)
    return width, height


class TwoLooks:
    """Finds objects with two detectors of one network.

    Args:
        usual: its boxes count first, and its maps describe.
        larger: has a larger input.
    """

    def __init__(self, usual: Detector, larger: Detector) -> None:
        self._usual = usual
        self._larger = larger

    def detect(
        self, images: Sequence[U8Array], settings: DetectSettings, *, pad_fully: bool = False
    ) -> list[Found]:
        """See ``Detector.detect``."""
        further = self._larger.detect(images, settings, pad_fully=pad_fully)
        found = self._usual.detect(images, settings, pad_fully=pad_fully)
        return [
            _joined(one, more, self._usual.scales(image), settings)
            for image, one, more in zip(images, found, further, strict=True)
        ]

    def at_boxes(self, image: U8Array, xyxy: F32Array, whole: NDArray[np.bool_]) -> Found:
        """See ``Detector.at_boxes``."""
        return self._usual.at_boxes(image, xyxy, whole)

    def close(self) -> None:
        """Close the runner, which is of both."""
        self._usual.close()


def _joined(found: Found, more: Found, scales: F32Array, settings: DetectSettings) -> Found:
    """Return the objects of a look and those of a larger one that overlap none of them too much.

    Args:
        found: of the usual look.
        more: of the larger one.
        scales: (2,) float32, pixels of the usual input per pixel of the picture.
        settings: say how much is too much.
    """
    others = np.flatnonzero(~more.whole)
    own = ~found.whole
    boxes = np.concatenate([found.xyxy[own], more.xyxy[others]])
    kept = drop_overlapping(boxes, settings)
    others = others[kept[kept >= own.sum()] - own.sum()]
    score = np.concatenate([found.score, more.score[others]])
    whole = np.concatenate([found.whole, more.whole[others]])
    order = np.lexsort((-score, ~whole))[: settings.max_objects + int(found.whole.sum())]
    return replace(
        found,
        xyxy=np.concatenate([found.xyxy, more.xyxy[others]])[order],
        score=score[order],
        label=np.concatenate([found.label, more.label[others]])[order],
        logits=np.concatenate([found.logits, more.logits[others]])[order],
        whole=whole[order],
        input_xyxy=np.concatenate([found.input_xyxy, more.xyxy[others] * np.tile(scales, 2)])[order],
    )
