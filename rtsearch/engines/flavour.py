"""Load the library that builds and runs engines, TensorRT or TensorRT-RTX.

    tensorrt       10.13 to 11.x; builds on the GPU that will run the engine
    tensorrt_rtx   1.7 to 1.x; builds without a GPU, in seconds, for several generations of GPUs; the final
                   code is compiled when the engine is opened on a GPU

Both take the types of tensors from the ONNX file (strongly typed), so ``half.py`` decides on the precision.
They are imported on demand.
"""

from __future__ import annotations

import collections
import functools
import importlib
import importlib.util
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

from rtsearch._util.wording import one_line
from rtsearch.errors import MissingDependencyError, RunnerError

__all__ = ["Flavour", "FlavourName", "Gpu", "installed_flavours", "load_flavour", "targets_of"]

_log = logging.getLogger(__name__)

FlavourName = Literal["tensorrt", "tensorrt_rtx"]
_NAMES: tuple[FlavourName, ...] = get_args(FlavourName)
# Oldest supported version, first unsupported one.
_VERSIONS = {"tensorrt": ((10, 13), (12, 0)), "tensorrt_rtx": ((1, 7), (2, 0))}
_INSTALL = {
    "tensorrt": "pip install tensorrt, from the vendor's package index",
    "tensorrt_rtx": "pip install 'rtsearch[rtx]'",
}
_TURING = "7.5"


class Gpu(NamedTuple):
    """GPU of this machine, as ``runners.device.Device`` describes it.

    Attributes:
        name: name, as the driver gives it.
        compute_capability: major and minor version.
    """

    name: str
    compute_capability: tuple[int, int]

    @property
    def text(self) -> str:
        """Compute capability as text, such as ``8.6``."""
        return ".".join(str(part) for part in self.compute_capability)


@dataclass(frozen=True, slots=True)
class Flavour:
    """Loaded library that builds and runs engines.

    Attributes:
        name: name of the module.
        version: version of the library.
        module: the imported module.
        logger: logger that the library writes to; there is one per process.
        complaints: latest error messages of the library, oldest first.
    """

    name: FlavourName
    version: str
    module: Any
    logger: Any
    complaints: collections.deque[str]

    def reason(self, otherwise: str) -> str:
        """Return the reason for the last failure in one line, and clear the complaints."""
        said = " ".join("; ".join(self.complaints).split())
        self.complaints.clear()
        return said[:300] or otherwise

    @property
    def needs_gpu(self) -> bool:
        """Tell whether building needs the GPU that will run the engine."""
        return self.name == "tensorrt"


def installed_flavours() -> tuple[FlavourName, ...]:
    """List the libraries that can be imported, the preferred one first, without importing them."""
    return tuple(name for name in _NAMES if importlib.util.find_spec(name) is not None)


def load_flavour(name: FlavourName | Literal["auto"] = "auto", *, gpu: bool = True) -> Flavour:
    """Import a library.

    Args:
        name: name of the library; ``auto`` takes ``tensorrt`` where it is installed, else ``tensorrt_rtx``.
        gpu: False on machines without a GPU, where ``auto`` prefers ``tensorrt_rtx``.

    Raises:
        MissingDependencyError: the library is not installed, or its own libraries are missing.
        RunnerError: the version is not supported.
    """
    if name == "auto":
        there = installed_flavours()
        if not there:
            raise MissingDependencyError(
                f"no TensorRT is installed; run: {_INSTALL['tensorrt_rtx']}, or: {_INSTALL['tensorrt']}"
            )
        return _first_that_loads(there if gpu else there[::-1])
    return _load(name)


def _first_that_loads(names: Sequence[FlavourName]) -> Flavour:
    """Return the first library that can be loaded; the public index has stubs under these names."""
    try:
        return _load(names[0])
    except MissingDependencyError:
        if len(names) == 1:
            raise
        return _first_that_loads(names[1:])


@functools.cache
def _load(name: FlavourName) -> Flavour:
    try:
        module = importlib.import_module(name)
        version = str(module.__version__)
    except Exception as error:  # stubs and wheels without their libraries raise unrelated types
        raise MissingDependencyError(
            f"{name} cannot be loaded ({one_line(f'{type(error).__name__}: {error}')}); run: {_INSTALL[name]}"
        ) from None
    least, below = _VERSIONS[name]
    if not least <= _numbers(version) < below:
        known = f"{'.'.join(map(str, least))} to below {'.'.join(map(str, below))}"
        raise RunnerError(f"{name} {version} is not known to rtsearch; install {known}")
    complaints: collections.deque[str] = collections.deque(maxlen=4)
    return Flavour(name, version, module, _logger(module, complaints), complaints)


def targets_of(flavour: Flavour, gpu: Gpu | None) -> tuple[str, ...]:
    """Return the compute capabilities that an engine is built for, such as ``8.6``; lowest first.

    ``tensorrt`` builds for the GPU of this machine. ``tensorrt_rtx`` builds for all GPUs that it supports,
    but for Turing (7.5) separately and only on such a GPU: with Turing in the list an engine of YOLO26n grows
    from 9 to 32 MB, and the vendor warns that it gets slower on the others.

    Args:
        flavour: library that builds the engine.
        gpu: GPU of this machine, or None without one.

    Raises:
        RunnerError: the library cannot build for that GPU, or needs a GPU and the machine has none.
    """
    own = None if gpu is None else gpu.text
    if flavour.name == "tensorrt":
        if own is None:
            raise RunnerError("tensorrt builds engines on the GPU that runs them, and there is none here")
        return (own,)
    known = [
        f"{int(member) // 10}.{int(member) % 10}"
        for name, member in flavour.module.ComputeCapability.__members__.items()
        if name.startswith("SM")
    ]
    if own is not None and own not in known:
        raise RunnerError(
            f"{flavour.name} {flavour.version} makes no code for this GPU (compute capability {own}; it "
            f"knows {', '.join(known)}); run: {_INSTALL['tensorrt']}"
        )
    return (_TURING,) if own == _TURING else tuple(target for target in known if target != _TURING)


def _logger(module: Any, complaints: collections.deque[str]) -> Any:
    levels = {"VERBOSE": logging.DEBUG, "INFO": logging.DEBUG, "WARNING": logging.INFO}

    class Logger(module.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            module.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            _log.log(levels.get(severity.name, logging.INFO), "%s: %s", module.__name__, message)
            if severity.name in ("ERROR", "INTERNAL_ERROR"):
                complaints.append(message)

    return Logger()


def _numbers(version: str) -> tuple[int, ...]:
    parts = version.split(".")[:2]
    return tuple(int(part) if part.isdigit() else 0 for part in parts)
