"""Run generators in background threads.

Every wait checks a stop event at least ten times a second, so a chain of iterators always ends; an error in
the thread is raised where its items are taken.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Generator, Iterator
from typing import Generic, TypeVar

__all__ = ["BackgroundIterator"]

T = TypeVar("T")

_WAIT_S = 0.1


class BackgroundIterator(Generic[T]):
    """Iterator that runs a generator in a background thread, up to ``depth`` items ahead.

    Args:
        items: generator, which only the background thread uses.
        depth: largest number of waiting items.
        stop: event that ends the thread and the iteration.
        name: name of the thread; kept as an attribute.
        dropped: called with the oldest item, which is dropped when ``depth`` items wait; None makes the
            generator wait instead.
    """

    def __init__(
        self,
        items: Generator[T],
        depth: int,
        stop: threading.Event,
        name: str,
        *,
        dropped: Callable[[T], None] | None = None,
    ) -> None:
        self.name = name
        self._items = items
        self._stop = stop
        self._dropped = dropped
        self._queue: queue.Queue[T] = queue.Queue(depth)
        self._error: BaseException | None = None
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[T]:
        while not self.ended:
            with contextlib.suppress(queue.Empty):
                yield self.take(_WAIT_S)

    @property
    def ended(self) -> bool:
        """Tell whether no more items will come."""
        return self._stop.is_set() or (self._done.is_set() and self._queue.empty() and self._error is None)

    def take(self, wait_s: float) -> T:
        """Return the next item.

        Raises:
            queue.Empty: no item came within ``wait_s`` seconds.
            Exception: the error that ended the thread, once all items before it are taken.
        """
        # Checked first, so that all items of a finished thread are in the queue.
        finished = self._done.is_set()
        try:
            return self._queue.get(timeout=0 if finished else wait_s)
        except queue.Empty:
            if not finished or self._error is None:
                raise
        error, self._error = self._error, None
        raise error

    def ready(self, most: int) -> list[T]:
        """Return the waiting items, at most ``most``."""
        items: list[T] = []
        while len(items) < most:
            try:
                items.append(self._queue.get_nowait())
            except queue.Empty:
                break
        return items

    def join(self, wait_s: float | None = None) -> bool:
        """Wait for the thread, which ends soon after ``stop`` is set; return False if it still runs."""
        self._thread.join(wait_s)
        return not self._thread.is_alive()

    def _work(self) -> None:
        try:
            with contextlib.closing(self._items):
                for item in self._items:
                    if not self._put(item):
                        break
        except BaseException as error:
            self._error = error
        finally:
            self._done.set()

    def _put(self, item: T) -> bool:
        while not self._stop.is_set():
            if self._dropped is not None and self._queue.full():
                for oldest in self.ready(1):
                    self._dropped(oldest)
            with contextlib.suppress(queue.Full):
                self._queue.put(item, timeout=_WAIT_S)
                return True
        return False
