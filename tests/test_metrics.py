"""Stage times, rates and counters."""

from __future__ import annotations

import threading
from collections import deque

import pytest

from rtsearch._util.metrics import Meter, rate


@pytest.mark.parametrize(
    ("ticks_s", "expected"),
    [([], 0), ([1.0], 0), ([1.0, 1.0], 0), ([1.0, 1.5], 2), ([0, 0.1, 0.2, 0.3, 2.0], 2)],
)
def test_a_rate_is_intervals_by_span(ticks_s: list[float], expected: float) -> None:
    assert rate(deque(ticks_s)) == pytest.approx(expected)


def test_nothing_measured() -> None:
    assert Meter().summary() == {"fps": 0.0, "stage_ms": {}, "counts": {}}
    assert Meter().quantiles_ms("detect") == {"p50": 0, "p99": 0}


def test_quantiles_are_those_of_the_window() -> None:
    meter = Meter(window=101)
    for i in range(1000):
        meter.add("old", 1000.0 + i)
    for i in range(101):
        meter.add("old", i / 1e3)
        meter.add("detect", 5e-3)
    assert meter.summary()["stage_ms"] == {
        "old": {"p50": 50.0, "p99": 99.0},
        "detect": {"p50": 5.0, "p99": 5.0},
    }


def test_a_stage_is_timed_unless_it_raises() -> None:
    meter = Meter()
    with meter.stage("search"):
        pass
    with pytest.raises(ZeroDivisionError), meter.stage("draw"):
        raise ZeroDivisionError
    assert list(meter.summary()["stage_ms"]) == ["search"]


def test_threads_lose_nothing() -> None:
    meter = Meter(window=10**6)

    def work() -> None:
        for _ in range(2000):
            meter.count("objects", 2)
            meter.tick()
            meter.add("detect", 1e-3)
            meter.summary() if _ % 500 == 0 else None

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    summary = meter.summary()
    assert summary["counts"] == {"objects": 16000}
    assert summary["fps"] > 0
    assert summary["stage_ms"]["detect"] == {"p50": 1.0, "p99": 1.0}
