"""Compiles kernels.cu for one GPU with NVRTC, and keeps the result in the user's cache folder.

NVRTC needs neither a GPU nor a driver nor the CUDA toolkit. A result is kept under a name made of the source,
the options, NVRTC's version and the GPU's compute capability, so one that does not fit is simply not found.
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
"""Names in kernels.cu, in the order in which they run; the network comes after the first."""

_OPTIONS = ("--std=c++17",)
_MOST_BYTES = 16 << 20  # what was compiled has 0.3 MB


def source() -> bytes:
    """The text of kernels.cu."""
    return (Path(__file__).parent / "kernels.cu").read_bytes()


def cache_folder() -> Path | None:
    """Return where compiled kernels are kept; None for a user without a home folder."""
    cache = user_cache()
    return None if cache is None else cache / "gpu"


def compiled(compute_capability: tuple[int, int], folder: Path | None = None) -> bytes:
    """Code for ``Device.load``: from the cache, or compiled now (about a second) and kept there.

    Args:
        compute_capability: of the GPU.
        folder: of the cache; the user's where none is given.

    Raises:
        MissingDependencyError: NVRTC is not installed.
        RunnerError: the GPU is too old for it.
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
    """Machine code for the GPU where NVRTC knows it; for a newer one, code that its driver translates."""
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
        _call(nvrtc, f"nvrtcGet{kind}", program, code)  # fills the bytes in place, as NVIDIA's samples do
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
    except Exception as error:  # the bindings have no common base for a library that is not there
        reason = one_line(error, 120)
        raise MissingDependencyError(f"NVRTC cannot be loaded ({reason}); {hint}") from None
    return nvrtc
