"""Switch from a backend that is there at once to a better one when it is ready, and back if it fails.

    first sees ──────────────────┬─> second sees ──┬─> first sees again
    second is prepared (thread) ─┘     it fails ───┘

Between two calls, so that no picture is lost.
"""

from __future__ import annotations

import contextlib
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
"""Makes the second backend; None where there will be none. It returns soon after the event is set."""


class FailoverBackend:
    """A InferenceBackend; see there.

    Args:
        first: sees until the second is ready, and after it has failed. Closed with this.
        second: the better backend, or what makes it in a thread.
        name: of the second, for messages.
        tell: gets a line when the second has taken over; what goes wrong is logged.
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
        self._turn = threading.Lock()  # the second may take one caller at a time, and is closed between calls
        self._thread: threading.Thread | None = None
        if callable(second):
            self._thread = threading.Thread(target=self._work, args=(second,), name="handover", daemon=True)
            self._thread.start()

    @property
    def batch(self) -> int | None:
        """Return that of the backend in use."""
        return (self._second or self._first).batch

    @property
    def callers(self) -> int:
        """Return that of the backend in use."""
        return (self._second or self._first).callers

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
        with self._turn if self._second is not None else contextlib.nullcontext():
            second = self._second
            if second is not None:
                try:
                    return second.infer(images, settings, meter, projection, pad_fully=pad_fully)
                except RunnerError as error:
                    _log.warning("%s failed (%s): going on without it", self._name, error)
                    self._second = None
                    second.close()
        return self._first.infer(images, settings, meter, projection, pad_fully=pad_fully)

    def close(self) -> None:
        """Close both; what is still being prepared is given up."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        with self._turn:
            second, self._second = self._second, None
            if second is not None:
                second.close()
        self._first.close()

    def _work(self, prepare: Prepare) -> None:
        try:
            second = prepare(self._stop)
        except Exception as error:  # a vendor's library may raise anything, and the first goes on as it is
            if not self._stop.is_set():
                kind = "" if isinstance(error, RtsearchError) else f"{type(error).__name__}: "
                _log.warning("going on without %s: %s%s", self._name, kind, one_line(error))
                _log.debug("where that came from", exc_info=error)
            return
        if second is not None:
            self._second = second
            self._tell(f"{self._name} has taken over")
