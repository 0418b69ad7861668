"""Let the live picture, searches by photo and phones take turns at one backend."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from rtsearch._util.closing import Closing
from rtsearch._util.metrics import Meter
from rtsearch.config import DetectSettings
from rtsearch.perception.backend import InferenceBackend, Projector
from rtsearch.types import Detections, U8Array

__all__ = ["SharedBackend"]


class SharedBackend(Closing):
    """InferenceBackend that any number of threads may call; they wait for each other where it takes one.

    Args:
        backend: is called; closed with this one.
    """

    def __init__(self, backend: InferenceBackend) -> None:
        self._backend = backend
        self._turn = threading.Semaphore(max(1, backend.callers))

    @property
    def dim(self) -> int:
        """Length of a description."""
        return self._backend.dim

    @property
    def batch(self) -> int | None:
        """Largest number of pictures per call, None without a limit."""
        return self._backend.batch

    @property
    def callers(self) -> int:
        """Number of threads whose calls run at once."""
        return self._backend.callers

    def infer(
        self,
        images: Sequence[U8Array],
        settings: DetectSettings,
        meter: Meter,
        projection: Projector | None = None,
        *,
        pad_fully: bool = False,
    ) -> list[Detections]:
        """See ``InferenceBackend.infer``."""
        with self._turn:
            return self._backend.infer(images, settings, meter, projection, pad_fully=pad_fully)

    def close(self) -> None:
        """See ``InferenceBackend.close``."""
        self._backend.close()
