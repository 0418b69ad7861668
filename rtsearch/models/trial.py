"""Open networks of strangers in onnxruntime for a trial, with a limit on the memory that a run may take."""

from __future__ import annotations

import functools

import onnx
import onnxruntime as ort

from rtsearch._util.cpu import usable_cores

__all__ = ["MOST_BYTES", "open_trial"]

MOST_BYTES = 4 << 30
"""Most memory that the weights and maps of a trial take at a time."""


def open_trial(model: onnx.ModelProto, *, optimised: bool) -> ort.InferenceSession:
    """Open a network; a run that wants more memory than ``MOST_BYTES`` raises.

    Args:
        model: the network.
        optimised: as it will be used later, else every node as it stands in the graph.

    Raises:
        Exception: onnxruntime's, which have no common base below Exception.
    """
    _bound_memory()
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = usable_cores()
    options.add_session_config_entry("session.use_env_allocators", "1")
    if not optimised:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


@functools.lru_cache(maxsize=1)
def _bound_memory() -> None:
    """Register the allocator of trials, once per process; other sessions have allocators of their own."""
    memory = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    as_requested = 1  # the arena grows by what is asked for, instead of by powers of two
    limits = ort.OrtArenaCfg({"max_mem": MOST_BYTES, "arena_extend_strategy": as_requested})
    ort.create_and_register_allocator(memory, limits)
