"""Packages that are missing or do not load: one line and the way out, from every command."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from rtsearch._util import dependencies
from rtsearch._util.dependencies import NEEDED, import_problem, load_problem, load_problems

TOP = Path(__file__).resolve().parents[1]
NO_GL = "libGL.so.1: cannot open shared object file: No such file or directory"
FAILS = {
    "cv2": f"raise ImportError({NO_GL!r})",
    "numba": "raise ImportError('Numba needs NumPy 2.4 or less. Got NumPy 2.9.')",
    "onnxruntime": "raise OSError('cannot load library')",
    "norfair": "import no_such_package",
}


def shadow(folder: Path, name: str, library_bytes: int = 0) -> Path:
    """A folder whose package of that name fails as it is imported; pyarrow's library is cut off."""
    (folder / name).mkdir()
    if name != "pyarrow":
        (folder / name / "__init__.py").write_text(FAILS[name])
        return folder
    spec = importlib.util.find_spec("pyarrow")
    assert spec is not None
    assert spec.origin is not None
    for path in Path(spec.origin).parent.iterdir():
        if path.name.startswith("lib."):
            (folder / name / path.name).write_bytes(path.read_bytes()[:library_bytes])
        else:
            (folder / name / path.name).symlink_to(path)
    return folder


def rtsearch(folder: Path, *args: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rtsearch", *map(str, args)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), str(TOP)])},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def packages_of(folder: Path) -> dict[str, str]:
    """What doctor finds of the packages."""
    done = rtsearch(folder, "doctor", "--json")
    assert (done.returncode, done.stderr) == (1, "")
    return next(finding for finding in json.loads(done.stdout) if finding["name"] == "packages")


BROKEN = [
    ("cv2", f"opencv-python does not load ({NO_GL})", "run: apt install libgl1"),
    ("numba", "numba does not load (Numba needs NumPy", "run: pip install --force-reinstall numba"),
    ("onnxruntime", "onnxruntime does not load (cannot", "run: pip install --force-reinstall onnxruntime"),
    ("pyarrow", "pyarrow does not load (", "run: pip install --force-reinstall pyarrow"),
    ("norfair", "norfair-enough does not load (", "run: pip install --force-reinstall norfair-enough"),
]


@pytest.mark.parametrize(("name", "what", "advice"), BROKEN)
def test_a_package_that_does_not_load(library, photos, tmp_path, name, what, advice):
    folder = shadow(tmp_path, name)
    photo = photos / "skimage-coffee.png"
    query, run = ("query", library, photo), ("run", library, "--source", photo, "--headless")
    done = rtsearch(folder, *(run if name == "norfair" else query))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"rtsearch: {what}")
    assert done.stderr.endswith(f"{advice}\n")
    assert done.stderr.count("\n") == 1


def test_doctor_names_every_package_that_does_not_load(tmp_path):
    for name, *_ in BROKEN:
        shadow(tmp_path, name)
    packages = packages_of(tmp_path)
    assert packages["state"] == "missing"
    for _, what, advice in BROKEN:
        assert what in packages["what"]
        assert advice in packages["advice"]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere another signal comes, or an error")
def test_a_library_that_was_cut_off_ends_only_the_process_that_tries_it(tmp_path):
    packages = packages_of(shadow(tmp_path, "pyarrow", library_bytes=5000))
    assert packages["what"] == "pyarrow does not load (it ends the process with SIGBUS)"
    assert packages["advice"] == "run: pip install --force-reinstall pyarrow"


def failing(name: str, error: Exception, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What is said when a package raises an error as it is imported."""
    for module in [m for m in sys.modules if m.partition(".")[0] == name]:
        monkeypatch.delitem(sys.modules, module)
    (folder / f"{name}.py").write_text(f"raise {error!r}")
    monkeypatch.syspath_prepend(str(folder))
    return load_problem(name)


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (ImportError(NO_GL), "run: apt install libgl1"),
        (ImportError(NO_GL.replace("libGL.so.1", "libxcb.so.1")), "run: apt install libxcb1"),
        (
            ImportError(NO_GL.replace("libGL.so.1", "libnew.so.3")),
            "install the system's package that has libnew.so.3",
        ),
        (AttributeError("_ARRAY_API not found"), "run: pip install --force-reinstall filelock"),
        (ValueError(), "run: pip install --force-reinstall filelock"),
    ],
)
def test_the_way_out(tmp_path, monkeypatch, error, advice):
    monkeypatch.setattr(dependencies, "_loads", lambda _: True)
    assert failing("filelock", error, tmp_path, monkeypatch).endswith(f"; {advice}")


def test_every_library_of_the_system_is_named_at_once(tmp_path, monkeypatch):
    """Else a slim image would need a try for each."""
    monkeypatch.setattr(dependencies, "_loads", lambda name: "std" in name)
    said = failing("filelock", ImportError(NO_GL), tmp_path, monkeypatch)
    assert said.endswith("run: apt install libgl1 libglib2.0-0 libxcb1 libgomp1")


def test_errors_that_are_not_of_an_import():
    assert import_problem(ValueError("yaml is unhappy")) == ""
    assert import_problem(ModuleNotFoundError("no rtsearch.new", name="rtsearch.new")) == ""
    yaml = importlib.import_module("yaml")
    with pytest.raises(yaml.YAMLError) as caught:
        yaml.safe_load("[")
    assert import_problem(caught.value) == ""


def test_all_that_is_needed_loads():
    assert load_problems() == {}


def test_a_package_that_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert load_problem("onnx") == "onnx is not installed; run: pip install onnx"


def test_every_dependency_is_known():
    project = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = {line.partition(">")[0] for line in project["dependencies"]}
    assert names <= set(NEEDED.values())


def test_versions_of_filelock_with_published_weaknesses_are_refused():
    project = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (wanted,) = (line for line in project["dependencies"] if line.startswith("filelock"))
    floor = re.search(r">=(\d+)\.(\d+)\.(\d+)", wanted)
    assert floor is not None
    assert tuple(map(int, floor.groups())) >= (3, 20, 3)
