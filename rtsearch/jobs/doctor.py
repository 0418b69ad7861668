"""A look at this machine: what is there, what is missing, what to do about it. Nothing is changed."""

from __future__ import annotations

import contextlib
import ctypes.util
import importlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from rtsearch._util.cpu import usable_cores
from rtsearch._util.dependencies import NEEDED, load_problems
from rtsearch._util.wording import one_line

__all__ = ["Finding", "examine"]

State = Literal["ok", "missing", "optional"]

_NAMED = 7  # packages whose versions matter most
_OF_THE_PAGE = ("starlette", "uvicorn", "websockets", "segno")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: of the thing.
        state: ``ok``; ``missing`` where rtsearch needs it; ``optional`` where it can do without.
        what: was found.
        advice: what to do, or "".
    """

    name: str
    state: State
    what: str
    advice: str = ""


def examine() -> list[Finding]:
    """Look at everything, in the order of need; where a package is broken, at what works without."""
    looks: Sequence[Callable[[], Finding]] = (_display, _ffmpeg)
    packages = _packages()
    if packages.state == "ok":
        looks = (_cpu, _model, _display, _windows, _cameras, _ffmpeg, _screen, _page, _gpu, _tensorrt)
    return [_python(), packages, *(look() for look in looks)]


def _python() -> Finding:
    system = f"{platform.system()} {platform.release()}, {platform.machine()}"
    return Finding("python", "ok", f"{platform.python_version()} on {system}")


def _cpu() -> Finding:
    cores = usable_cores()
    import llvmlite.binding as llvm

    features = llvm.get_host_cpu_features()
    sets = {"avx512vnni": "AVX-512 VNNI", "avx2": "AVX2"}
    fast = next((text for name, text in sets.items() if features.get(name)), "generic search kernels")
    if cores < 2:
        return Finding("cpu", "optional", f"{cores} core, {fast}", "two cores are wanted for a live picture")
    return Finding("cpu", "ok", f"{cores} cores, {fast}")


def _packages() -> Finding:
    problems = [problem.partition("; ") for problem in _load_problems().values()]
    if problems:
        advice = dict.fromkeys(way_out for _, _, way_out in problems)
        return Finding("packages", "missing", "; ".join(what for what, _, _ in problems), "; ".join(advice))
    return Finding("packages", "ok", ", ".join(map(_with_version, list(NEEDED.values())[:_NAMED])))


@cache
def _load_problems() -> dict[str, str]:
    """Load each for real, once: one that is installed may be broken, or lack a library of the system."""
    return load_problems()


def _with_version(package: str) -> str:
    try:
        return f"{package} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:  # it came under another name, as conda has them
        return package


def _model() -> Finding:
    from rtsearch.config import Settings
    from rtsearch.errors import ModelError
    from rtsearch.models import ModelSpec, default_folder, resolve

    name = Settings().model.name
    try:
        path = resolve(name, default_folder())
        spec = ModelSpec.read(path)
    except ModelError as error:
        what, _, advice = str(error).partition("; ")
        return Finding("model", "missing", what, advice or f"run: rtsearch model pull {name}")
    return Finding("model", "ok", f"{spec.name} ({spec.licence}) in {path.parent}")


def _display() -> Finding:
    from rtsearch.ui.display import display_problem, prepare_windows
    from rtsearch.ui.x11 import has_window_manager, screen_wh

    problem = display_problem()
    if problem:
        return Finding("display", "optional", problem, "run works without a window: --headless --out OUT.mp4")
    name = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") or "desktop"
    if not prepare_windows():
        lacks = f"{name}, but a window may stay black without libX11-xcb"
        return Finding("display", "optional", lacks, "apt install libx11-xcb1")
    wh = screen_wh()
    if wh is None:
        return Finding("display", "ok", name)
    alone = "" if has_window_manager() else ", no window manager: windows have no frame"
    return Finding("display", "ok", f"{name}, {wh[0]}x{wh[1]}{alone}")


def _windows() -> Finding:
    from rtsearch.ui.display import OPENCV_ANEW, headless_opencv, toolkit_problem

    what, _, advice = toolkit_problem().partition("; ")
    if what:
        return Finding("windows", "optional", what, advice)
    beside = headless_opencv()
    if beside:
        return Finding("windows", "optional", f"{beside[0]} lies over opencv-python", OPENCV_ANEW)
    import cv2

    return Finding("windows", "ok", f"OpenCV's, of {cv2.currentUIFramework()}")


def _cameras() -> Finding:
    from rtsearch.sources import cameras

    found = cameras()
    if not found:
        return Finding("cameras", "optional", "none found", "plug one in, or give run a --source")
    return Finding("cameras", "ok", ", ".join(f"{device} ({name})" for device, name in found.items()))


def _ffmpeg() -> Finding:
    path = shutil.which("ffmpeg")
    if path is None:
        return Finding("ffmpeg", "optional", "not installed", "apt install ffmpeg: smaller videos from --out")
    return Finding("ffmpeg", "ok", path)


def _screen() -> Finding:
    if importlib.util.find_spec("mss") is None:
        return Finding("screen grab", "optional", "mss is not installed", "pip install 'rtsearch[screen]'")
    try:
        importlib.import_module("mss")
    except Exception as error:  # a damaged package fails in its own way
        why = f"mss does not load ({one_line(error) or type(error).__name__})"
        return Finding("screen grab", "optional", why, "run: pip install --force-reinstall mss")
    return Finding("screen grab", "ok", f"mss {importlib.metadata.version('mss')}")


def _page() -> Finding:
    lacks = [name for name in _OF_THE_PAGE if importlib.util.find_spec(name) is None]
    if lacks:
        what = f"not installed: {', '.join(lacks)}"
        return Finding("page", "optional", what, "for rtsearch serve: pip install 'rtsearch[web]'")
    return Finding("page", "ok", ", ".join(map(_with_version, _OF_THE_PAGE)))


def _gpu() -> Finding:
    if ctypes.util.find_library("cuda") is None:
        return Finding("gpu", "optional", "no NVIDIA driver", "not needed: the CPU is the default")
    from rtsearch.errors import MissingDependencyError, RunnerError
    from rtsearch.runners import open_device

    try:
        device = open_device()
    except MissingDependencyError as error:
        return Finding("gpu", "optional", "an NVIDIA driver, and nothing that speaks to it", str(error))
    except RunnerError as error:
        return Finding("gpu", "optional", str(error), "not needed: the CPU is the default")
    with contextlib.closing(device):
        capability = ".".join(str(part) for part in device.compute_capability)
        _, total_bytes = device.memory_bytes()
        return Finding("gpu", "ok", f"{device.name}, compute {capability}, {total_bytes / 2**30:.0f} GiB")


def _tensorrt() -> Finding:
    from rtsearch.engines import installed_flavours, load_flavour
    from rtsearch.errors import MissingDependencyError, RunnerError

    there = installed_flavours()
    if not there:
        advice = "for an NVIDIA GPU: pip install 'rtsearch[gpu,rtx]'"
        return Finding("tensorrt", "optional", "not installed", advice)
    found = []
    for name in there:
        try:
            found.append(f"{name} {load_flavour(name).version}")
        except (MissingDependencyError, RunnerError) as error:
            return Finding("tensorrt", "optional", f"{name} is installed but does not work", str(error))
    return Finding("tensorrt", "ok", ", ".join(found))
