"""Work on what was asked for last, in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from rtsearch._util.closing import Closing

__all__ = ["NewestWork"]

W = TypeVar("W")
R = TypeVar("R")

_JOIN_S = 2.0  # a disk may stall; the thread is a daemon and holds nothing that others need


class NewestWork(Closing, Generic[W, R]):
    """Thread that answers the newest question; those before that it has not begun are forgotten.

    Args:
        work: answers a question; what it raises is raised where the answer is taken.
        name: of the thread, which begins with the first question.
    """

    def __init__(self, work: Callable[[W], R], name: str) -> None:
        self._work = work
        self._name = name
        self._changed = threading.Condition()
        self._asked: list[W] = []  # one at most
        self._answers: list[R] = []
        self._error: Exception | None = None
        self._closed = False
        self._thread: threading.Thread | None = None

    def ask(self, question: W) -> None:
        """Ask, and forget answers that nobody has taken."""
        with self._changed:
            self._asked, self._answers = [question], []
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
            self._changed.notify()

    def take(self) -> R | None:
        """Return the answer, once, if it is there."""
        with self._changed:
            if self._error is not None:
                raise self._error
            return self._answers.pop() if self._answers else None

    def close(self) -> None:
        """End the thread; one that is held up is left behind."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(_JOIN_S)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._asked)
                if self._closed:
                    return
                question = self._asked.pop()
            try:
                answer = self._work(question)
            except Exception as error:
                with self._changed:
                    self._error = error
                return
            with self._changed:
                if not self._asked:
                    self._answers = [answer]
