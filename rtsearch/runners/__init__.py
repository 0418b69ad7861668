"""Engines that run a prepared model: one small protocol, one file per engine.

A runner is opened with a prepared model, answers ``run`` any number of times from one thread at a time, and
is closed. It knows nothing of frames or objects.
"""

from __future__ import annotations

from typing import Protocol

from rtsearch.types import F32Array

__all__ = ["Runner"]


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
