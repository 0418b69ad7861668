"""Run kernels and network between upload and download, and own their memory."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from rtsearch.errors import RunnerError
from rtsearch.gpu.kernels import KERNELS, compiled
from rtsearch.gpu.plan import Layout
from rtsearch.gpu.slot import Slot
from rtsearch.perception.backend import Projector
from rtsearch.runners.device import Device

__all__ = ["Engine", "Work"]

_log = logging.getLogger(__name__)

_ALIGN = 256  # alignment of every input and output of the network, bytes


class Engine(Protocol):
    """Network on the GPU whose inputs and outputs are bound to memory of the caller.

    Attributes:
        inputs: shape and dtype of the inputs, by name; all sizes are fixed.
        outputs: shape and dtype of the outputs, by name; all sizes are fixed.
    """

    @property
    def inputs(self) -> Mapping[str, tuple[tuple[int, ...], Any]]: ...
    @property
    def outputs(self) -> Mapping[str, tuple[tuple[int, ...], Any]]: ...

    def bind(self, name: str, address: int) -> None:
        """Set the address of an input or output."""
        ...

    def enqueue(self, stream: int) -> None:
        """Enqueue one pass on a stream; asynchronous."""
        ...

    def close(self) -> None:
        """Release all memory."""
        ...


class Work:
    """Kernels, network and their memory on one device; all methods are called within ``device.use()``.

    Args:
        engine: the network; its inputs and outputs are bound here, once.
        device: the GPU.
        code: compiled kernels; None takes them from the cache or compiles them.
        taps: names of the outputs that describe objects.

    Attributes:
        stream: stream of all work but uploads.
    """

    def __init__(self, engine: Engine, device: Device, code: bytes | None, taps: tuple[str, ...]) -> None:
        self._engine = engine
        self._device = device
        self._taps = taps
        self._undo = contextlib.ExitStack()  # releases in the reverse order of allocation
        self._memory = 0
        self._layout: Layout | None = None
        self._projection: Projector | None = None
        self._places: dict[str, tuple[int, int]] = {}
        self._warm = False
        self._records = device.graphs
        try:
            module = device.load(code or compiled(device.compute_capability))
            self._undo.callback(device.unload, module)
            self._functions = {name: device.function(module, name) for name in KERNELS}
            self.stream = device.new_stream()
            self._undo.callback(device.free_stream, self.stream)
            self._bound = self._bind()
        except BaseException:
            self._undo.close()
            raise

    def fit(self, layout: Layout, projection: Projector | None) -> bool:
        """Make the memory fit a layout; return True if it changed, which invalidates recorded work."""
        if layout == self._layout and projection is self._projection:
            return False
        device = self._device
        device.synchronise(self.stream)
        self._free_memory()
        self._places = layout.arrays()
        self._memory = device.allocate(self._places[""][1])
        network = {"planes": self._bound["images"]} | {
            name: self._bound[name] for name in ("boxes", "scores")
        }
        plan = layout.plan(network, tuple(self._bound[name] for name in self._taps), self._memory)
        self._send("plan", plan)
        if projection is not None:
            self._send("matrix", np.ascontiguousarray(projection.matrix, np.float32))
            self._send("offset", np.ascontiguousarray(projection.offset, np.float32))
        self._layout, self._projection = layout, projection
        return True

    def enqueue(self, slot: Slot) -> None:
        """Enqueue a pass over the pictures of a slot; the work is recorded once and replayed afterwards."""
        if slot.graph is None and self._records and self._warm:
            try:
                slot.graph = self._device.capture(self.stream, self._pass_over(slot))
            except RunnerError as error:
                _log.warning(
                    "the GPU cannot record the work of a picture; it is sent step by step: %s", error
                )
                self._records = False
        if slot.graph is not None:
            slot.graph.launch()
        else:
            self._pass_over(slot)()
            self._warm = True  # an engine allocates in its first pass, which cannot be recorded

    def close(self) -> None:
        """Release everything but the engine."""
        self._free_memory()
        self._undo.close()

    def _pass_over(self, slot: Slot) -> Callable[[], None]:
        layout, result = self._layout, slot.result
        assert layout is not None
        assert result is not None
        address = {name: self._memory + offset for name, (offset, _) in self._places.items()}
        arguments = (np.uint64(address["plan"]), np.uint64(slot.address))
        launches = list(layout.launches())

        def work() -> None:
            self._device.clear(address["counts"], layout.cleared_bytes, self.stream)
            for name, grid, block in launches:
                self._device.launch(self._functions[name], grid, block, arguments, self.stream)
                if name == "letterbox":
                    self._engine.enqueue(self.stream)
            self._device.download(result, address["result"], self.stream)

        return work

    def _bind(self) -> dict[str, int]:
        """Allocate and bind the inputs and outputs of the network; return their addresses by name."""
        sizes = {
            name: int(np.prod(shape)) * np.dtype(dtype).itemsize
            for name, (shape, dtype) in {**self._engine.inputs, **self._engine.outputs}.items()
        }
        starts = np.cumsum([0] + [-(-size // _ALIGN) * _ALIGN for size in sizes.values()])
        memory = self._device.allocate(int(starts[-1]))
        self._undo.callback(self._device.free, memory)
        bound = {name: memory + int(start) for name, start in zip(sizes, starts, strict=False)}
        for name, address in bound.items():
            self._engine.bind(name, address)
        return bound

    def _send(self, name: str, array: np.ndarray[Any, Any]) -> None:
        """Copy an array to its place on the GPU and wait for the copy."""
        offset, size = self._places[name]
        data = array.reshape(-1).view(np.uint8)
        assert data.size == size, name
        pinned = self._device.allocate_pinned(size)
        try:
            pinned[:] = data
            self._device.upload(self._memory + offset, pinned, self.stream)
            self._device.synchronise(self.stream)
        finally:
            self._device.free_pinned(pinned)

    def _free_memory(self) -> None:
        if self._memory:
            self._device.free(self._memory)
            self._memory, self._layout = 0, None
