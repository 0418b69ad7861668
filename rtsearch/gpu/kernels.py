"""Compile kernels.cu for one GPU with NVRTC, and keep the result in the user's cache folder.

NVRTC needs neither a GPU nor a driver nor the CUDA toolkit. The name of a cached result is made from the
source, the options, NVRTC's version and the GPU's compute capability, so a result for another GPU or version
is not found.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any

from rtsearch._util.atomic import write_atomic
from rtsearch._util.paths import user_cache
from rtsearch._util.wording import one_line
from rtsearch.errors import MissingDependencyError, RunnerError

__all__ = ["KERNELS", "cache_folder", "compiled", "source"]

_log = logging.getLogger(__name__)

KERNELS = ("letterbox", "candidates", "rank", "choose", "weigh", "pool", "describe", "project")
"""Names of the kernels in kernels.cu in the order in which they run; the network runs after the first."""

_OPTIONS = ("--std=c++17",)
_MOST_BYTES = 16 << 20  # compiled kernels have 0.3 MB


def source() -> bytes:
    """Return the text of kernels.cu."""
    return (Path(__file__).parent / "kernels.cu").read_bytes()


def cache_folder() -> Path | None:
    """Return the folder for compiled kernels; None for a user without a home folder."""
    cache = user_cache()
    return None if cache is None else cache / "gpu"


def compiled(compute_capability: tuple[int, int], folder: Path | None = None) -> bytes:
    """Return code for ``Device.load`` from the cache; compile it (about a second) where it is not cached.

    Args:
        compute_capability: major and minor compute capability of the GPU.
        folder: cache folder; None takes the user's.

    Raises:
        MissingDependencyError: NVRTC is not installed.
        RunnerError: the GPU is too old for NVRTC.
    """
    nvrtc = _import_nvrtc()
    version = "{}.{}".format(*_call(nvrtc, "nvrtcVersion"))
    options = _options(nvrtc, compute_capability)
    digest = hashlib.sha256(b"\0".join([source(), *options, version.encode()])).hexdigest()
    folder = folder or cache_folder()
    path = None if folder is None else folder / f"kernels-{digest[:32]}.bin"
    code = None if path is None else _kept(path)
    if code is None:
        code = _compile(nvrtc, options)
        _log.info("GPU kernels compiled for compute capability %d.%d", *compute_capability)
        if path is not None:
            _keep(path, code)
    return code


def _keep(path: Path, code: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, hashlib.sha256(code).digest() + code)
    except OSError as error:
        _log.debug("compiled kernels are not kept: %s", error)


def _kept(path: Path) -> bytes | None:
    """Return the content of a cache file, or None if it is not whole."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            return None
        content = path.read_bytes()
    except OSError:
        return None
    digest, code = content[:32], content[32:]
    return code if code and hashlib.sha256(code).digest() == digest else None


def _options(nvrtc: Any, compute_capability: tuple[int, int]) -> list[bytes]:
    """Return options for machine code; for GPUs newer than NVRTC, for PTX that the driver translates."""
    wanted = compute_capability[0] * 10 + compute_capability[1]
    known = [int(arch) for arch in _call(nvrtc, "nvrtcGetSupportedArchs")]
    older = [arch for arch in known if arch <= wanted]
    if not older:
        raise RunnerError(
            f"this GPU is too old: its compute capability is {wanted / 10}, needed is {min(known) / 10} or "
            "more; without it rtsearch runs on the CPU"
        )
    kind = "sm" if wanted in known else "compute"
    return [f"--gpu-architecture={kind}_{max(older)}".encode(), *(option.encode() for option in _OPTIONS)]


def _compile(nvrtc: Any, options: list[bytes]) -> bytes:
    program = _call(nvrtc, "nvrtcCreateProgram", source(), b"kernels.cu", 0, [], [])
    try:
        status, *_ = nvrtc.nvrtcCompileProgram(program, len(options), options)
        if int(status):
            log = bytes(_call(nvrtc, "nvrtcGetProgramLogSize", program))
            _call(nvrtc, "nvrtcGetProgramLog", program, log)
            reason = " ".join(log.decode(errors="replace").strip("\0 \n").split())[:300]
            raise RunnerError(f"the GPU kernels cannot be compiled: {reason}")
        kind = "CUBIN" if b"=sm_" in options[0] else "PTX"
        code = bytes(_call(nvrtc, f"nvrtcGet{kind}Size", program))
        # NVRTC fills the bytes in place, as in NVIDIA's samples.
        _call(nvrtc, f"nvrtcGet{kind}", program, code)
        return code
    finally:
        nvrtc.nvrtcDestroyProgram(program)


def _call(nvrtc: Any, name: str, *arguments: Any) -> Any:
    status, *values = getattr(nvrtc, name)(*arguments)
    if int(status):
        raise RunnerError(f"NVRTC failed in {name}: {status.name}")
    return values[0] if len(values) == 1 else tuple(values)


def _import_nvrtc() -> Any:
    hint = "run: pip install 'rtsearch[gpu]'"
    try:
        from cuda.bindings import nvrtc
    except ImportError as error:
        raise MissingDependencyError(f"package cuda-bindings cannot be loaded ({error}); {hint}") from None
    try:
        nvrtc.nvrtcVersion()
    except Exception as error:  # the bindings raise unrelated types where the library is missing
        reason = one_line(error, 120)
        raise MissingDependencyError(f"NVRTC cannot be loaded ({reason}); {hint}") from None
    return nvrtc
