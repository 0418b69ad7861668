"""Working ahead of the consumer: order, bounds, errors, and an end to every wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator

import pytest

from rtsearch._util.background import BackgroundIterator
from rtsearch._util.memory_budget import MemoryBudget


def numbers(count: int, made: list[int] | None = None) -> Generator[int]:
    for i in range(count):
        if made is not None:
            made.append(i)
        yield i


@pytest.mark.parametrize("count", [0, 1, 100])
@pytest.mark.parametrize("depth", [1, 7])
def test_items_come_in_order(count: int, depth: int) -> None:
    ahead = BackgroundIterator(numbers(count), depth, threading.Event(), "numbers")
    assert list(ahead) == list(range(count))
    ahead.join()


def test_it_runs_ahead_by_its_depth_and_no_further() -> None:
    made: list[int] = []
    stop = threading.Event()
    ahead = BackgroundIterator(numbers(100, made), 5, stop, "numbers")
    deadline_s = time.monotonic() + 10
    while len(made) < 6 and time.monotonic() < deadline_s:
        time.sleep(0.01)
    time.sleep(0.3)
    assert made == list(range(6))  # five wait, one is in the hand
    assert next(iter(ahead)) == 0
    assert ahead.ready(0) == []
    assert ahead.ready(3) == [1, 2, 3]
    stop.set()
    ahead.join()
    assert list(ahead) == []


def test_an_error_is_raised_after_what_was_made_before_it() -> None:
    def breaking() -> Generator[int]:
        yield 1
        yield 2
        raise ZeroDivisionError("at three")

    items = iter(BackgroundIterator(breaking(), 1, threading.Event(), "breaking"))
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(ZeroDivisionError, match="at three"):
        next(items)


def test_stop_closes_the_generator() -> None:
    closed = threading.Event()

    def endless() -> Generator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    stop = threading.Event()
    ahead = BackgroundIterator(endless(), 2, stop, "endless")
    next(iter(ahead))
    stop.set()
    ahead.join()
    assert closed.is_set()


def test_the_budget() -> None:
    stop = threading.Event()
    budget = MemoryBudget(100, stop)
    assert budget.take(1000, wait=False)  # alone, even what is too large is granted
    assert not budget.take(1, wait=False)
    budget.give(1000)
    assert budget.take(60, wait=False)
    assert budget.take(40, wait=True)
    assert not budget.take(1, wait=False)
    giver = threading.Timer(0.05, budget.give, [60])
    giver.start()
    assert budget.take(60, wait=True)
    giver.join()
    stopper = threading.Timer(0.05, stop.set)
    stopper.start()
    assert budget.take(60, wait=True)
    stopper.join()


def test_the_newest_replaces_what_nobody_took() -> None:
    made, stop = threading.Event(), threading.Event()

    def numbers() -> Generator[int]:
        yield from range(10)
        made.set()

    dropped: list[int] = []
    ahead = BackgroundIterator(numbers(), 1, stop, "test", dropped=dropped.append)
    assert made.wait(5)
    ahead.join()
    assert list(ahead) == [9]
    assert dropped == list(range(9))
    assert ahead.ended
