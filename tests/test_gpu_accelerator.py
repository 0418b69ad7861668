"""Whether a GPU takes over, and what happens on a machine without one."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from rtsearch.config import Settings, load_settings
from rtsearch.errors import EngineError, MissingDependencyError, RunnerError
from rtsearch.gpu import accelerator as accelerate
from rtsearch.gpu.accelerator import Accelerator, find_accelerator
from rtsearch.perception.backend import CpuBackend
from rtsearch.perception.failover import FailoverBackend
from rtsearch.pipeline import open_pipeline


@pytest.fixture
def no_gpu() -> None:
    """Skips where there is one: these tests are about its absence."""
    from rtsearch.runners import open_device

    try:
        open_device().close()
    except (RunnerError, MissingDependencyError):
        return
    pytest.skip("this machine has a GPU")


def test_without_a_library_nothing_is_looked_for(monkeypatch):
    monkeypatch.setattr(accelerate, "_LIBRARIES", ("no_such_library",))
    monkeypatch.setattr(accelerate, "_open", None)  # would fail if it were called
    assert find_accelerator(Settings()) is None


def test_none_is_none(monkeypatch):
    monkeypatch.setattr(accelerate, "_open", None)
    assert find_accelerator(load_settings(None, ["gpu.engine=none"])) is None


def test_auto_is_quiet_without_a_gpu(no_gpu, monkeypatch, caplog):
    monkeypatch.setattr(accelerate, "_LIBRARIES", ("json",))  # one that is there
    assert find_accelerator(Settings()) is None
    assert caplog.text == ""


def test_what_was_asked_for_by_name_is_missed_loudly(no_gpu):
    with pytest.raises((RunnerError, MissingDependencyError), match=r"GPU|driver|install"):
        find_accelerator(load_settings(None, ["gpu.engine=tensorrt_rtx"]))


def test_a_second_network_stays_on_the_cpu(monkeypatch):
    wanted = load_settings(None, ["gpu.engine=tensorrt", "describe.embedder=other.onnx"])
    with pytest.raises(RunnerError, match="second network runs on the CPU only"):
        find_accelerator(wanted)


def test_the_pipeline_is_that_of_the_cpu_without_a_gpu(no_gpu, model):
    for engine in ("there", "now", "later"):
        with open_pipeline(Settings(), engine=engine) as pipeline:
            assert isinstance(pipeline.backend, CpuBackend)


class Building:
    """A build in another process, as ``engines.start_build`` gives it."""

    def __init__(self, outcome) -> None:
        self.outcome, self.error, self.polls, self.cancelled = outcome, "", 0, False
        self.what, self.share = "", 0.0

    @property
    def running(self) -> bool:
        return self.polls < 3 and not self.cancelled

    def poll(self):
        self.polls += 1
        if self.polls < 3:
            if self.polls == 2:
                self.what, self.share = "Timing", 0.25
            return None
        if isinstance(self.outcome, str):
            self.error = self.outcome
            return None
        return self.outcome

    def cancel(self) -> None:
        self.cancelled = True


class Device:
    name, compute_capability = "fake", (8, 6)
    closed = 0

    def close(self) -> None:
        self.closed += 1


class Library:
    name = "tensorrt_rtx"


@pytest.fixture
def accelerator(monkeypatch, tmp_path):
    """One whose engine is not there, whose builds are fake, and whose backends are the engine's path."""
    from rtsearch import engines

    def make(outcome) -> tuple[Accelerator, Building]:
        build = Building(outcome)
        monkeypatch.setattr(engines, "find_engine", lambda *_: None)
        monkeypatch.setattr(engines, "start_build", lambda *_: build)
        monkeypatch.setattr(accelerate, "_POLL_S", 0.01)
        monkeypatch.setattr(Accelerator, "open", lambda _self, path, *_: ("backend of", path))
        device: Any = Device()
        library: Any = Library()
        return Accelerator(device, library), build

    return make


def later(accelerator, stop, tmp_path, told=None):
    order = spec = None
    tell = ([] if told is None else told).append
    return accelerator.later(order, tmp_path, spec, Settings(), stop, tell)


def test_an_engine_is_built_elsewhere_meanwhile(accelerator, tmp_path):
    made, build = accelerator(tmp_path / "x.engine")
    assert later(made, threading.Event(), tmp_path) == ("backend of", tmp_path / "x.engine")
    assert build.polls >= 3
    assert made.device.closed == 0  # it belongs to the backend now


def test_a_build_elsewhere_tells_how_far_it_is(accelerator, tmp_path, monkeypatch):
    monkeypatch.setattr(accelerate, "_TELL_S", 0.0)
    made, _ = accelerator(tmp_path / "x.engine")
    told = []
    later(made, threading.Event(), tmp_path, told)
    first, *others = told
    assert first == "building an engine for fake, once; the CPU is used meanwhile"
    assert others  # nothing before the other process has said a word
    assert set(others) == {"engine: 25% after 0 s (Timing)"}


def test_the_cpu_sees_while_somebody_builds(accelerator, model, monkeypatch, caplog):
    made, build = accelerator("no tactic fits")
    monkeypatch.setattr("rtsearch.pipeline.find_accelerator", lambda _settings: made)
    told = []
    with open_pipeline(Settings(), engine="later", tell=told.append) as pipeline:
        assert isinstance(pipeline.backend, FailoverBackend)
        pipeline.warm_up()
        assert pipeline.backend._thread is not None
        pipeline.backend._thread.join(30)
        pipeline.warm_up()
    assert told == ["building an engine for fake, once; the CPU is used meanwhile"]
    assert "going on without tensorrt_rtx on fake: no tactic fits" in caplog.text
    assert build.cancelled
    assert made.device.closed == 1


def test_a_build_that_is_quick_tells_no_more(accelerator, tmp_path):
    made, _ = accelerator(tmp_path / "x.engine")
    told = []
    later(made, threading.Event(), tmp_path, told)
    assert len(told) == 1


def test_an_engine_that_is_there_needs_no_words(accelerator, tmp_path, monkeypatch):
    from rtsearch import engines

    made, _ = accelerator("not built")
    monkeypatch.setattr(engines, "find_engine", lambda *_: tmp_path / "x.engine")
    told = []
    assert later(made, threading.Event(), tmp_path, told) == ("backend of", tmp_path / "x.engine")
    assert told == []


def test_a_build_that_fails_says_why(accelerator, tmp_path):
    made, _ = accelerator("layer Foo is not supported")
    with pytest.raises(EngineError, match="layer Foo is not supported"):
        later(made, threading.Event(), tmp_path)
    assert made.device.closed == 1


def test_a_build_is_cancelled_with_the_run(accelerator, tmp_path):
    made, build = accelerator(tmp_path / "x.engine")
    build.polls = -(10**9)
    stop = threading.Event()
    threading.Timer(0.1, stop.set).start()
    assert later(made, stop, tmp_path) is None
    assert build.cancelled
    assert made.device.closed == 1
