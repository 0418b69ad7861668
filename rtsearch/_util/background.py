"""Run generators in background threads.

Every wait looks at a stop event at least ten times a second, so a chain of these always comes to an end; an
error in the thread is raised where its items are taken.
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
    """Takes items from a generator in a background thread, up to ``depth`` of them before they are asked for.

    Args:
        items: where they come from; only the background thread touches it.
        depth: most items that wait.
        stop: once set, the thread ends and so does the iteration.
        name: of the thread; kept as an attribute.
        dropped: told of the oldest item, which is dropped when ``depth`` of them wait; without, a full queue
            holds the generator up.
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
        """Tell that no more items will come."""
        return self._stop.is_set() or (self._done.is_set() and self._queue.empty() and self._error is None)

    def take(self, wait_s: float) -> T:
        """The next item.

        Raises:
            queue.Empty: there is none within ``wait_s`` seconds.
            Exception: whatever ended the thread, once all items before are taken.
        """
        finished = self._done.is_set()  # looked at first: what was put before is then in the queue
        try:
            return self._queue.get(timeout=0 if finished else wait_s)
        except queue.Empty:
            if not finished or self._error is None:
                raise
        error, self._error = self._error, None
        raise error

    def ready(self, most: int) -> list[T]:
        """Items that are there already, at most so many."""
        items: list[T] = []
        while len(items) < most:
            try:
                items.append(self._queue.get_nowait())
            except queue.Empty:
                break
        return items

    def join(self, wait_s: float | None = None) -> bool:
        """Wait for the thread, which ends by itself or soon after ``stop`` is set; False if it did not."""
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
