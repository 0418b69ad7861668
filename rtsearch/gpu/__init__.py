"""Run a whole pass on an NVIDIA GPU: pictures are uploaded, boxes and vectors are downloaded.

    kernels.cu       kernels for everything but the network
    kernels.py       compiles kernels.cu for the GPU, and caches the result
    plan.py          layout of the memory of a pass, and of the kernels over it
    slot.py          buffers for the upload of pictures and the download of results
    work.py          kernels, network and memory between upload and download
    backend.py       InferenceBackend made of these and an engine
    accelerator.py   finds the GPU and its engine for the pipeline

The kernels compute the same as ``detector``, ``descriptor`` and ``projection`` on the CPU; the tests run
their source on the CPU and compare the results.
"""

from __future__ import annotations

from rtsearch.gpu.backend import GpuBackend
from rtsearch.gpu.kernels import KERNELS, compiled
from rtsearch.gpu.plan import Layout, MapLayout
from rtsearch.gpu.work import Engine

__all__ = ["KERNELS", "Engine", "GpuBackend", "Layout", "MapLayout", "compiled"]
