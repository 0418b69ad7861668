"""Switch from one backend to a better one when it is ready, and back if it fails.

    first infers ────────────────┬─> second infers ┬─> first infers again
    second is prepared (thread) ─┘     it fails ───┘

The switch happens between two calls, so no picture is lost.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from rtsearch._util.metrics import Meter
from rtsearch._util.wording import one_line
from rtsearch.config import DetectSettings
from rtsearch.errors import RtsearchError, RunnerError
from rtsearch.perception.backend import InferenceBackend, Projector
from rtsearch.types import Detections, U8Array

__all__ = ["FailoverBackend", "Prepare"]

_log = logging.getLogger(__name__)

Prepare = Callable[[threading.Event], InferenceBackend | None]
"""Function that makes the second backend, or returns None; it returns soon after the event is set."""


class FailoverBackend:
    """InferenceBackend that uses a second backend while it works, and the first one otherwise.

    Args:
        first: backend that is used until the second is ready and after it has failed; closed with this one.
        second: the better backend, or a function that makes it, which runs in a thread.
        name: name of the second backend in messages.
        tell: gets a line when the second backend has taken over; failures are logged.
    """

    def __init__(
        self,
        first: InferenceBackend,
        second: InferenceBackend | Prepare,
        name: str,
        tell: Callable[[str], None] = _log.info,
    ) -> None:
        self.dim = first.dim
        self._first = first
        self._name = name
        self._tell = tell
        self._second = None if callable(second) else second
        self._stop = threading.Event()
        self._lock = threading.Lock()  # of ``_second``
        self._turn = threading.Lock()  # the second may take one caller at a time, and is closed between calls
        self._thread: threading.Thread | None = None
        if callable(second):
            self._thread = threading.Thread(target=self._work, args=(second,), name="handover", daemon=True)
            self._thread.start()

    @property
    def batch(self) -> int | None:
        """Largest number of pictures per call of the backend in use."""
        return (self._better() or self._first).batch

    @property
    def callers(self) -> int:
        """Number of threads that may call the backend in use at once."""
        return (self._better() or self._first).callers

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
        if self._better() is not None:
            with self._turn:
                if second := self._better():  # no other thread has given it up meanwhile
                    try:
                        return second.infer(images, settings, meter, projection, pad_fully=pad_fully)
                    except RunnerError as error:
                        _log.warning("%s failed (%s): going on without it", self._name, error)
                        self._use(None)
                        second.close()
        return self._first.infer(images, settings, meter, projection, pad_fully=pad_fully)

    def close(self) -> None:
        """Close both backends, and cancel the preparation of the second."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        with self._turn:
            second = self._better()
            self._use(None)
            if second is not None:
                second.close()
        self._first.close()

    def _better(self) -> InferenceBackend | None:
        with self._lock:
            return self._second

    def _use(self, second: InferenceBackend | None) -> None:
        with self._lock:
            self._second = second

    def _work(self, prepare: Prepare) -> None:
        try:
            second = prepare(self._stop)
        except Exception as error:  # a vendor's library may raise anything, and the first goes on as it is
            if not self._stop.is_set():
                kind = "" if isinstance(error, RtsearchError) else f"{type(error).__name__}: "
                _log.warning("going on without %s: %s%s", self._name, kind, one_line(error))
                _log.debug("traceback of the failure", exc_info=error)
            return
        if second is not None:
            self._use(second)
            self._tell(f"{self._name} has taken over")
