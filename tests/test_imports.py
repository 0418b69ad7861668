"""Imports point down from room to room, and light modules stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[1]

# From the ground up. A room (a package or module right below rtsearch/) imports from lower floors only.
FLOORS = (
    {"errors"},
    {"_util"},
    {"config", "types"},
    {"images", "models", "search", "storage"},
    {"engines", "library", "recording", "sources"},
    {"memory", "render", "runners", "send", "service"},
    {"perception"},
    {"gpu"},
    {"pipeline"},
    {"live", "library_search", "words"},
    {"ui", "web"},
    {"jobs"},
    {"cli"},
    {"__main__"},
)
MOST_MODULES = 8  # on the ground floor, beside the packages
HEAVY = ("cv2", "numba", "onnxruntime", "onnx", "pyarrow", "tensorrt", "tensorrt_rtx", "cuda", "PIL", "typer")


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def imports() -> list[tuple[str, str, str]]:
    """(file, its room, module of ours that it imports), those for types and inside functions included."""
    found = []
    for path in sorted((TOP / "rtsearch").rglob("*.py")):
        inside = path.relative_to(TOP / "rtsearch")
        room = "" if inside.name == "__init__.py" and len(inside.parts) == 1 else inside.parts[0]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{inside}: relative import"
                modules = [f"{node.module}.{alias.name}" for alias in node.names]
                if node.module != "rtsearch":
                    modules = [name if file_of(name) else str(node.module) for name in modules]
            else:
                continue
            ours = [module for module in modules if module.split(".")[0] == "rtsearch"]
            found += [(str(inside), room.removesuffix(".py"), module) for module in ours]
    return found


def file_of(module: str) -> str:
    """The file of a module of ours, below rtsearch/; "" where there is no such module."""
    path = TOP.joinpath(*module.split("."))
    files = [file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()]
    return str(files[0].relative_to(TOP / "rtsearch")) if files else ""


def crossings() -> list[tuple[str, str, str]]:
    """(file, room, imported module) of every import that leaves its room."""
    # The front door opens all rooms, lazily.
    return [(file, room, module) for file, room, module in imports() if room and room_of(module) != room]


def test_every_room_has_its_floor():
    modules = {path.stem for path in (TOP / "rtsearch").glob("*.py") if path.stem != "__init__"}
    packages = {path.parent.name for path in (TOP / "rtsearch").glob("*/__init__.py")}
    assert modules | packages == set().union(*FLOORS)
    assert len(modules) < MOST_MODULES


def test_imports_point_down():
    floor = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}
    upward = [
        f"{file} imports {module}"
        for file, room, module in crossings()
        if module != "rtsearch.__version__" and floor[room_of(module)] >= floor[room]
    ]
    assert upward == []


def test_no_files_import_each_other():
    """Not in a circle either; a package's own file gathers its modules, which may take each other from it."""
    graph: dict[str, set[str]] = {}
    for file, _, module in imports():
        graph.setdefault(file, set()).add(file_of(module))
    for file in [file for file in graph if file.endswith("__init__.py")]:
        del graph[file]
    assert len(graph) > 100
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


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
        "rtsearch._util.signals",
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
