"""Blocking calls in a thread of their own, so that whoever waits for them can stop waiting at any time."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from rtsearch.sources.capture import LostError

__all__ = ["Beside"]

T = TypeVar("T")


class Beside:
    """Runs one call after the other in a thread. The thread ends by itself after the call that is under way.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self._calls: queue.SimpleQueue[Callable[[], Any] | None] = queue.SimpleQueue()
        self._changed = threading.Condition()
        self._stopped = False
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def call(self, function: Callable[[], T]) -> T:
        """Return what a function returns, or raise what it raises.

        Raises:
            LostError: ``stop`` was called meanwhile.
        """
        done: list[tuple[T | None, BaseException | None]] = []

        def work() -> None:
            try:
                result: tuple[T | None, BaseException | None] = (function(), None)
            except BaseException as error:
                result = (None, error)
            with self._changed:
                done.append(result)
                self._changed.notify_all()

        self._calls.put(work)
        with self._changed:
            self._changed.wait_for(lambda: done or self._stopped)
        if not done:
            raise LostError("stopped")
        value, error = done[0]
        if error is not None:
            raise error
        return value  # type: ignore[return-value]

    def stop(self, last: Callable[[], Any] | None = None) -> None:
        """End all waiting; ``last`` is called in the thread after the call that is under way."""
        with self._changed:
            if self._stopped:
                return
            self._stopped = True
            self._changed.notify_all()
        self._calls.put(last)
        self._calls.put(None)

    def _run(self) -> None:
        while (work := self._calls.get()) is not None:
            work()
