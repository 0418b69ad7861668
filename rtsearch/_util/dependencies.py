"""Check the packages that rtsearch needs, and word the message about one that does not load.

An installed package can fail to load: a slim image lacks a library of the system, a copy is truncated, or two
packages were built for different versions of a third. Each fails in its own way inside an import, and a
truncated library ends the process.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import re
import signal
import subprocess
import sys
import traceback

from rtsearch._util.wording import one_line

__all__ = ["NEEDED", "import_problem", "load_problem", "load_problems"]

NEEDED = {
    "numpy": "numpy",
    "cv2": "opencv-python",
    "av": "av",
    "numba": "numba",
    "onnxruntime": "onnxruntime",
    "onnx": "onnx",
    "pyarrow": "pyarrow",
    "llvmlite": "llvmlite",
    "pydantic": "pydantic",
    "yaml": "pyyaml",
    "filelock": "filelock",
    "cachetools": "cachetools",
    "PIL": "pillow",
    "norfair": "norfair-enough",
    "typer": "typer",
    "rich": "rich",
}
"""Names of packages by the names of their modules, the large ones first."""

_DEBIAN = {
    "libGL.so.1": "libgl1",
    "libgthread-2.0.so.0": "libglib2.0-0",
    "libxcb.so.1": "libxcb1",
    "libstdc++.so.6": "libstdc++6",
    "libgomp.so.1": "libgomp1",
}
_MOST_SAID = 160  # characters of a reason in a message
_LIBRARY = re.compile(r"(lib\S+\.so[.\d]*): cannot open shared object file")


_LOADS = (
    "import sys; from rtsearch._util.dependencies import load_problem\n"
    "for name in sys.argv[1:]: print(name, end='\\t', flush=True); print(load_problem(name), flush=True)"
)


def load_problems() -> dict[str, str]:
    """Load every package of ``NEEDED`` in another process, which a broken package may end.

    Returns:
        problem and remedy, by the name of each package that does not load.
    """
    problems: dict[str, str] = {}
    left = list(NEEDED)
    same = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    while left:
        # -P keeps files of the current folder from being imported.
        command = [sys.executable, "-P", "-c", _LOADS, *left]
        done = subprocess.run(command, env=same, capture_output=True, encoding="utf-8", check=False)
        lines = [line.partition("\t") for line in done.stdout.split("\n") if "\t" in line]
        problems |= {name: problem for name, _, problem in lines if problem}
        if done.returncode < 0 and lines:
            name = lines[-1][0]
            died = f"it ends the process with {signal.Signals(-done.returncode).name}"
            problems[name] = _told(name, died)
        left = left[max(1, len(lines)) :]
    return problems


def load_problem(name: str) -> str:
    """Import a package of ``NEEDED``; return its problem and the remedy, or ""."""
    try:
        importlib.import_module(name)
    except Exception as error:
        return import_problem(error) or _problem(name, error)
    return ""


def import_problem(error: BaseException) -> str:
    """Return the message about an error from importing a package of ``NEEDED``; "" for other errors."""
    name = _imported(error)
    return _problem(name, error) if name else ""


def _imported(error: BaseException) -> str:
    """Return the package of ``NEEDED`` whose import raised an error, or ""."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        name = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if frame.f_code.co_name == "<module>" and name in NEEDED:
            return name
    name = (getattr(error, "name", None) or "").partition(".")[0] if isinstance(error, ImportError) else ""
    return name if name in NEEDED else ""


def _problem(name: str, error: BaseException) -> str:
    package = NEEDED[name]
    if isinstance(error, ModuleNotFoundError) and error.name == name:
        return f"{package} is not installed; run: pip install {package}"
    return _told(name, one_line(error, _MOST_SAID) or type(error).__name__)


def _told(name: str, reason: str) -> str:
    return f"{NEEDED[name]} does not load ({reason}); {_way_out(NEEDED[name], reason)}"


def _way_out(package: str, reason: str) -> str:
    library = _LIBRARY.search(reason)
    if library is None:
        return f"run: pip install --force-reinstall {package}"
    if library[1] not in _DEBIAN:
        return f"install the system's package that has {library[1]}"
    lacking = [debian for name, debian in _DEBIAN.items() if name == library[1] or not _loads(name)]
    return f"run: apt install {' '.join(lacking)}"


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
