"""Define the backends that find and describe the objects of pictures, for all jobs.

``CpuBackend`` detects and then describes on the CPU; ``gpu.backend`` does both in one pass on a GPU.
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
    """Projection of descriptions to shorter vectors; see ``search/projection.py``.

    Attributes:
        matrix: (D, dim) float32.
        offset: (dim,) float32.
        class_columns: (c,) columns of the class block, scaled to unit length before they are projected.
    """

    @property
    def matrix(self) -> F32Array: ...
    @property
    def offset(self) -> F32Array: ...
    @property
    def class_columns(self) -> NDArray[np.intp]: ...

    def apply(self, vectors: F32Array, /) -> F32Array:
        """Project (n, D) float32 descriptions to (n, dim) float32 vectors."""
        ...


class InferenceBackend(Protocol):
    """Backend that finds the objects of pictures and describes them.

    Attributes:
        dim: length of a description.
        batch: largest number of pictures per call, None without a limit.
        callers: number of threads that may call ``infer`` at once.
    """

    @property
    def dim(self) -> int: ...
    @property
    def batch(self) -> int | None: ...
    @property
    def callers(self) -> int: ...

    def infer(
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
            projection: projects the descriptions to the vectors that are searched; None leaves them whole.
            pad_fully: pad pictures to the full input size, as ``analyze`` does, even where the backend was
                opened with ``cut_padding``.

        Raises:
            RunnerError: the network failed.
        """
        ...

    def close(self) -> None:
        """Release memory and threads."""
        ...


class Detector(Protocol):
    """Detector of objects; see ``perception/detector.py``."""

    def detect(
        self, images: Sequence[U8Array], settings: DetectSettings, *, pad_fully: bool = False
    ) -> Sequence[Any]:
        """Return one result per picture, with ``xyxy``, ``score`` and ``label`` as in Detections."""
        ...

    def at_boxes(self, image: U8Array, xyxy: F32Array, whole: NDArray[np.bool_]) -> Any:
        """Return a result of given boxes, in their order."""
        ...

    def close(self) -> None:
        """Release memory and threads."""
        ...


class Describer(Protocol):
    """Describer of detected objects; see ``perception/descriptor.py``.

    Attributes:
        dim: length of a description.
    """

    dim: int

    def describe(self, bgr: U8Array, found: Any) -> F32Array:
        """Return (n, dim) float32, one row per object that the detector found in ``bgr``."""
        ...


class CpuBackend:
    """Backend that runs a detector and then a describer on the CPU.

    Args:
        detector: finds the objects of pictures.
        describer: describes the objects, from the same pass of the network.
        batch: largest number of pictures per call, None without a limit.
        callers: number of threads that may call ``infer`` at once.
    """

    def __init__(
        self, detector: Detector, describer: Describer, *, batch: int | None = None, callers: int = 1
    ) -> None:
        self.detector = detector
        self.describer = describer
        self.dim = describer.dim
        self.batch = batch
        self.callers = callers

    def infer(
        self,
        images: Sequence[U8Array],
        settings: DetectSettings,
        meter: Meter,
        projection: Projector | None = None,
        *,
        pad_fully: bool = False,
    ) -> list[Detections]:
        """See ``InferenceBackend.infer``; the stages are ``detect`` and ``describe``."""
        if not images:
            return []
        with meter.stage("detect"):
            results = self.detector.detect(images, settings, pad_fully=pad_fully)
        seen = []
        for bgr, found in zip(images, results, strict=True):
            # Objects are described before the next call of the network, which may overwrite its maps.
            with meter.stage("describe"):
                vector = self.describer.describe(bgr, found)
                if projection is not None:
                    vector = projection.apply(vector)
            seen.append(Detections(found.xyxy, found.score, found.label, vector))
        return seen

    def describe_boxes(
        self, image: U8Array, xyxy: F32Array, whole: NDArray[np.bool_], meter: Meter
    ) -> Detections:
        """Describe given boxes of a picture, in their order, with the scores and labels of the network.

        Args:
            image: (H, W, 3) uint8 BGR.
            xyxy: (n, 4) float32, n at least 1, pixels of the picture.
            whole: (n,) bool, True for boxes that stand for the full frame.
            meter: gets the times of the stages.

        Raises:
            RunnerError: the network failed.
        """
        with meter.stage("detect"):
            found = self.detector.at_boxes(image, xyxy, whole)
        with meter.stage("describe"):
            vector = self.describer.describe(image, found)
        return Detections(found.xyxy, found.score, found.label, vector)

    def close(self) -> None:
        """See ``InferenceBackend.close``."""
        self.detector.close()
