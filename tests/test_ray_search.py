"""A library searched by a real Ray cluster of two machines on this one: replicas and a machine die."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import blobs
import numpy as np
import psutil
import pytest
from ray_cluster import NODE, two_machines
from test_library_watch import wait_for
from test_ray import PATIENCE_S

from rtsearch.config import load_settings
from rtsearch.errors import ServiceError
from rtsearch.library import Library
from rtsearch.library.index import SearchIndex, build_index, open_index, remembered_settings
from rtsearch.library.narrowing import narrow
from rtsearch.service import RemoteIndex, RemoteLibrary, open_remote
from rtsearch.service.address import ServiceAddress

pytest.importorskip("ray", reason="needs the extra ray: make test-ray", exc_type=ImportError)
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Ray's own warnings

SETTINGS = load_settings(None, ["project.dim=8"])
SHARDS, K = 3, 6


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A cluster of two machines; the first one is that of the commands."""
    with two_machines(tmp_path_factory.mktemp("cache")) as started:
        yield started


def made(folder: Path, photos: int) -> SearchIndex:
    """A library of so many blob photos, and its index."""
    blobs.write_photos(folder / "photos", photos)
    blobs.run(folder / "photos", folder / "lib")
    return build_index(Library.open(folder / "lib"), SETTINGS)


@contextlib.contextmanager
def serving(folder: Path, address: str, *more: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command, and the address that it answers at."""
    rtsearch = Path(sys.executable).with_name("rtsearch")
    command = [
        str(rtsearch),
        "cluster",
        "serve",
        str(folder / "lib"),
        "--ray",
        address,
        "--port",
        "0",
        "--json",
    ]
    command += ["--shards", str(SHARDS), "--set", "project.dim=8", *more]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.communicate()
        assert line.startswith("{"), line
        yield process, json.loads(line)["url"]
    finally:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(30)
        process.kill()
        process.communicate()


@contextlib.contextmanager
def remote(address: str) -> Iterator[tuple[RemoteLibrary, SearchIndex]]:
    library = open_remote(address)
    assert library is not None
    with contextlib.closing(library.connection):
        yield library, open_index(library, load_settings(None, (), remembered_settings(library)))


class Asking:
    """Asks over and over in a thread; keeps what failed, and counts complete answers that are wrong.

    On a machine that is busy enough, a shard may not answer in time without any fault.
    """

    def __init__(self, index: SearchIndex, true: np.ndarray | None = None) -> None:
        self.failed: list[str] = []
        self.wrong = self.done = 0
        self._index, self._true = index, true
        self._points = index.points(np.arange(4, dtype=np.int32))
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> Asking:
        self._thread.start()
        wait_for(lambda: self.done > 10)
        return self

    def __exit__(self, *_: object) -> None:
        before = self.done
        wait_for(lambda: self.done > before + 10)
        self._end.set()
        self._thread.join(PATIENCE_S)

    def _work(self) -> None:
        assert isinstance(self._index, RemoteIndex)
        while not self._end.is_set():
            try:
                row = self._index.near(self._points, K, exact=True).row
                if self._true is not None and self._index._missing == ():
                    self.wrong += not np.array_equal(row, self._true)
            except ServiceError as error:
                self.failed.append(str(error))
            self.done += 1


def replicas() -> list[psutil.Process]:
    """Processes that hold a shard."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if "ray::Replica" in " ".join(process.cmdline()):
                found.append(process)
    return found


def _is_gone(pid: int) -> bool:
    return pid not in {each.pid for each in replicas()}


def until(holds: Callable[[], bool]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end_s
        time.sleep(0.05)


def test_a_cluster_finds_what_the_folder_gives(cluster, tmp_path):
    index = made(tmp_path, 40)
    points = index.points(np.arange(0, len(index), 5, dtype=np.int32)) + np.float32(0.01)
    with serving(tmp_path, cluster.address) as (process, address), remote(address) as (_, far):
        for k in (1, K, len(index)):
            found, true = far.near(points, k, exact=True), index.near(points, k, exact=True)
            np.testing.assert_array_equal(found.distance, true.distance)
        for classes in (["red"], []):
            search = SETTINGS.search.model_copy(update={"classes": tuple(classes)})
            here, there = (narrow(each, search, distinct=True) for each in (index, far))
            np.testing.assert_array_equal(
                there.near(points, K, exact=True).distance, here.near(points, K, exact=True).distance
            )
        assert far.hits(np.arange(5, dtype=np.int32)) == index.hits(np.arange(5, dtype=np.int32))
        assert len(replicas()) == SHARDS
        with remote(f"ray://{cluster.address}/lib") as (named, _):
            assert named.connection.address == ServiceAddress.parse(address)
        with pytest.raises(ServiceError, match=r"serves no library other \(it serves: lib\)"):
            open_remote(f"ray://{cluster.address}/other")
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    until(lambda: not replicas())
    with pytest.raises(ServiceError, match=r"serves no library lib \(it serves: none\)"):
        open_remote(f"ray://{cluster.address}/lib")


def test_replicas_die_and_no_question_fails(cluster, tmp_path):
    index = made(tmp_path, 40)
    true = index.near(index.points(np.arange(4, dtype=np.int32)), K, exact=True).row
    with (
        serving(tmp_path, cluster.address, "--replicas", "2") as (_, address),
        remote(address) as (_, far),
        Asking(far, true) as asking,
    ):
        until(lambda: len(replicas()) == 2 * SHARDS)
        victim = replicas()[0].pid
        os.kill(victim, signal.SIGKILL)
        until(functools.partial(_is_gone, victim))
        until(lambda: len(replicas()) == 2 * SHARDS)  # Ray has started it again
    assert (asking.failed, asking.wrong) == ([], 0)


def test_a_machine_dies_and_no_question_fails(cluster, tmp_path):
    index = made(tmp_path, 40)
    true = index.near(index.points(np.arange(4, dtype=np.int32)), K, exact=True).row
    third = cluster.add_node(**NODE)
    try:
        with (
            serving(tmp_path, cluster.address, "--replicas", "2") as (_, address),
            remote(address) as (_, far),
            Asking(far, true) as asking,
        ):
            cluster.remove_node(third, allow_graceful=False)
            before = asking.done
            until(lambda: asking.done > before + 50)
    except BaseException:
        with contextlib.suppress(Exception):
            cluster.remove_node(third)
        raise
    assert (asking.failed, asking.wrong) == ([], 0)


def test_a_shard_without_a_replica_is_named(cluster, tmp_path):
    made(tmp_path, 40)
    with serving(tmp_path, cluster.address) as (_, address), remote(address) as (_, far):
        assert isinstance(far, RemoteIndex)
        points = far.points(np.arange(4, dtype=np.int32))
        until(lambda: len(replicas()) == SHARDS)
        os.kill(replicas()[0].pid, signal.SIGKILL)
        far.near(points, K)
        seen = {far._missing}
        end_s = time.monotonic() + PATIENCE_S
        while () in seen and len(seen) == 1 and time.monotonic() < end_s:
            far.near(points, K)
            seen.add(far._missing)
        assert any(len(missing) == 1 for missing in seen)
        until(lambda: far.near(points, K) is not None and far._missing == ())  # Ray starts it again


def test_a_new_version_rolls_over(cluster, tmp_path):
    made(tmp_path, 20)
    with (
        serving(tmp_path, cluster.address) as (_, address),
        remote(address) as (library, far),
        Asking(far) as asking,
    ):
        newer = made(tmp_path, 60)
        until(lambda: library.newest() is not library)
        fresh = open_index(library.newest(), SETTINGS)
        points = newer.points(np.arange(0, len(newer), 7, dtype=np.int32))
        np.testing.assert_array_equal(
            fresh.near(points, K, exact=True).distance, newer.near(points, K, exact=True).distance
        )
        assert len(fresh) == len(newer) > len(far)
    assert asking.failed == []


def test_no_cluster_is_there(cli, tmp_path):
    made(tmp_path, 12)
    options = ("--ray", "127.0.0.1:1", "--port", "0", "--set", "project.dim=8")
    assert "no Ray cluster" in cli("cluster", "serve", tmp_path / "lib", *options).complaint
    assert "no Ray cluster answers at 127.0.0.1:1" in cli("query", "ray://127.0.0.1:1/lib", "x.jpg").complaint
