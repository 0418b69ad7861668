"""``import rtsearch``: light, complete, typed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import rtsearch

TOP = Path(__file__).resolve().parents[1]
NAMES = [
    "GrowingTree",
    "KDTree",
    "Library",
    "analyze",
    "errors",
    "open_library",
    "open_pipeline",
]


def python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=TOP, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_names():
    assert sorted({*NAMES, "__version__"}) == rtsearch.__all__
    assert set(rtsearch.__all__) <= set(dir(rtsearch))
    with pytest.raises(AttributeError, match="module 'rtsearch' has no attribute 'nope'"):
        getattr(rtsearch, "no" + "pe")


def test_no_name_is_a_module():
    """Importing a module of the same name would put it in the place of the function."""
    modules = {path.stem for path in (TOP / "rtsearch").iterdir()}
    assert modules & {*NAMES} == {"errors"}


def test_each_name_comes_when_it_is_asked_for():
    said = python(
        "import sys, rtsearch; dir(rtsearch); print(rtsearch.errors.RtsearchError.__name__)\n"
        "print('numpy' in sys.modules)\n"
        "print(rtsearch.KDTree.__name__, 'numba' in sys.modules, 'rtsearch.library_search' in sys.modules)\n"
        "from rtsearch import *; print(open_library.__module__)"
    )
    assert said.splitlines() == ["RtsearchError", "False", "KDTree True False", "rtsearch.library_search"]


def test_types_are_seen_from_outside(tmp_path):
    """By mypy, whose cache the checks before the tests have filled; with --strict it would fill it anew."""
    strict = "disallow-any-generics, disallow-any-unimported, disallow-untyped-calls, warn-return-any"
    (tmp_path / "program.py").write_text(
        f"import rtsearch  # mypy: {strict}\n"
        "with rtsearch.open_library('mine.lib') as library:\n"
        "    reveal_type(library.search('photo.jpg')[0].neighbours[0].distance)\n"
        "reveal_type(rtsearch.errors.PhotoError.__name__)\n"
        "rtsearch.nope\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--no-warn-unused-configs", tmp_path / "program.py"],
        capture_output=True,
        text=True,
        check=False,
        cwd=TOP,
        timeout=300,
    )
    said = [line.partition("program.py:")[2] for line in done.stdout.splitlines()[:-1]]
    assert said == [
        '3: note: Revealed type is "float"',
        '4: note: Revealed type is "str"',
        '5: error: Module has no attribute "nope"  [attr-defined]',
    ]
    assert (TOP / "rtsearch" / "py.typed").is_file()
