"""Compiled kernels on disk: used again, not trusted when damaged; done without where none can be written."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rtsearch._util import kernel_cache
from rtsearch._util.jit import kernel
from rtsearch.search import warm_up

TOP = Path(__file__).resolve().parents[1]
NAMELESS = 54_321

# As a command does it: the log goes to standard error. The answer is checked, so that wrong code is seen.
SEARCHES = """
import numpy as np
from rtsearch.cli.common import settings_of
settings_of(None, None)
from rtsearch.perception.roi_pooling import roi_means
from rtsearch.search.kernels import limit_for
means = roi_means(np.ones((2, 4, 4), np.float32), np.array([[0, 0, 9, 9]], np.float32), (16, 16))
assert np.allclose(means, 1), means
assert 2 < limit_for(np.arange(9, dtype=np.float32), 9, 3) <= 3.01
"""
LEAST_FILES = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))\n"
# The real user decides who somebody is and what access() allows, the effective one what can be read.
BECOMES_NAMELESS = f"import os; os.setresuid({NAMELESS}, 0, 0)\n"


def search(code: str, top: Path = TOP, **env: str) -> str:
    """Search in a process of its own; returns what was said."""
    unset = (
        "HOME",
        "XDG_CACHE_HOME",
        "NUMBA_CACHE_DIR",
        "COVERAGE_PROCESS_CONFIG",
    )  # the last one writes files
    keep = {k: v for k, v in os.environ.items() if k not in unset}
    keep["PYTHONPATH"] = os.pathsep.join([str(top), *filter(None, sys.path)])
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=keep | env, cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def test_no_folder_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "a file").write_text("")
    said = search(SEARCHES, NUMBA_CACHE_DIR=str(tmp_path / "a file" / "below"))
    assert "a file/below: every start compiles them" in said
    assert "set NUMBA_CACHE_DIR" in said


def test_neither_package_nor_home_can_be_written(tmp_path: Path) -> None:
    """As in a read-only image; a file in the place of the folder stops root as well."""
    package = tmp_path / "rtsearch"
    shutil.copytree(TOP / "rtsearch", package, ignore=shutil.ignore_patterns("__pycache__"))
    beside = package / "search" / "__pycache__"
    beside.write_text("")
    assert f"{beside} nor /proc/.cache/rtsearch: every start" in search(SEARCHES, tmp_path, HOME="/proc")


@pytest.mark.skipif(
    not hasattr(os, "setresuid") or os.getuid() != 0, reason="becoming another user takes root"
)
def test_a_user_without_name_and_home() -> None:
    said = search(BECOMES_NAMELESS + SEARCHES)
    assert "search/__pycache__: every start compiles them" in said


def test_it_is_known_whether_the_search_is_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    warm_up()
    assert kernel_cache.search_is_compiled()
    monkeypatch.setattr(kernel_cache, "_folder", lambda: tmp_path)
    assert not kernel_cache.search_is_compiled()
    monkeypatch.setattr(kernel_cache, "_folder", lambda: None)  # a warning has told that each start compiles
    assert kernel_cache.search_is_compiled()


def test_the_disk_is_full(tmp_path: Path) -> None:
    """Here for a process that may write 3,000 bytes to a file; none stays behind in part."""
    cache = tmp_path / "cache"
    assert f"in {cache}" in search(LEAST_FILES + SEARCHES, NUMBA_CACHE_DIR=str(cache))
    assert not [path for path in cache.rglob("*") if ".tmp" in path.name]


def double(values):
    return values * 2


class Cache:
    """A cache of its own for a kernel that is compiled in the test's process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def from_disk(self) -> bool:
        """Run the kernel as a new process would; returns whether its code came from the disk."""
        compiled = kernel(double)
        assert compiled(21) == 42
        return sum(compiled.stats.cache_hits.values()) == 1

    def damage(self, suffix: str, damage: Callable[[bytes], bytes]) -> None:
        [path] = self.folder.rglob(f"*{suffix}")
        path.write_bytes(damage(path.read_bytes()))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cache]:
    """Holds the kernel already."""
    monkeypatch.setattr("numba.config.CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(kernel_cache, "_told", set())
    kernel_cache._folder.cache_clear()
    cache = Cache(tmp_path / "cache")
    assert not cache.from_disk()
    assert cache.from_disk()
    yield cache
    kernel_cache._folder.cache_clear()


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:20],
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],
        lambda content: bytes(len(content)),
    ],
    ids=["empty", "short", "half", "cut", "zeros"],
)
@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
def test_a_damaged_file_is_compiled_again(cache, caplog, suffix, damage):
    cache.damage(suffix, damage)
    assert not cache.from_disk()
    assert [r.getMessage().partition(" are ")[2] for r in caplog.records] == [
        "damaged; they are compiled again"
    ]
    assert cache.from_disk()


@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
def test_a_flipped_bit_is_noticed_wherever_it_is(cache, suffix):
    rng = random.Random(3)
    for _ in range(20):

        def flip(content: bytes) -> bytes:
            at = rng.randrange(len(content))
            return content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :]

        cache.damage(suffix, flip)
        assert not cache.from_disk()
        assert cache.from_disk()


def test_a_file_that_has_gone_is_made_again(cache, caplog):
    for suffix in (".nbc", ".nbi"):
        next(cache.folder.rglob(f"*{suffix}")).unlink()
        assert not cache.from_disk()
        assert cache.from_disk()
    shutil.rmtree(cache.folder)
    assert not cache.from_disk()
    assert cache.from_disk()
    assert caplog.records == []


def test_the_first_place_that_can_be_written_is_taken(tmp_path):
    (tmp_path / "a file").write_text("")
    blocked, free = tmp_path / "a file", tmp_path / "free" / "deep"
    assert kernel_cache._writable_folder([blocked, free], "x") == free / "x"
    assert kernel_cache._writable_folder([blocked], "x") is None


def test_every_file_with_kernels_gives_the_folder_its_name():
    named = {path for pattern in kernel_cache._WITH_KERNELS for path in (TOP / "rtsearch").glob(pattern)}
    package = sorted((TOP / "rtsearch").rglob("*.py"))
    uses = {path for path in package if "rtsearch._util.jit import" in path.read_text(encoding="utf-8")}
    assert len(uses) > 5
    assert uses <= named
    decorate = [path.name for path in package if "import njit" in path.read_text(encoding="utf-8")]
    assert decorate == ["jit.py"]
