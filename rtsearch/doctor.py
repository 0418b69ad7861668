"""A look at this machine: what is there, what is missing, what to do about it. Nothing is changed."""

from __future__ import annotations

import ctypes.util
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

__all__ = ["Finding", "examine"]

State = Literal["ok", "missing", "optional"]


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
    """Everything, in the order in which a newcomer needs it."""
    looks: Iterable[Callable[[], Finding]] = (
        _python, _cpu, _packages, _model, _display, _cameras, _ffmpeg, _screen, _gpu, _tensorrt
    )  # fmt: skip
    return [look() for look in looks]


def _python() -> Finding:
    return Finding("python", "ok", f"{platform.python_version()} on {platform.platform(terse=True)}")


def _cpu() -> Finding:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    import llvmlite.binding as llvm

    features = llvm.get_host_cpu_features()
    fast = "AVX2" if features.get("avx2") else "portable search kernels"
    if cores < 2:
        return Finding("cpu", "optional", f"{cores} core, {fast}", "two cores are wanted for a live picture")
    return Finding("cpu", "ok", f"{cores} cores, {fast}")


def _packages() -> Finding:
    names = ("numpy", "opencv-python", "numba", "onnxruntime", "onnx", "pyarrow")
    versions = []
    for name in names:
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            return Finding("packages", "missing", f"no {name}", "run: pip install -e . (or make demo)")
    return Finding("packages", "ok", ", ".join(versions))


def _model() -> Finding:
    from rtsearch.config import Settings
    from rtsearch.errors import ModelError
    from rtsearch.models import ModelSpec, default_folder, resolve

    name = Settings().model.name
    try:
        path = resolve(name, default_folder())
        spec = ModelSpec.read(path)
    except ModelError as error:
        return Finding("model", "missing", str(error), f"run: rtsearch model pull {name}")
    return Finding("model", "ok", f"{spec.name} ({spec.licence}) in {path.parent}")


def _display() -> Finding:
    from rtsearch.window import display_problem

    problem = display_problem()
    if problem:
        return Finding("display", "optional", problem, "run works without a window: --headless --out OUT.mp4")
    return Finding(
        "display", "ok", os.environ.get("WAYLAND_DISPLAY") or os.environ.get("DISPLAY") or "desktop"
    )


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
    return Finding("screen grab", "ok", f"mss {importlib.metadata.version('mss')}")


def _gpu() -> Finding:
    library = ctypes.util.find_library("cuda")
    if library is None:
        return Finding("gpu", "optional", "no NVIDIA driver", "not needed: the CPU is the default")
    command = shutil.which("nvidia-smi")
    if command is None:
        return Finding("gpu", "ok", f"NVIDIA driver {library}")
    query = [command, "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        return Finding("gpu", "optional", f"nvidia-smi failed: {error}", "check the driver")
    return Finding("gpu", "ok", "; ".join(answer.stdout.strip().splitlines()))


def _tensorrt() -> Finding:
    for module in ("tensorrt", "tensorrt_rtx"):
        if importlib.util.find_spec(module) is not None:
            return Finding(
                "tensorrt", "optional", f"{module} is installed", "rtsearch runs networks on the CPU so far"
            )
    return Finding("tensorrt", "optional", "not installed", "not needed: the CPU is the default")
