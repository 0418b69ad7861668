"""Define the protocol of a GPU: memory, copies, streams, events, kernels, graphs.

    cuda     NVIDIA's own bindings, which replay recorded work as a CUDA graph
    pycuda   PyCUDA, which cannot record, so ``capture`` returns the work itself

Addresses and handles of streams are plain integers, which engines take as they are and which tests can map to
numpy arrays. All work on a stream is asynchronous: source and target of a copy must stay valid until the
stream has been synchronised.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol

from rtsearch.errors import RunnerError
from rtsearch.types import U8Array

__all__ = ["Device", "Graph", "Runtime", "Shape3", "Work", "expect_driver"]

Runtime = Literal["auto", "cuda", "pycuda"]
Shape3 = tuple[int, int, int]
_LEAST_DRIVER = 13000  # the bindings and the compiled kernels need CUDA 13
Work = Callable[[], None]


class Graph(Protocol):
    """Recorded work of a stream that is replayed with one call."""

    def launch(self) -> None:
        """Run the recorded work again on its stream; asynchronous."""
        ...

    def close(self) -> None:
        """Release the recorded work."""
        ...


class Device(Protocol):
    """One GPU; every method but ``close`` raises RunnerError when a call of the driver fails.

    Attributes:
        runtime: ``cuda`` or ``pycuda``.
        name: name of the GPU, as the driver gives it.
        compute_capability: major and minor version that code is compiled for.
        graphs: recorded work is replayed with one call.
    """

    runtime: str
    name: str
    compute_capability: tuple[int, int]
    graphs: bool

    def use(self) -> AbstractContextManager[None]:
        """Return a context manager that makes this GPU current for the calling thread.

        All other methods, and those of engines, are called within it. It may be nested.
        """
        ...

    def allocate(self, size_bytes: int) -> int:
        """Allocate memory on the GPU and return its address; its content is undefined."""
        ...

    def free(self, address: int) -> None:
        """Free memory of ``allocate``; the streams that use it must have been synchronised."""
        ...

    def allocate_pinned(self, size_bytes: int) -> U8Array:
        """Return (size_bytes,) uint8 in page-locked host memory, which the GPU copies without a detour."""
        ...

    def free_pinned(self, memory: U8Array) -> None:
        """Free memory of ``allocate_pinned``."""
        ...

    def upload(self, address: int, source: U8Array, stream: int) -> None:
        """Copy ``source``, (n,) uint8 and pinned, to the GPU; asynchronous."""
        ...

    def download(self, target: U8Array, address: int, stream: int) -> None:
        """Fill ``target``, (n,) uint8 and pinned, from the GPU; asynchronous."""
        ...

    def clear(self, address: int, size_bytes: int, stream: int) -> None:
        """Set memory of the GPU to 0; asynchronous."""
        ...

    def new_stream(self) -> int:
        """Return the handle of a new stream; streams work independently, each in order."""
        ...

    def free_stream(self, stream: int) -> None:
        """Free a stream of ``new_stream``."""
        ...

    def synchronise(self, stream: int) -> None:
        """Wait until all work on the stream is done; raise its errors."""
        ...

    def new_event(self) -> int:
        """Return the handle of a new event."""
        ...

    def free_event(self, event: int) -> None:
        """Free an event of ``new_event``."""
        ...

    def record(self, event: int, stream: int) -> None:
        """Record the event after all work that is on the stream now."""
        ...

    def wait(self, event: int) -> None:
        """Wait until the event has completed; return at once if it was never recorded."""
        ...

    def wait_on(self, stream: int, event: int) -> None:
        """Let later work on the stream wait until the event has completed."""
        ...

    def elapsed_ms(self, start: int, end: int) -> float:
        """Return the time between two completed events, ms."""
        ...

    def load(self, code: bytes) -> int:
        """Load a module of kernels from a cubin, or from PTX that ends in a zero byte."""
        ...

    def unload(self, module: int) -> None:
        """Unload a module of ``load``."""
        ...

    def function(self, module: int, name: str) -> int:
        """Return the handle of a kernel, valid as long as its module is loaded."""
        ...

    def launch(
        self, function: int, grid: Shape3, block: Shape3, arguments: Sequence[Any], stream: int
    ) -> None:
        """Run a kernel; asynchronous.

        Args:
            function: handle of the kernel.
            grid: number of blocks along x, y, z.
            block: number of threads of a block along x, y, z.
            arguments: numpy scalars of exactly the kernel's types; ``np.uint64`` for a pointer.
            stream: stream that the kernel runs on.
        """
        ...

    def capture(self, stream: int, work: Work) -> Graph:
        """Record the work that ``work()`` puts on the stream, without doing it.

        On a device without graphs, ``launch`` of the returned graph calls ``work``.

        Raises:
            RunnerError: part of the work cannot be recorded; the stream can be used as before.
        """
        ...

    def memory_bytes(self) -> tuple[int, int]:
        """Return free and total memory of the GPU, bytes."""
        ...

    def close(self) -> None:
        """Release everything that is still allocated; never raises."""
        ...


def expect_driver(version: int) -> None:
    """Refuse a driver that is too old for the bindings and the compiled kernels.

    Args:
        version: CUDA version of the driver as it gives it, 13020 for 13.2.

    Raises:
        RunnerError: the driver is too old.
    """
    if version < _LEAST_DRIVER:
        raise RunnerError(
            f"the NVIDIA driver is too old: it supports CUDA {_version(version)}, needed is "
            f"{_version(_LEAST_DRIVER)} (driver 580 or newer)"
        )


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"
