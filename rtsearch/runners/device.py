"""One GPU behind a small protocol: memory, copies, streams, events, kernels, graphs.

    cuda     NVIDIA's own bindings; replays recorded work as a CUDA graph
    pycuda   PyCUDA; records nothing, so ``capture`` gives back the work as it is

What a device hands out are plain integers: an address, the handle of a stream. An engine takes them as they
are, and a test can stand numpy arrays behind them. All work on a stream is asynchronous: what is copied from
or to must stay until the stream has been waited for.
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
_LEAST_DRIVER = 13000  # the bindings, and the code that kernels are compiled to, are of CUDA 13
Work = Callable[[], None]


class Graph(Protocol):
    """Work that was recorded on a stream, to be done again with one call."""

    def launch(self) -> None:
        """Run the recorded work again on its stream; asynchronous."""
        ...

    def close(self) -> None:
        """Forget it."""
        ...


class Device(Protocol):
    """One GPU. Every method but ``close`` raises RunnerError when the GPU refuses.

    Attributes:
        runtime: ``cuda`` or ``pycuda``.
        name: of the GPU, as the driver gives it.
        compute_capability: major and minor, for which code is compiled.
        graphs: whether recorded work is replayed in one go.
    """

    runtime: str
    name: str
    compute_capability: tuple[int, int]
    graphs: bool

    def use(self) -> AbstractContextManager[None]:
        """A block in which the calling thread speaks to this GPU: all other methods are called in one.

        Blocks may be nested. An engine's runtime finds the GPU by itself: it too wants to be called in one.
        """
        ...

    def allocate(self, size_bytes: int) -> int:
        """The address of new memory on the GPU, its content undefined."""
        ...

    def free(self, address: int) -> None:
        """Give back what ``allocate`` gave; the streams that use it must have been waited for."""
        ...

    def allocate_pinned(self, size_bytes: int) -> U8Array:
        """(size_bytes,) uint8 in host memory that stays in place: copies from it need no other one first."""
        ...

    def free_pinned(self, memory: U8Array) -> None:
        """Give back what ``allocate_pinned`` gave."""
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
        """The handle of a new stream; work on it is done in order, beside that of other streams."""
        ...

    def free_stream(self, stream: int) -> None:
        """Give back what ``new_stream`` gave."""
        ...

    def synchronise(self, stream: int) -> None:
        """Wait until all work on the stream is done; raises what went wrong in it."""
        ...

    def new_event(self) -> int:
        """A new mark that can be set on a stream."""
        ...

    def free_event(self, event: int) -> None:
        """Give back what ``new_event`` gave."""
        ...

    def record(self, event: int, stream: int) -> None:
        """Set the mark behind all work that is on the stream now."""
        ...

    def wait(self, event: int) -> None:
        """Wait here until the mark is passed; at once if it was never set."""
        ...

    def wait_on(self, stream: int, event: int) -> None:
        """Let what comes next on the stream wait until the mark is passed."""
        ...

    def elapsed_ms(self, start: int, end: int) -> float:
        """Time between two marks that have been passed."""
        ...

    def load(self, code: bytes) -> int:
        """A module of kernels from a cubin, or from PTX that ends in a zero byte."""
        ...

    def unload(self, module: int) -> None:
        """Give back what ``load`` gave."""
        ...

    def function(self, module: int, name: str) -> int:
        """The handle of a kernel; valid as long as its module."""
        ...

    def launch(
        self, function: int, grid: Shape3, block: Shape3, arguments: Sequence[Any], stream: int
    ) -> None:
        """Run a kernel; asynchronous.

        Args:
            function: of ``function``.
            grid: blocks along x, y, z.
            block: threads of a block along x, y, z.
            arguments: numpy scalars of exactly the kernel's types; ``np.uint64`` for a pointer.
            stream: it runs on.
        """
        ...

    def capture(self, stream: int, work: Work) -> Graph:
        """Record the work that ``work()`` puts on the stream, without doing it.

        Where the device has no graphs, ``launch`` of what comes back calls ``work`` again.

        Raises:
            RunnerError: something in it cannot be recorded; the stream can be used as before.
        """
        ...

    def memory_bytes(self) -> tuple[int, int]:
        """Free and total memory of the GPU."""
        ...

    def close(self) -> None:
        """Give back everything that is still held; never raises."""
        ...


def expect_driver(version: int) -> None:
    """Refuse a driver that does not take what is made for it.

    Args:
        version: of CUDA, as the driver gives it: 13020 for 13.2.

    Raises:
        RunnerError: too old.
    """
    if version < _LEAST_DRIVER:
        raise RunnerError(
            f"the NVIDIA driver is too old: it speaks CUDA {_version(version)}, needed is "
            f"{_version(_LEAST_DRIVER)} (driver 580 or newer)"
        )


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"
