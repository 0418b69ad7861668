"""Engines that run a prepared model: one small protocol, one file per engine.

A runner is opened with a prepared model, answers ``run`` any number of times from one thread at a time, and
is closed. It knows nothing of frames or objects.
"""

from __future__ import annotations

from typing import Protocol

from rtsearch.errors import MissingDependencyError
from rtsearch.runners.device import Device, Runtime
from rtsearch.types import F32Array

__all__ = ["Device", "Runner", "Runtime", "open_device"]


class Runner(Protocol):
    """Input planes in, the network's outputs by name out."""

    def run(self, images: F32Array) -> dict[str, F32Array]:
        """One pass.

        Args:
            images: (batch, 3, height, width) float32, as the model's ModelSpec says.

        Returns:
            ``boxes`` (batch, N, 4), ``scores`` (batch, N, C) and the taps. The arrays belong to the caller.

        Raises:
            RunnerError: wrong shape, or the engine failed.
        """
        ...

    def close(self) -> None:
        """Give back memory and threads; the runner cannot be used afterwards."""
        ...


def open_device(runtime: Runtime = "auto") -> Device:
    """Open the first GPU that this process sees (the driver's CUDA_VISIBLE_DEVICES chooses).

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
