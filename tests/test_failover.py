"""From the backend that is there at once to the better one, and back: no picture is lost on the way."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import blobs
import numpy as np
import pytest
from playing import SETTINGS, Given, lines

from rtsearch._util.metrics import Meter
from rtsearch.config import DetectSettings
from rtsearch.errors import EngineError, RunnerError
from rtsearch.live import Outputs, play
from rtsearch.perception.backend import CpuBackend
from rtsearch.perception.failover import FailoverBackend

pytestmark = pytest.mark.usefixtures("no_thread_is_left")


class Named(CpuBackend):
    """Sees blobs; the score of what it sees tells who saw it."""

    def __init__(self, score: float, fails_at: int | None = None) -> None:
        super().__init__(blobs.BlobDetector(), blobs.BlobDescriber())
        self.score, self.fails_at = score, fails_at
        self.calls = 0
        self.asked: Any = None
        self.closed = 0

    def infer(self, images, settings, meter, projection=None, *, pad_fully=False):
        assert not self.closed
        self.calls += 1
        if self.fails_at is not None and self.calls >= self.fails_at:
            raise RunnerError("the GPU fell off the bus")
        self.asked = settings, pad_fully
        seen = super().infer(images, settings, meter, projection)
        for found in seen:
            found.score[:] = self.score
        return seen

    def close(self) -> None:
        self.closed += 1


PICTURE = blobs.draw(1)


def who(backend) -> float:
    return float(backend.infer([PICTURE], SETTINGS.detect, Meter())[0].score[0])


def until(holds, within_s: float = 10.0) -> None:
    deadline_s = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline_s
        time.sleep(0.005)


def test_the_second_takes_over_when_it_is_ready():
    first, second, ready, told = Named(0.25), Named(0.5), threading.Event(), []
    backend = FailoverBackend(first, lambda stop: second if ready.wait(10) else None, "the GPU", told.append)
    assert who(backend) == 0.25
    assert told == []
    ready.set()
    until(lambda: who(backend) == 0.5)
    backend.close()
    assert told == ["the GPU has taken over"]
    assert (first.closed, second.closed) == (1, 1)


def test_threads_that_meet_a_failure_all_go_on():
    """One of them gives the second up while the others wait for their turn; it is closed once."""
    first, second = Named(0.25), Named(0.5, fails_at=20)
    backend = FailoverBackend(first, second, "the GPU")
    with ThreadPoolExecutor(8) as pool:
        seen = list(pool.map(lambda _: who(backend), range(60)))
    assert (seen.count(0.5), seen.count(0.25)) == (19, 41)
    assert backend.callers == first.callers
    assert second.closed == 1
    backend.close()


def test_settings_reach_whoever_sees():
    first, second = Named(0.25), Named(0.5, fails_at=2)
    backend = FailoverBackend(first, second, "the GPU")
    for threshold, pad_fully in ((0.7, True), (0.2, False)):
        backend.infer([PICTURE], DetectSettings(threshold=threshold), Meter(), pad_fully=pad_fully)
    assert second.asked == (DetectSettings(threshold=0.7), True)
    assert first.asked == (DetectSettings(threshold=0.2), False)
    backend.close()


def test_what_one_can_do_is_told_of_the_one_that_sees():
    first, second = Named(0.25), Named(0.5)
    first.callers, second.batch = 3, 8
    backend = FailoverBackend(first, lambda stop: None, "the GPU")
    assert (backend.callers, backend.batch, backend.dim) == (3, None, blobs.DIM)
    backend.close()
    backend = FailoverBackend(first, second, "the GPU")
    assert (backend.callers, backend.batch) == (1, 8)
    backend.close()


def test_the_first_goes_on_when_the_second_fails(caplog):
    first, second = Named(0.25), Named(0.5, fails_at=3)
    backend = FailoverBackend(first, second, "tensorrt on H200")
    assert [who(backend) for _ in range(5)] == [0.5, 0.5, 0.25, 0.25, 0.25]
    assert (first.calls, second.calls, second.closed) == (3, 3, 1)
    (said,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert said == "tensorrt on H200 failed (the GPU fell off the bus): going on without it"
    backend.close()
    assert second.closed == 1


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (EngineError("layer NonMaxSuppression is not supported"), "layer NonMaxSuppression is not supported"),
        (RuntimeError("CUDA error 999"), "RuntimeError: CUDA error 999"),  # as a library of others may
    ],
)
def test_the_first_goes_on_when_there_is_no_second(caplog, error, told):
    def fail(stop):
        raise error

    backend = FailoverBackend(Named(0.25), fail, "the GPU")
    until(lambda: caplog.records)
    assert caplog.records[-1].getMessage() == f"going on without the GPU: {told}"
    assert who(backend) == 0.25
    backend.close()


def test_what_is_being_prepared_is_given_up_at_once(caplog):
    begun = threading.Event()

    def build(stop):
        begun.set()
        assert stop.wait(30)
        raise EngineError("cancelled")

    backend = FailoverBackend(Named(0.25), build, "the GPU")
    begun.wait(10)
    start_s = time.monotonic()
    backend.close()
    assert time.monotonic() - start_s < 5
    assert not caplog.records  # the user has left: nobody misses it


def test_a_second_that_comes_after_the_end_is_closed():
    second = Named(0.5)
    backend = FailoverBackend(Named(0.25), lambda stop: second if stop.wait(30) else None, "the GPU")
    backend.close()
    assert second.closed == 1


def test_two_callers_never_meet_in_the_second():
    class Alone(Named):
        inside = 0

        def infer(self, images, settings, meter, projection=None, *, pad_fully=False):
            self.inside += 1
            time.sleep(0.001)
            assert self.inside == 1
            self.inside -= 1
            return super().infer(images, settings, meter, projection)

    backend = FailoverBackend(Named(0.25), Alone(0.5, fails_at=40), "the GPU")
    answers: list[float] = []
    callers = [
        threading.Thread(target=lambda: answers.extend(who(backend) for _ in range(30))) for _ in range(3)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len(answers) == 90
    assert set(answers) == {0.25, 0.5}
    backend.close()


@pytest.mark.parametrize("fails_at", [None, 20])
def test_no_frame_is_lost_while_the_network_changes_hands(blob_index, tmp_path, fails_at):
    """A file is played; the second comes after a few frames, and in one case fails later."""
    first, second = Named(0.25), Named(0.5, fails_at=fails_at)
    shown, taken = threading.Event(), threading.Event()
    pipeline = blobs.as_pipeline()
    backend = FailoverBackend(
        first, lambda stop: second if shown.wait(60) else None, "the GPU", lambda _told: taken.set()
    )
    pipeline.backend = backend

    def before(number: int) -> None:
        if number == 30:
            shown.set()
        if number == 60:
            assert taken.wait(60)

    source = Given(list(range(150)), before=before)
    report = play(source, pipeline, blob_index, SETTINGS, Outputs(records=(tmp_path / "o.jsonl",)))
    pipeline.backend.close()
    frames = lines(tmp_path / "o.jsonl")
    assert [frame["frame"] for frame in frames] == list(range(150))
    assert report.dropped == 0
    saw = [frame["objects"][0]["score"] for frame in frames if frame["objects"]]
    assert set(saw) == {0.25, 0.5}
    changes = int(np.count_nonzero(np.diff(saw)))
    assert changes == (1 if fails_at is None else 2)
