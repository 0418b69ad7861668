"""Crops are fetched in a thread of their own, so that drawing never waits for the disk."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Sequence

from rtsearch._util.metrics import Meter
from rtsearch.errors import StageError
from rtsearch.library.thumbnails import ThumbCache

__all__ = ["Loader"]

_JOIN_S = 2.0  # a disk may stall; the thread is a daemon and holds nothing that others need


class Loader:
    """Brings into a cache what each of several asked for last; what it asked for before that is forgotten.

    Args:
        meter: gets the time of each round as stage ``thumbs``.
    """

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._changed = threading.Condition()
        self._wanted: dict[Hashable, tuple[ThumbCache, Sequence[int], int]] = {}
        self._closed = False
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._work, name="thumbs", daemon=True)
        self._thread.start()

    def want(self, who: Hashable, cache: ThumbCache, rows: Sequence[int], height_px: int) -> None:
        """Ask for crops; a cache is filled in the order in which they lie on the disk.

        Raises:
            StageError: the thread has failed.
        """
        with self._changed:
            if self._error is not None:
                raise StageError("thumbs", self._error) from self._error
            self._wanted[who] = cache, rows, height_px
            self._changed.notify()

    def close(self) -> None:
        """End the thread; one that the disk holds up is left behind."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(_JOIN_S)

    def _work(self) -> None:
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._closed or self._wanted)
                    wanted, self._wanted = self._wanted, {}
                    if self._closed:
                        return
                for cache, rows, height_px in wanted.values():
                    with self._meter.stage("thumbs"):
                        cache.prefetch(rows, height_px)
        except Exception as error:
            with self._changed:
                self._error = error
