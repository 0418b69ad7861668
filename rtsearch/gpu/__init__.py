"""The whole pass on an NVIDIA GPU: a picture goes up, boxes and vectors come back.

    kernels.cu    all that is done around the network
    kernels.py    compiles it for the GPU at hand, and keeps what came out
    plan.py       the memory of a pass: what lies where, and how the kernels are laid out
    slot.py       where pictures go up from and results come back to
    work.py       what is done between: kernels, network, their memory
    backend.py      an InferenceBackend of all this and an engine

The kernels compute the same as ``perception.detector``, ``perception.descriptor`` and ``search.projection``
do on the CPU; the tests run the kernels' source there and compare.
"""

from __future__ import annotations

from rtsearch.gpu.backend import GpuBackend
from rtsearch.gpu.kernels import KERNELS, compiled
from rtsearch.gpu.plan import Layout, MapLayout
from rtsearch.gpu.work import Engine

__all__ = ["KERNELS", "Engine", "GpuBackend", "Layout", "MapLayout", "compiled"]
