"""Builds of engines in several processes and in the background, and Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import fake_tensorrt
import pytest
from filelock import FileLock
from test_engines_build import GPU, asked, left_in, order

from rtsearch.engines import (
    BackgroundBuild,
    build_engine,
    engine_file,
    read_passport,
    start_build,
)
from rtsearch.errors import EngineError

# Several processes, and Ctrl-C -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    return fake_tensorrt.tiny_model(tmp_path_factory.mktemp("models"))


@pytest.fixture
def fake():
    return fake_tensorrt.flavour()


def test_one_builds_the_others_wait_and_take_it(tiny, tmp_path):
    libraries = [fake_tensorrt.flavour() for _ in range(3)]
    made = []
    workers = [
        threading.Thread(
            target=lambda library=library: made.append(build_engine(order(tiny), tmp_path, library, GPU))
        )
        for library in libraries
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(set(made)) == 1
    assert len(made) == 3
    assert sum(len(asked(library, "network")) for library in libraries) == 1


def test_an_engine_that_another_process_builds_for_too_long(tiny, fake, tmp_path, monkeypatch):
    monkeypatch.setattr("rtsearch.engines.build._WAIT_S", 0.1)
    path = engine_file(order(tiny), tmp_path, fake, GPU)
    told = []
    with (
        FileLock(path.with_name(f".{path.name}.lock")),
        pytest.raises(EngineError, match="another process is building tiny-96x64"),
    ):
        build_engine(order(tiny), tmp_path, fake, GPU, progress=lambda what, _: told.append(what))
    assert told == [f"another process is building {path.name}; waiting for it"]


def test_ctrl_c_ends_the_build_and_leaves_nothing(tiny, fake, tmp_path):
    ended = threading.Event()

    def progress(what, share):
        if what == "Timing" and not ended.is_set():
            ended.set()
            signal.raise_signal(signal.SIGINT)
            time.sleep(0.3)  # the main thread notices meanwhile

    with pytest.raises(KeyboardInterrupt):
        build_engine(order(tiny), tmp_path, fake, GPU, progress=progress)
    assert ended.is_set()
    assert left_in(tmp_path) == []
    assert not [thread for thread in threading.enumerate() if "build" in thread.name and thread.is_alive()]
    assert build_engine(order(tiny), tmp_path, fake, GPU).exists()


def test_ctrl_c_while_the_building_thread_starts(tiny, fake, tmp_path, monkeypatch):
    start = threading.Thread.start

    def interrupted(thread):
        start(thread)
        if "build" in thread.name:
            raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build_engine(order(tiny), tmp_path, fake, GPU, progress=lambda _what, _share: time.sleep(0.05))
    assert left_in(tmp_path) == []
    assert not [thread for thread in threading.enumerate() if "build" in thread.name]


# In the background -----------------------------------------------------------------------------------------


def wait(build, limit_s=100):
    end = time.monotonic() + limit_s
    while build.running and time.monotonic() < end:
        build.poll()
        time.sleep(0.05)
    return build.poll()


def test_a_build_elsewhere_ends_with_an_engine(tiny, rtx, tmp_path, monkeypatch):
    monkeypatch.setenv("RTSEARCH_ENGINES", str(tmp_path))
    build = start_build(order(tiny), "tensorrt_rtx")
    assert build.running
    path = wait(build)
    assert build.error == ""
    assert path == engine_file(order(tiny), tmp_path, rtx, None)
    assert build.what != ""
    assert read_passport(path).spec.name == "tiny"
    assert read_passport(path).describe["name"] == "form-colour-class"
    build.cancel()
    assert build.poll() == path


@pytest.mark.slow
def test_a_build_elsewhere_that_fails_says_why(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("RTSEARCH_ENGINES", str(tmp_path))
    build = start_build(order(tiny, batch=8), "tensorrt_rtx")
    assert wait(build) is None
    assert build.error == "tiny takes 1 pictures per pass, not 8"
    build.cancel()
    assert "8" in build.error


def test_a_build_elsewhere_can_be_cancelled(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("RTSEARCH_ENGINES", str(tmp_path))
    build = start_build(order(tiny), "tensorrt_rtx")
    assert build._process is not None
    pid = build._process.pid
    build.cancel()
    assert not build.running
    assert (build.poll(), build.error) == (None, "cancelled")
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def other_process(*lines, code=0):
    """A build that says some lines one by one, each once a file of that number is there; then it ends."""
    steps = "".join(f"wait({i})\nprint({line!r}, flush=True)\n" for i, line in enumerate(lines))
    wait_for = "import os, sys, time\ndef wait(i):\n    while not os.path.exists(str(i)): time.sleep(0.01)\n"
    return BackgroundBuild([sys.executable, "-c", f"{wait_for}{steps}sys.exit({code})"])


def heard(build, share, limit_s=20):
    end = time.monotonic() + limit_s
    while build.share != share and time.monotonic() < end:
        assert build.poll() is None
        time.sleep(0.01)
    return build.what, build.share


def test_a_build_elsewhere_tells_how_far_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    build = other_process(
        '{"what": "preparing the network", "share": 0.125}',
        'a warning of some library\n[1, 2]\n{"what": "no share"}\n{"what": "x", "share": []}',
        '{"what": "Timing", "share": 0.5}\n{"what": "Linking", "share": 0.25}\n{"engines": [{"file": "x"}]}',
    )
    assert (build.what, build.share) == ("", 0.0)
    Path("0").touch()
    assert heard(build, 0.125) == ("preparing the network", 0.125)
    Path("1").touch()
    Path("2").touch()
    assert wait(build) == Path("x")
    assert (build.what, build.share) == ("Linking", 0.5)  # what is done is never undone
    assert build.error == ""


@pytest.mark.parametrize(
    ("lines", "code", "reason"),
    [
        ((), 0, "the build ended with code 0"),
        (('{"engines": [{"file": "x"}]}',), 3, "the build ended with code 3"),
        (('{"engines": []}',), 0, "the build ended with code 0"),
        (('{"engines": 1}', '{"what": "Timing", "share": 1}'), 0, "the build ended with code 0"),
    ],
)
def test_a_build_elsewhere_that_made_nothing(tmp_path, monkeypatch, lines, code, reason):
    monkeypatch.chdir(tmp_path)
    for i in range(len(lines)):
        Path(str(i)).touch()
    build = other_process(*lines, code=code)
    assert wait(build) is None
    assert build.error == reason


def test_python_m_is_the_command():
    done = subprocess.run(
        [sys.executable, "-P", "-m", "rtsearch", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("rtsearch ")
