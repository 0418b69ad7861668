"""Drive a GPU through NVIDIA's own Python bindings of the driver (package ``cuda-bindings``).

The driver's functions are called in the primary context, which the engines' runtime uses too, so both can use
the same memory. Memory is allocated from the driver's pool where it has one, so growing a buffer does not
stall the whole GPU.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

from rtsearch._util.wording import one_line
from rtsearch.errors import MissingDependencyError, RunnerError
from rtsearch.runners.device import Shape3, Work, expect_driver
from rtsearch.types import U8Array

__all__ = ["CudaDevice"]

_log = logging.getLogger(__name__)


class CudaDevice:
    """Device of the bindings; see ``rtsearch.runners.device.Device``.

    Args:
        ordinal: number of the GPU among those that the driver shows.

    Raises:
        MissingDependencyError: the package is not installed.
        RunnerError: no driver, a driver that is too old, or no GPU.
    """

    runtime = "cuda"
    graphs = True

    def __init__(self, ordinal: int = 0) -> None:
        try:
            from cuda.bindings import driver
        except ImportError as error:
            raise MissingDependencyError(
                f"package cuda-bindings cannot be loaded ({error}); run: pip install 'rtsearch[gpu]'"
            ) from None
        self._driver: Any = driver
        self._context: Any = None
        self._pinned: dict[int, U8Array] = {}
        self._start()
        self._device = self._call("cuDeviceGet", ordinal)
        name = self._call("cuDeviceGetName", 256, self._device)
        self.name = bytes(name).split(b"\0")[0].decode(errors="replace")
        attribute = driver.CUdevice_attribute
        self.compute_capability = (
            self._attribute(attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR),
            self._attribute(attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR),
        )
        self._pools = bool(self._attribute(attribute.CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED))
        self._context = self._call("cuDevicePrimaryCtxRetain", self._device)

    def _start(self) -> None:
        """Initialise the driver; raise RunnerError where the driver or the GPU is missing."""
        expect_driver(self._call("cuDriverGetVersion"))
        self._call("cuInit", 0)
        if self._call("cuDeviceGetCount") == 0:
            raise RunnerError("no NVIDIA GPU is visible to this process; see CUDA_VISIBLE_DEVICES")

    def _attribute(self, which: Any) -> int:
        return int(self._call("cuDeviceGetAttribute", which, self._device))

    def _call(self, name: str, *arguments: Any) -> Any:
        """Call a function of the driver and return its results: one value, or a tuple."""
        try:
            status, *values = getattr(self._driver, name)(*arguments)
        except RuntimeError as error:  # the bindings found no driver, or none that has the function
            raise RunnerError(
                f"no usable NVIDIA driver on this machine ({one_line(error)}); without one rtsearch runs on "
                "the CPU"
            ) from None
        if int(status):
            raise RunnerError(self._reason(name, status))
        return values[0] if len(values) == 1 else tuple(values)

    def _reason(self, name: str, status: Any) -> str:
        result = self._driver.CUresult
        if status == result.CUDA_ERROR_OUT_OF_MEMORY:
            return "the GPU is out of memory: close other programs, or lower model.size or the batch"
        if status == result.CUDA_ERROR_NO_DEVICE:
            return "no NVIDIA GPU is visible to this process; see CUDA_VISIBLE_DEVICES"
        if status in (result.CUDA_ERROR_NO_BINARY_FOR_GPU, result.CUDA_ERROR_INVALID_PTX):
            return f"the GPU's driver refuses the compiled kernels ({status.name})"
        text = self._driver.cuGetErrorString(status)[-1]
        text = text.decode(errors="replace") if isinstance(text, bytes) else "unknown error"
        return f"the GPU failed in {name}: {text} ({getattr(status, 'name', int(status))})"

    @contextmanager
    def use(self) -> Iterator[None]:
        """See ``Device.use``."""
        self._call("cuCtxPushCurrent", self._context)
        try:
            yield
        finally:
            self._driver.cuCtxPopCurrent()

    def allocate(self, size_bytes: int) -> int:
        """See ``Device.allocate``."""
        if not self._pools:
            return int(self._call("cuMemAlloc", size_bytes))
        address = int(self._call("cuMemAllocAsync", size_bytes, 0))
        self._call("cuStreamSynchronize", 0)  # from here on every stream can use the memory
        return address

    def free(self, address: int) -> None:
        """See ``Device.free``."""
        if self._pools:
            self._call("cuMemFreeAsync", address, 0)
        else:
            self._call("cuMemFree", address)

    def allocate_pinned(self, size_bytes: int) -> U8Array:
        """See ``Device.allocate_pinned``."""
        portable = 1  # CU_MEMHOSTALLOC_PORTABLE: pinned for all contexts
        address = int(self._call("cuMemHostAlloc", size_bytes, portable))
        memory: U8Array = np.ctypeslib.as_array((ctypes.c_uint8 * size_bytes).from_address(address))
        self._pinned[address] = memory
        return memory

    def free_pinned(self, memory: U8Array) -> None:
        """See ``Device.free_pinned``."""
        address = memory.ctypes.data
        del self._pinned[address]
        self._call("cuMemFreeHost", address)

    def upload(self, address: int, source: U8Array, stream: int) -> None:
        """See ``Device.upload``."""
        self._call("cuMemcpyHtoDAsync", address, source.ctypes.data, source.size, stream)

    def download(self, target: U8Array, address: int, stream: int) -> None:
        """See ``Device.download``."""
        self._call("cuMemcpyDtoHAsync", target.ctypes.data, address, target.size, stream)

    def clear(self, address: int, size_bytes: int, stream: int) -> None:
        """See ``Device.clear``."""
        self._call("cuMemsetD8Async", address, 0, size_bytes, stream)

    def new_stream(self) -> int:
        """See ``Device.new_stream``."""
        return int(self._call("cuStreamCreate", int(self._driver.CUstream_flags.CU_STREAM_NON_BLOCKING)))

    def free_stream(self, stream: int) -> None:
        """See ``Device.free_stream``."""
        self._call("cuStreamDestroy", stream)

    def synchronise(self, stream: int) -> None:
        """See ``Device.synchronise``."""
        self._call("cuStreamSynchronize", stream)

    def new_event(self) -> int:
        """See ``Device.new_event``."""
        return int(self._call("cuEventCreate", int(self._driver.CUevent_flags.CU_EVENT_DEFAULT)))

    def free_event(self, event: int) -> None:
        """See ``Device.free_event``."""
        self._call("cuEventDestroy", event)

    def record(self, event: int, stream: int) -> None:
        """See ``Device.record``."""
        self._call("cuEventRecord", event, stream)

    def wait(self, event: int) -> None:
        """See ``Device.wait``."""
        self._call("cuEventSynchronize", event)

    def wait_on(self, stream: int, event: int) -> None:
        """See ``Device.wait_on``."""
        self._call("cuStreamWaitEvent", stream, event, 0)

    def elapsed_ms(self, start: int, end: int) -> float:
        """See ``Device.elapsed_ms``."""
        return float(self._call("cuEventElapsedTime", start, end))

    def load(self, code: bytes) -> int:
        """See ``Device.load``."""
        return int(self._call("cuModuleLoadData", code))

    def unload(self, module: int) -> None:
        """See ``Device.unload``."""
        self._call("cuModuleUnload", module)

    def function(self, module: int, name: str) -> int:
        """See ``Device.function``."""
        return int(self._call("cuModuleGetFunction", module, name.encode()))

    def launch(
        self, function: int, grid: Shape3, block: Shape3, arguments: Sequence[Any], stream: int
    ) -> None:
        """See ``Device.launch``."""
        values = [np.array(argument) for argument in arguments]
        places = np.array([value.ctypes.data for value in values], np.uint64)
        self._call("cuLaunchKernel", function, *grid, *block, 0, stream, places.ctypes.data, 0)

    def capture(self, stream: int, work: Work) -> _CudaGraph:
        """See ``Device.capture``."""
        mode = self._driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        self._call("cuStreamBeginCapture", stream, mode)
        try:
            work()
        except BaseException:
            # The stream must leave its capture mode; the error of the work is raised.
            with suppress(RunnerError):
                self._call("cuGraphDestroy", self._call("cuStreamEndCapture", stream))
            raise
        graph = self._call("cuStreamEndCapture", stream)
        try:
            return _CudaGraph(self._call, self._call("cuGraphInstantiate", graph, 0), stream)
        finally:
            self._call("cuGraphDestroy", graph)

    def memory_bytes(self) -> tuple[int, int]:
        """See ``Device.memory_bytes``."""
        if self._pools:
            self._call("cuStreamSynchronize", 0)  # the pool releases freed memory when it is synchronised
        free, total = self._call("cuMemGetInfo")
        return int(free), int(total)

    def close(self) -> None:
        """See ``Device.close``."""
        if self._context is None:
            return
        try:
            with self.use():
                for memory in list(self._pinned.values()):
                    self.free_pinned(memory)
            self._call("cuDevicePrimaryCtxRelease", self._device)
        except RunnerError as error:
            _log.debug("closing the GPU: %s", error)  # a lost GPU has nothing left to release
        self._context = None


class _CudaGraph:
    """Graph of the driver; see ``rtsearch.runners.device.Graph``."""

    def __init__(self, call: Any, handle: Any, stream: int) -> None:
        self._call = call
        self._handle = handle
        self._stream = stream

    def launch(self) -> None:
        self._call("cuGraphLaunch", self._handle, self._stream)

    def close(self) -> None:
        if self._handle is not None:
            self._call("cuGraphExecDestroy", self._handle)
            self._handle = None
