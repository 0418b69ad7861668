"""Run prepared models: one small protocol, and one module per library that runs them.

A runner is opened with a prepared model; ``run`` is called any number of times from one thread at a time;
then the runner is closed. It knows nothing of frames or objects.
"""

from __future__ import annotations

from typing import Protocol

from rtsearch.errors import MissingDependencyError
from rtsearch.runners.device import Device, Runtime
from rtsearch.types import F32Array

__all__ = ["Device", "Runner", "Runtime", "open_device"]


class Runner(Protocol):
    """Runner of one network."""

    def run(self, images: F32Array) -> dict[str, F32Array]:
        """Run one pass of the network.

        Args:
            images: (batch, 3, height, width) float32, in the pixel format of the model's ModelSpec.

        Returns:
            ``boxes`` (batch, N, 4), ``scores`` (batch, N, C) and the taps. The arrays belong to the caller.

        Raises:
            RunnerError: the shape is wrong, or the pass failed.
        """
        ...

    def close(self) -> None:
        """Release memory and threads; the runner cannot be used afterwards."""
        ...


def open_device(runtime: Runtime = "auto") -> Device:
    """Open the first GPU that is visible to this process (see CUDA_VISIBLE_DEVICES).

    Args:
        runtime: ``cuda``, ``pycuda``, or ``auto``: the first of the two that is installed.

    Raises:
        MissingDependencyError: the package is not installed; the message says which extra brings it.
        RunnerError: no driver, a driver that is too old, or no GPU.
    """
    if runtime in ("auto", "cuda"):
        try:
            return _open_cuda()
        except MissingDependencyError as missing:
            if runtime == "cuda":
                raise
            try:
                return _open_pycuda()
            except MissingDependencyError:
                raise missing from None
    return _open_pycuda()


def _open_cuda() -> Device:
    from rtsearch.runners.device_cuda import CudaDevice

    return CudaDevice()


def _open_pycuda() -> Device:
    from rtsearch.runners.device_pycuda import PycudaDevice

    return PycudaDevice()
