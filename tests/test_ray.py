"""A real Ray cluster of two machines, both of them this one: analyses are killed, stopped and refused."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from ray_cluster import NODE, two_machines

from rtsearch.config import Settings, load_settings
from rtsearch.errors import ClusterError
from rtsearch.jobs.analyze import analyze
from rtsearch.jobs.cluster import ClusterPhotos, connected
from rtsearch.library import Library, check_library
from rtsearch.library.photos import PhotoFile, find_photos
from rtsearch.pipeline import Pipeline, open_pipeline

pytest.importorskip("ray", reason="needs the extra ray: make test-ray", exc_type=ImportError)
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Ray's own warnings

COPIES = 3
# A small input makes a photo a matter of milliseconds; fragments are not cut by time.
SMALL = ("model.size=96", "detect.threshold=0.1", "analyze.commit_photos=20", "analyze.commit_s=3600")
PATIENCE_S = 300


@pytest.fixture(scope="module")
def some_photos(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real photos, each several times: eight batches, of which each machine has two at a time."""
    folder = tmp_path_factory.mktemp("many") / "photos"
    folder.mkdir()
    for photo in sorted(photos.rglob("*.*")):
        for copy in range(COPIES):
            shutil.copy2(photo, folder / f"{copy}-{photo.name}")
    (folder / "0-broken.jpg").write_bytes(b"not a picture")
    return folder


@pytest.fixture(scope="module")
def settings(model: Path) -> Settings:
    return load_settings(None, SMALL)


@pytest.fixture(scope="module")
def small_pipeline(settings: Settings) -> Iterator[Pipeline]:
    with open_pipeline(settings) as opened:
        yield opened


@pytest.fixture(scope="module")
def whole(some_photos: Path, small_pipeline, settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library of all photos, made without a cluster."""
    folder = tmp_path_factory.mktemp("whole") / "lib"
    analyze(some_photos, folder, small_pipeline, settings)
    assert Library.open(folder).object_count > COPIES
    return folder


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A cluster of two machines with a core each."""
    with two_machines(tmp_path_factory.mktemp("cache")) as started:
        yield started


def start(photos: Path, library: Path, address: str) -> subprocess.Popen[str]:
    """Analyse in a process of its own, in a folder whose files must not be imported by anybody."""
    foreign = library.parent / "foreign" / "rtsearch"
    foreign.mkdir(parents=True, exist_ok=True)
    (foreign / "__init__.py").write_text("raise SystemExit('foreign code ran')")
    rtsearch = Path(sys.executable).with_name("rtsearch")
    command = [str(rtsearch), "analyze", str(photos), str(library), "--ray", address]
    for setting in SMALL:
        command += ["--set", setting]
    return subprocess.Popen(
        command, cwd=foreign.parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def run(photos: Path, library: Path, address: str) -> tuple[int, str]:
    """Exit code and messages of an analysis."""
    process = start(photos, library, address)
    err = process.communicate(timeout=PATIENCE_S)[1]
    return process.returncode, err


def complaint(result: tuple[int, str]) -> str:
    """The one line about what is wrong."""
    code, err = result
    assert (code, err.count("\n"), err[:10]) == (2, 1, "rtsearch: "), err
    return err


def files(library: Path) -> dict[str, bytes]:
    """Every file of a library but its lock and what is derived from the others."""
    there = {path.relative_to(library): path for path in library.rglob("*") if path.is_file()}
    return {
        str(name): path.read_bytes() for name, path in there.items() if name.parts[0] not in ("index", "lock")
    }


def wait_until(true: Callable[[], object], process: subprocess.Popen[str]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not true():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def committed(library: Path) -> int:
    return Library.open(library).photo_count if (library / "manifest.json").exists() else 0


def workers(of: int | None = None) -> list[psutil.Process]:
    """Processes that look at a batch now, below that one or below this."""
    found = []
    for process in psutil.Process(of).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if "look_at_batch" in " ".join(process.cmdline()):
                found.append(process)
    return found


def test_a_cluster_makes_the_same_library(cluster, some_photos, whole, tmp_path):
    code, err = run(some_photos, tmp_path / "lib", cluster.address)
    assert code == 0, err
    assert files(tmp_path / "lib") == files(whole)
    assert "left out 0-broken.jpg: not a picture of a known kind" in err


def test_new_and_deleted_photos(cluster, some_photos, whole, small_pipeline, settings, tmp_path):
    photos = tmp_path / "photos"
    shutil.copytree(some_photos, photos)
    shutil.copytree(whole, tmp_path / "lib")
    shutil.copytree(whole, tmp_path / "plain")
    os.utime(photos / "0-skimage-coffee.png", (1, 1))
    (photos / "1-skimage-coffee.png").unlink()
    shutil.copy(photos / "2-skimage-coffee.png", photos / "new.png")
    analyze(photos, tmp_path / "plain", small_pipeline, settings)
    code, err = run(photos, tmp_path / "lib", cluster.address)
    assert code == 0, err
    assert "1 photo analysed" in err
    assert files(tmp_path / "lib") == files(tmp_path / "plain")


def test_a_worker_and_then_a_machine_that_die_cost_nothing(cluster, some_photos, whole, tmp_path):
    library = tmp_path / "lib"
    third = cluster.add_node(**NODE)
    process = start(some_photos, library, cluster.address)
    wait_until(lambda: committed(library), process)
    wait_until(workers, process)
    workers()[0].kill()
    now = committed(library)
    wait_until(lambda: committed(library) > now, process)
    cluster.remove_node(third, allow_graceful=False)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, err
    assert files(library) == files(whole)
    assert check_library(Library.open(library)) == []


def test_ctrl_c_commits_and_the_same_command_goes_on(cluster, some_photos, whole, tmp_path):
    library = tmp_path / "lib"
    process = start(some_photos, library, "local")
    wait_until(lambda: committed(library), process)
    below = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130, err
    assert "stopped; the results are kept" in err
    assert psutil.wait_procs(below, timeout=PATIENCE_S)[1] == []
    assert 0 < committed(library) < committed(whole)
    code, err = run(some_photos, library, cluster.address)
    assert code == 0, err
    assert sorted(Library.open(library).photos().path) == sorted(Library.open(whole).photos().path)
    assert check_library(Library.open(library)) == []


def test_a_driver_that_is_killed_goes_on(cluster, some_photos, whole, tmp_path):
    library = tmp_path / "lib"
    process = start(some_photos, library, cluster.address)
    wait_until(lambda: committed(library), process)
    process.kill()
    process.communicate()
    assert 0 < committed(library) < committed(whole)
    code, err = run(some_photos, library, cluster.address)
    assert code == 0, err
    assert files(library) == files(whole)


def keep_busy(node: Any) -> None:
    """Take the core of a machine until the driver ends."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    there = NodeAffinitySchedulingStrategy(node.node_id, soft=False)
    ray.remote(lambda: time.sleep(PATIENCE_S)).options(num_cpus=1, scheduling_strategy=there).remote()


def test_machines_of_another_version_are_refused(cluster, some_photos, small_pipeline, settings, tmp_path):
    package = Path(sys.modules["rtsearch"].__path__[0])
    shutil.copytree(package, tmp_path / "other" / "rtsearch", ignore=shutil.ignore_patterns("__pycache__"))
    init = tmp_path / "other" / "rtsearch" / "__init__.py"
    init.write_text(init.read_text().replace('__version__ = "', '__version__ = "9.'))
    todo = find_photos(some_photos).photos
    usual = cluster.list_all_nodes()
    other = cluster.add_node(**NODE, env_vars={"PYTHONPATH": str(tmp_path / "other")})
    try:
        with connected(cluster.address):
            for node in usual:
                keep_busy(node)
            with (
                ClusterPhotos(todo, some_photos, small_pipeline, settings, stop=threading.Event()) as jobs,
                pytest.raises(ClusterError, match=r"has rtsearch 9\..*install the same on all machines"),
            ):
                list(jobs)
    finally:
        cluster.remove_node(other)


def test_photos_that_machines_do_not_see_are_named(cluster, small_pipeline, settings, tmp_path):
    todo = [PhotoFile("a.jpg", 1, 1), PhotoFile("b.jpg", 1, 1)]
    with (
        connected(cluster.address),
        ClusterPhotos(todo, tmp_path / "gone", small_pipeline, settings, stop=threading.Event()) as jobs,
        pytest.raises(ClusterError, match=r"does not see .*gone/a\.jpg"),
    ):
        list(jobs)


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:0", "http://127.0.0.1:1", "127.0.0.1:1"])
def test_where_no_cluster_is(address):
    with pytest.raises(ClusterError, match=f"HOST:PORT.*{address}|{address} .*HOST:PORT"), connected(address):
        pass


def test_what_answers_but_is_no_cluster(some_photos, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        assert "no Ray cluster" in complaint(run(some_photos, tmp_path / "lib", address))
    assert not (tmp_path / "lib").exists()


def test_what_ray_tells_of_its_machines_is_no_answer(cluster, capfd):
    from ray._private import worker

    with connected(cluster.address):
        capfd.readouterr()
        told = {"lines": ["a node has died"], "pid": "raylet", "is_err": False}
        worker.print_to_stdstream(told, ignore_prefix=False)  # as Ray's own thread does
        out, err = capfd.readouterr()
    assert out == ""
    assert "a node has died" in err
