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
    asked = "import sys, rtsearch; dir(rtsearch); before = set(sys.modules); assert 'numpy' not in before; "
    assert python(f"{asked} print(rtsearch.errors.RtsearchError.__name__)") == "RtsearchError\n"
    assert python(f"{asked} print(rtsearch.KDTree, 'numba' in sys.modules)").endswith("True\n")
    assert python("from rtsearch import *; print(open_library.__module__)") == "rtsearch.library_search\n"


def test_types_are_seen_from_outside(tmp_path):
    """By mypy, whose cache the checks before the tests have filled."""
    (tmp_path / "program.py").write_text(
        "import rtsearch\n"
        "with rtsearch.open_library('mine.lib') as library:\n"
        "    reveal_type(library.search('photo.jpg')[0].neighbours[0].distance)\n"
        "reveal_type(rtsearch.errors.PhotoError.__name__)\n"
        "rtsearch.nope\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-warn-unused-configs", tmp_path / "program.py"],
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
