"""Drive a GPU through PyCUDA, for machines where PyCUDA is installed.

PyCUDA has no graphs, so ``capture`` returns the work itself. Its streams, events and modules are Python
objects, which are kept here under the handles of ``Device``. A thread that ends while PyCUDA
holds a context for it aborts the process, so a context is held only within ``use``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from rtsearch._util.wording import one_line
from rtsearch.errors import MissingDependencyError, RunnerError
from rtsearch.runners.device import Shape3, Work, expect_driver
from rtsearch.types import U8Array

__all__ = ["PycudaDevice"]

_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: independent of the stream that allocations use


class PycudaDevice:
    """Device of PyCUDA; see ``rtsearch.runners.device.Device``.

    Args:
        ordinal: number of the GPU among those that the driver shows.

    Raises:
        MissingDependencyError: the package is not installed.
        RunnerError: no driver, a driver that is too old, or no GPU.
    """

    runtime = "pycuda"
    graphs = False

    def __init__(self, ordinal: int = 0) -> None:
        self._context: Any = None
        self._kept: dict[int, Any] = {}  # streams, events, modules and functions by handle
        self._memory: dict[int, Any] = {}  # memory on the GPU and pinned memory, by address
        self._driver: Any = _import_driver()
        with self._errors("cuInit"):
            expect_driver(self._driver.get_driver_version())
            self._driver.init()
            if self._driver.Device.count() == 0:
                raise RunnerError("no NVIDIA GPU is visible to this process; see CUDA_VISIBLE_DEVICES")
            device = self._driver.Device(ordinal)
            self.name: str = device.name()
            self.compute_capability: tuple[int, int] = device.compute_capability()
            self._context = device.retain_primary_context()

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        """Turn errors of PyCUDA into a RunnerError of one line."""
        try:
            yield
        except self._driver.MemoryError:
            raise RunnerError(
                "the GPU is out of memory: close other programs, or lower model.size or the batch"
            ) from None
        except self._driver.Error as error:
            raise RunnerError(f"the GPU failed in {what}: {one_line(error)}") from None

    def _keep(self, thing: Any) -> int:
        handle = id(thing)
        self._kept[handle] = thing
        return handle

    @contextmanager
    def use(self) -> Iterator[None]:
        """See ``Device.use``."""
        with self._errors("use"):
            self._context.push()
        try:
            yield
        finally:
            # A lost GPU fails here again; its first error was raised before.
            with suppress(self._driver.Error):
                self._driver.Context.pop()

    def allocate(self, size_bytes: int) -> int:
        """See ``Device.allocate``."""
        with self._errors("allocate"):
            memory = self._driver.mem_alloc(size_bytes)
        self._memory[int(memory)] = memory
        return int(memory)

    def free(self, address: int) -> None:
        """See ``Device.free``."""
        with self._errors("free"):
            self._memory.pop(address).free()

    def allocate_pinned(self, size_bytes: int) -> U8Array:
        """See ``Device.allocate_pinned``."""
        with self._errors("allocate_pinned"):
            memory: U8Array = self._driver.pagelocked_empty(size_bytes, "uint8")
        self._memory[memory.ctypes.data] = memory.base
        return memory

    def free_pinned(self, memory: U8Array) -> None:
        """See ``Device.free_pinned``."""
        with self._errors("free_pinned"):
            self._memory.pop(memory.ctypes.data).free()

    def upload(self, address: int, source: U8Array, stream: int) -> None:
        """See ``Device.upload``."""
        with self._errors("upload"):
            self._driver.memcpy_htod_async(address, source, self._kept[stream])

    def download(self, target: U8Array, address: int, stream: int) -> None:
        """See ``Device.download``."""
        with self._errors("download"):
            self._driver.memcpy_dtoh_async(target, address, self._kept[stream])

    def clear(self, address: int, size_bytes: int, stream: int) -> None:
        """See ``Device.clear``."""
        with self._errors("clear"):
            self._driver.memset_d8_async(address, 0, size_bytes, self._kept[stream])

    def new_stream(self) -> int:
        """See ``Device.new_stream``."""
        with self._errors("new_stream"):
            stream = self._driver.Stream(_NON_BLOCKING)
        handle = int(stream.handle)  # handle of the driver, so that an engine can use the same stream
        self._kept[handle] = stream
        return handle

    def free_stream(self, stream: int) -> None:
        """See ``Device.free_stream``."""
        del self._kept[stream]

    def synchronise(self, stream: int) -> None:
        """See ``Device.synchronise``."""
        with self._errors("the work on a stream"):
            self._kept[stream].synchronize()

    def new_event(self) -> int:
        """See ``Device.new_event``."""
        with self._errors("new_event"):
            return self._keep(self._driver.Event())

    def free_event(self, event: int) -> None:
        """See ``Device.free_event``."""
        del self._kept[event]

    def record(self, event: int, stream: int) -> None:
        """See ``Device.record``."""
        with self._errors("record"):
            self._kept[event].record(self._kept[stream])

    def wait(self, event: int) -> None:
        """See ``Device.wait``."""
        with self._errors("the work on a stream"):
            self._kept[event].synchronize()

    def wait_on(self, stream: int, event: int) -> None:
        """See ``Device.wait_on``."""
        with self._errors("wait_on"):
            self._kept[stream].wait_for_event(self._kept[event])

    def elapsed_ms(self, start: int, end: int) -> float:
        """See ``Device.elapsed_ms``."""
        with self._errors("elapsed_ms"):
            return float(self._kept[start].time_till(self._kept[end]))

    def load(self, code: bytes) -> int:
        """See ``Device.load``."""
        with self._errors("load"):
            return self._keep(self._driver.module_from_buffer(code))

    def unload(self, module: int) -> None:
        """See ``Device.unload``."""
        del self._kept[module]

    def function(self, module: int, name: str) -> int:
        """See ``Device.function``."""
        with self._errors(f"looking up {name}"):
            return self._keep(self._kept[module].get_function(name))

    def launch(
        self, function: int, grid: Shape3, block: Shape3, arguments: Sequence[Any], stream: int
    ) -> None:
        """See ``Device.launch``."""
        with self._errors("launch"):
            self._kept[function](*arguments, grid=grid, block=block, stream=self._kept[stream])

    def capture(self, stream: int, work: Work) -> _Replay:
        """See ``Device.capture``."""
        return _Replay(work)

    def memory_bytes(self) -> tuple[int, int]:
        """See ``Device.memory_bytes``."""
        with self._errors("memory_bytes"):
            free, total = self._driver.mem_get_info()
        return int(free), int(total)

    def close(self) -> None:
        """See ``Device.close``."""
        if self._context is None:
            return
        with suppress(RunnerError, self._driver.Error):  # a lost GPU has nothing left to release
            with self.use():
                self._kept.clear()
                self._memory.clear()
            self._context.detach()
        self._context = None


class _Replay:
    """Graph that calls the work again; see ``rtsearch.runners.device.Graph``."""

    def __init__(self, work: Work) -> None:
        self._work = work

    def launch(self) -> None:
        self._work()

    def close(self) -> None:
        pass


def _import_driver() -> Any:
    try:
        import pycuda.driver as driver
    except ImportError as error:
        if "libcuda" in str(error):  # PyCUDA is installed, but the library of the driver is missing
            raise RunnerError(
                "no NVIDIA driver on this machine (libcuda is missing); without one rtsearch runs on the CPU"
            ) from None
        raise MissingDependencyError(
            f"package pycuda cannot be loaded ({error}); run: pip install 'rtsearch[pycuda]'"
        ) from None
    return driver
