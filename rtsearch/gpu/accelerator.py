"""Find a GPU, find or build its engine, and make a backend of the two.

With ``gpu.engine=auto``, a missing GPU or library is only logged and the CPU is used. A library that the
settings name must be there, or an error is raised.
"""

from __future__ import annotations

import importlib.util
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtsearch.config import Settings
from rtsearch.errors import EngineError, MissingDependencyError, RunnerError
from rtsearch.models.spec import ModelSpec
from rtsearch.perception.backend import InferenceBackend
from rtsearch.types import U8Array

if TYPE_CHECKING:
    from rtsearch.engines import Flavour, Gpu, Order
    from rtsearch.runners.device import Device

__all__ = ["Accelerator", "find_accelerator"]

_log = logging.getLogger(__name__)

_LIBRARIES = ("tensorrt", "tensorrt_rtx")
_POLL_S = 0.2
_TELL_S = 10.0  # interval of messages: a build with TensorRT takes minutes
_WARM_UP_PASSES = 3  # an engine chooses and loads its kernels in the first passes


@dataclass(frozen=True, slots=True)
class Accelerator:
    """GPU and the library that runs networks on it.

    Attributes:
        device: the opened GPU; a backend that is made with it closes it.
        flavour: the loaded library, TensorRT or TensorRT-RTX.
    """

    device: Device
    flavour: Flavour

    @property
    def name(self) -> str:
        """Name of the library and of the GPU, for messages."""
        return f"{self.flavour.name} on {self.device.name}"

    @property
    def gpu(self) -> Gpu:
        """Name and compute capability of the GPU, which passports of engines hold."""
        from rtsearch.engines import Gpu

        return Gpu(self.device.name, self.device.compute_capability)

    def close(self) -> None:
        """Close the device; only for an accelerator that no backend was made with."""
        self.device.close()

    def find(self, order: Order, folder: Path) -> Path | None:
        """Return the path of the engine for an order, or None."""
        from rtsearch.engines import find_engine

        return find_engine(order, folder, self.flavour, self.gpu)

    def build(self, order: Order, folder: Path) -> Path:
        """Build the engine for an order and return its path.

        Raises:
            EngineError: the engine cannot be built.
        """
        from rtsearch.engines import build_engine

        return build_engine(order, folder, self.flavour, self.gpu)

    def later(
        self,
        order: Order,
        folder: Path,
        spec: ModelSpec,
        settings: Settings,
        stop: threading.Event,
        tell: Callable[[str], None],
    ) -> InferenceBackend | None:
        """Build an engine in another process and open a backend with it.

        Without a backend the device is closed.

        Args:
            order: the engine.
            folder: folder that engines are kept in.
            spec: the network that the engine is made from.
            settings: settings of the backend.
            stop: event that cancels the build.
            tell: gets a line about the progress of the build every ten seconds.

        Returns:
            the backend, or None when ``stop`` was set before the engine was built.

        Raises:
            EngineError: the engine cannot be built, or must not be run here.
            RunnerError: the GPU failed.
        """
        try:
            path = self.find(order, folder) or self._built_elsewhere(order, stop, tell)
            backend = None if path is None else self.open(path, spec, settings)
        except BaseException:
            self.close()
            raise
        if backend is None:
            self.close()
        return backend

    def _built_elsewhere(
        self, order: Order, stop: threading.Event, tell: Callable[[str], None]
    ) -> Path | None:
        from rtsearch.engines import start_build

        build = start_build(order, self.flavour.name)
        tell(f"building an engine for {self.device.name}, once; the CPU is used meanwhile")
        begun_s = told_s = time.monotonic()
        try:
            while build.running and not stop.wait(_POLL_S):
                build.poll()
                now_s = time.monotonic()
                if build.what and now_s - told_s >= _TELL_S:
                    told_s = now_s
                    tell(f"engine: {build.share:.0%} after {now_s - begun_s:.0f} s ({build.what})")
            path = build.poll()
        finally:
            build.cancel()
        if path is None and not stop.is_set():
            raise EngineError(build.error)
        return path

    def open(self, path: Path, spec: ModelSpec, settings: Settings) -> InferenceBackend:
        """Open a backend with an engine, and warm it up.

        Raises:
            EngineError: the engine must not be run here.
            RunnerError: the GPU failed.
        """
        import numpy as np

        from rtsearch._util.metrics import Meter
        from rtsearch.gpu import GpuBackend
        from rtsearch.runners.tensorrt import TensorRTRunner

        runner = TensorRTRunner(path, self.device, model_sha256=spec.sha256)
        try:
            backend = GpuBackend(runner, self.device, spec)
        except Exception:
            runner.close()
            raise
        width, height = spec.input_wh
        blank: U8Array = np.zeros((height, width, 3), np.uint8)
        for _ in range(_WARM_UP_PASSES):
            backend.infer([blank], settings.detect, Meter())
        _log.info("%s runs %s", self.name, path.name)
        return backend


def find_accelerator(settings: Settings) -> Accelerator | None:
    """Open the GPU with the library that the settings name; None for ``none``, and where ``auto`` finds none.

    Raises:
        MissingDependencyError: the library that the settings name is not installed.
        RunnerError: the settings name a library, and the GPU cannot be used with them.
    """
    wanted = settings.gpu.engine
    if wanted == "none" or (wanted == "auto" and not any(map(importlib.util.find_spec, _LIBRARIES))):
        return None
    try:
        if settings.describe.embedder:
            raise RunnerError("describe.embedder is set, and a second network runs on the CPU only")
        return _open(wanted, settings)
    except (MissingDependencyError, RunnerError) as error:
        if wanted != "auto":
            raise
        _log.debug("no GPU is used: %s", error)
        return None


def _open(wanted: Any, settings: Settings) -> Accelerator:
    from rtsearch.runners import open_device

    device = open_device(settings.gpu.runtime)  # opened first, as loading the libraries takes a second
    try:
        from rtsearch.engines import load_flavour

        return Accelerator(device, load_flavour(wanted))
    except BaseException:
        device.close()
        raise
