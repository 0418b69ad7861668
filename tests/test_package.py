"""What others install: the source distribution is complete, and the wheel works without the checkout."""

from __future__ import annotations

import email
import hashlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

import rtsearch as package

TOP = Path(__file__).resolve().parents[1]
PAGE = TOP / "docs" / "package.md"
NOT_OURS = shutil.ignore_patterns(
    *(
        ".git",
        ".venv",
        "__pycache__",
        ".*_cache",
        ".hypothesis",
        "*.egg-info",
        "build",
        "dist",
        "demo-out",
        "site",
    ),
    *("downloads", "*.onnx", "*.engine", "*.engine.json"),
)


def call(command: list[str | Path], cwd: Path, env: dict[str, str]) -> str:
    done = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, check=False, cwd=cwd, env=env, timeout=300
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def environment(**changes: str) -> dict[str, str]:
    """The variables of this process, without a way to the checkout."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | changes


@pytest.fixture(scope="module")
def setuptools(tmp_path_factory) -> dict[str, str]:
    """An environment with a setuptools that builds the project; downloaded where it is missing or old."""
    there = importlib.util.find_spec("setuptools") and importlib.metadata.version("setuptools")
    if there and int(there.partition(".")[0]) >= 77:
        return environment()
    folder = tmp_path_factory.mktemp("setuptools")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", folder, "setuptools>=77"]
    if subprocess.run(pip, capture_output=True, check=False, timeout=300).returncode:
        pytest.skip("there is no setuptools of at least 77, and no network brings one; run: make test")
    return environment(PYTHONPATH=str(folder))


@pytest.fixture(scope="module")
def sdist(setuptools, tmp_path_factory) -> Path:
    """The source distribution, unpacked."""
    folder = tmp_path_factory.mktemp("sdist")
    shutil.copytree(TOP, folder / "checkout", ignore=NOT_OURS)
    build = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    call([sys.executable, "-c", build, folder], folder / "checkout", setuptools)
    with tarfile.open(folder / f"rtsearch-{package.__version__}.tar.gz") as file:
        if hasattr(tarfile, "data_filter"):
            file.extractall(folder, filter="data")
        else:  # Python 3.11.2, which Debian 12 has
            file.extractall(folder)
    return folder / f"rtsearch-{package.__version__}"


@pytest.fixture(scope="module")
def wheel(sdist, setuptools, tmp_path_factory) -> Path:
    """The wheel, built from the source distribution."""
    folder = tmp_path_factory.mktemp("wheel")
    build = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    call([sys.executable, "-c", build, folder], sdist, setuptools)
    return folder / f"rtsearch-{package.__version__}-py3-none-any.whl"


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The folder of programs of an environment that has rtsearch from the wheel, and no checkout."""
    folder = tmp_path_factory.mktemp("installed") / "venv"
    call([sys.executable, "-m", "venv", "--without-pip", folder], TOP, environment())
    programs = folder / "bin"
    ask = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    packages = Path(call([programs / "python", "-c", ask], folder, environment()).strip())
    options = ["--quiet", "--no-deps", "--no-compile", "--no-index", "--disable-pip-version-check"]
    pip = [sys.executable, "-m", "pip", "--python", programs / "python", "install", *options, wheel]
    call(pip, folder, environment())
    # A line of a .pth file adds a folder, but not what the .pth files in there add: no editable install.
    dependencies = [path for path in sys.path if Path(path).name.endswith("-packages")]
    (packages / "dependencies.pth").write_text("\n".join(dependencies) + "\n")
    lend_kernels(packages / "rtsearch" / "search")
    return programs


def lend_kernels(folder: Path) -> None:
    """Give an installed search the kernels that the checkout's has compiled, which takes 20 s of one core.

    numba names their folder after the path of the source.
    """
    ours = TOP / "rtsearch" / "search"
    for source in ours.glob("*.py"):
        shutil.copystat(source, folder / source.name)
    old, new = (f"search_{hashlib.sha1(str(path).encode()).hexdigest()}" for path in (ours, folder))
    for compiled in ours.glob(f"__pycache__/kernels-*/{old}"):
        shutil.copytree(compiled, folder / "__pycache__" / compiled.parent.name / new)


def files_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_source_distribution_holds_the_repository(sdist):
    git = subprocess.run(["git", "ls-files", "-z"], cwd=TOP, capture_output=True, text=True, check=False)
    tracked = (
        {name for name in git.stdout.split("\0") if (TOP / name).is_file()} if not git.returncode else set()
    )
    got = files_below(sdist)
    assert tracked - got == set()
    assert {"tests/conftest.py", "tools/check", ".ci/run", "config.yaml", "engines/README.md"} <= got
    assert not {name for name in got if name.endswith((".onnx", ".engine", ".pyc"))}


def test_the_wheel_holds_the_package_and_nothing_else(wheel, sdist):
    with zipfile.ZipFile(wheel) as file:
        names = {name for name in file.namelist() if ".dist-info/" not in name}
    assert names == {f"rtsearch/{name}" for name in files_below(sdist / "rtsearch")}
    assert {"rtsearch/py.typed", "rtsearch/config/config.yaml", "rtsearch/gpu/kernels.cu"} <= names


def test_what_an_index_shows(wheel):
    with zipfile.ZipFile(wheel) as file:
        metadata = email.message_from_bytes(file.read(f"rtsearch-{package.__version__}.dist-info/METADATA"))
    assert metadata["Version"] == package.__version__
    assert metadata["Author"] == "The rtsearch developers"
    assert metadata["License-Expression"] == "Apache-2.0"
    page = str(metadata.get_payload())
    assert page.strip() == PAGE.read_text(encoding="utf-8").strip()
    assert "![" not in page
    assert [link for link in re.findall(r"\]\(([^)]+)\)", page) if not link.startswith("https://")] == []


def test_the_workflow_tests_every_python_that_is_named():
    project = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    workflow = yaml.safe_load((TOP / ".github/workflows/tests.yml").read_text(encoding="utf-8"))
    tested = workflow["jobs"]["wheel"]["strategy"]["matrix"]["python"]
    named = [entry for entry in project["classifiers"] if re.search(r":: 3\.\d+$", entry)]
    assert tested == [entry.rpartition(" ")[2] for entry in named]
    assert project["requires-python"] == f">={tested[0]}"


def test_what_hosts_read_is_yaml():
    pages = [*(TOP / ".github").rglob("*.yml"), TOP / ".pre-commit-config.yaml"]
    assert len(pages) == 5
    assert all(isinstance(yaml.safe_load(page.read_text(encoding="utf-8")), dict) for page in pages)


def test_an_installed_copy_works(installed, model, index, photos, tmp_path):
    """In an empty folder; the lines of Python are those that an index shows."""
    (tmp_path / "mine.lib").symlink_to(index.library.folder)
    (tmp_path / "photo.jpg").symlink_to(photos / "skimage-coffee.png")
    env = environment(RTSEARCH_ENGINES=str(model.parent))
    command, python = installed / "rtsearch", installed / "python"
    assert "all required parts are here" in call([command, "doctor"], tmp_path, env)
    assert "yolo26n" in call([command, "model", "list"], tmp_path, env)
    assert call([command, "config"], tmp_path, env) == (TOP / "config.yaml").read_text(encoding="utf-8")
    program = re.search(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert program is not None
    said = call([python, "-c", f"{program[1]}\nimport rtsearch; print(rtsearch.__file__)"], tmp_path, env)
    assert "cup" in said
    assert Path(said.splitlines()[-1]).is_relative_to(installed.parent)
