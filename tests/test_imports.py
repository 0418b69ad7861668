"""Imports point down, stages do not know each other, and light modules stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[1]

# From the ground up. A unit (a module or package right below rtsearch/) imports from lower floors only.
FLOORS = (
    {"errors", "closing", "display", "folders"},
    {"config", "records", "meter", "ahead", "headers", "kernel_cache"},
    {"compiled"},
    {"errors", "closing", "display"},
    {"config", "records", "meter", "ahead", "headers", "regular"},
    {"errors", "closing", "display", "wording"},
    {"config", "records", "meter", "ahead", "headers"},
    {"pictures", "text", "colour", "pooling", "sight", "layout", "gallery", "arrange"},
    {"sources", "detect", "describe", "project", "search", "library", "thumbs", "track", "render", "record"}
    | {"models", "runners", "sliders", "demo", "embed"},
    {"gpu"},
    {"engines", "handover"},
    {"accelerate"},
    {"index", "look", "pipeline"},
    {"analysis", "live", "query", "overview", "library_search"},
    {"window", "replay"},
    {"doctor"},
    {"cli"},
    {"__main__"},
    {""},  # rtsearch/__init__.py, which imports a name when it is asked for
)
# What two stages speak of with each other.
SHARED = {
    ("detect", "rtsearch.models.spec"),
    ("describe", "rtsearch.models.spec"),
    ("detect", "rtsearch.runners"),
    ("demo", "rtsearch.library.files"),
    ("runners", "rtsearch.engines.flavour"),
    ("runners", "rtsearch.engines.passport"),
    ("runners", "rtsearch.models.spec"),
}
HEAVY = ("cv2", "numba", "onnxruntime", "onnx", "pyarrow", "tensorrt", "tensorrt_rtx", "cuda", "PIL", "typer")


def unit_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def crossings() -> list[tuple[str, str, str]]:
    """(file, unit, imported module) of every import that leaves its unit."""
    found = []
    for path in sorted((TOP / "rtsearch").rglob("*.py")):
        inside = path.relative_to(TOP / "rtsearch")
        unit = "" if inside.name == "__init__.py" and len(inside.parts) == 1 else inside.parts[0]
        unit = unit.removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{inside}: relative import"
                modules = [str(node.module)]
                if node.module == "rtsearch":
                    modules = [f"rtsearch.{alias.name}" for alias in node.names]
            else:
                continue
            ours = [module for module in modules if module.split(".")[0] == "rtsearch"]
            found += [(str(inside), unit, module) for module in ours if unit_of(module) != unit]
    return found


def test_every_unit_has_its_floor():
    there = {path.stem for path in (TOP / "rtsearch").glob("*.py") if path.stem != "__init__"}
    there |= {path.parent.name for path in (TOP / "rtsearch").glob("*/__init__.py")}
    floors = set().union(*FLOORS)
    assert there - floors == set()
    assert {unit for _, unit, _ in crossings()} <= floors


def test_imports_point_down():
    floor = {unit: level for level, units in enumerate(FLOORS) for unit in units}
    upward = [
        f"{file} imports {module}"
        for file, unit, module in crossings()
        if module != "rtsearch.__version__"
        and (unit, module) not in SHARED
        and floor[unit_of(module)] >= floor[unit]
    ]
    assert upward == []


def test_what_is_shared_is_still_needed():
    assert {(unit, module) for _, unit, module in crossings()} >= SHARED


def loaded_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=TOP)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "module",
    [
        "rtsearch",
        "rtsearch.config",
        "rtsearch.errors",
        "rtsearch.types",
        "rtsearch._util.metrics",
        "rtsearch._util.background",
        "rtsearch._util.wording",
    ],
)
def test_light_modules_load_nothing_heavy(module):
    assert loaded_by(f"import {module}") & set(HEAVY) == set()


def test_the_command_line_loads_nothing_heavy_until_it_is_needed():
    assert loaded_by("import rtsearch.cli.app") & (set(HEAVY) - {"typer"}) == set()


def test_that_the_look_at_loaded_modules_sees_them():
    assert {"cv2", "numpy"} <= loaded_by("import rtsearch.images.decode")


@pytest.mark.parametrize(
    "module", ["rtsearch.pipeline", "rtsearch.live", "rtsearch.jobs.analyze", "rtsearch.jobs.doctor"]
)
def test_nothing_needs_a_gpu_to_be_imported(module):
    assert loaded_by(f"import {module}") & {"tensorrt", "tensorrt_rtx", "cuda", "pycuda", "torch"} == set()
