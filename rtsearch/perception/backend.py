"""Pictures in, described objects out: what ``analyze``, ``live`` and ``query`` see through.

``CpuBackend`` detects, then describes, on the CPU; ``gpu`` holds a backend that does both in one go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rtsearch._util.metrics import Meter
from rtsearch.config import DetectSettings
from rtsearch.types import Detections, F32Array, U8Array

__all__ = ["CpuBackend", "Describer", "Detector", "InferenceBackend", "Projector"]


class Projector(Protocol):
    """Shortens descriptions; see ``search.projection``."""

    @property
    def matrix(self) -> F32Array: ...
    @property
    def offset(self) -> F32Array: ...
    @property
    def class_columns(self) -> NDArray[np.intp]: ...

    def apply(self, vectors: F32Array, /) -> F32Array:
        """(n, dim) float32 of (n, D) descriptions."""
        ...


class InferenceBackend(Protocol):
    """Sees the objects of pictures.

    Attributes:
        dim: numbers that describe an object.
        batch: most pictures per call, None where any number will do.
        callers: threads that may call ``see`` at once.
    """

    @property
    def dim(self) -> int: ...
    @property
    def batch(self) -> int | None: ...
    @property
    def callers(self) -> int: ...

    def see(
        self,
        images: Sequence[U8Array],
        settings: DetectSettings,
        meter: Meter,
        projection: Projector | None = None,
        *,
        pad_fully: bool = False,
    ) -> list[Detections]:
        """Return the objects of each (H, W, 3) uint8 BGR picture, with their descriptions.

        Args:
            images: pictures of any sizes.
            settings: thresholds of this call.
            meter: gets the times of the stages.
            projection: give searched vectors instead of descriptions.
            pad_fully: give the network all its padding, as photos of a library had it, also where it was
                opened to do without.

        Raises:
            RunnerError: the network failed.
        """
        ...

    def close(self) -> None:
        """Give back memory and threads."""
        ...


class Detector(Protocol):
    """Finds objects; see ``detect.py``."""

    def detect(
        self, images: Sequence[U8Array], settings: DetectSettings, *, pad_fully: bool = False
    ) -> Sequence[Any]:
        """Return one result per picture, with ``xyxy``, ``score`` and ``label`` as in Detections."""
        ...

    def close(self) -> None:
        """Give back memory and threads."""
        ...


class Describer(Protocol):
    """Describes them; see ``describe.py``."""

    dim: int

    def describe(self, bgr: U8Array, found: Any) -> F32Array:
        """(n, dim) float32, one row per object that the detector found in ``bgr``."""
        ...


class CpuBackend:
    """A detector, then a describer, on what the network said of a picture.

    Args:
        detector: finds objects.
        describer: describes them, from the same pass of the network.
        batch, callers: see InferenceBackend.
    """

    def __init__(
        self, detector: Detector, describer: Describer, *, batch: int | None = None, callers: int = 1
    ) -> None:
        self.detector = detector
        self.describer = describer
        self.dim = describer.dim
        self.batch = batch
        self.callers = callers

    def see(
        self,
        images: Sequence[U8Array],
        settings: DetectSettings,
        meter: Meter,
        projection: Projector | None = None,
        *,
        pad_fully: bool = False,
    ) -> list[Detections]:
        """See ``InferenceBackend.see``; the stages are ``detect`` and ``describe``."""
        if not images:
            return []
        with meter.stage("detect"):
            results = self.detector.detect(images, settings, pad_fully=pad_fully)
        seen = []
        for bgr, found in zip(images, results, strict=True):
            # Here and not in another thread: the network's maps may hold only until its next call.
            with meter.stage("describe"):
                vector = self.describer.describe(bgr, found)
                if projection is not None:
                    vector = projection.apply(vector)
            seen.append(Detections(found.xyxy, found.score, found.label, vector))
        return seen

    def close(self) -> None:
        """See ``InferenceBackend.close``."""
        self.detector.close()
