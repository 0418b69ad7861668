"""Run an engine of TensorRT or TensorRT-RTX on a GPU.

    check the passport -> deserialise -> create the context; bind addresses once, enqueue for every frame

The runner allocates memory on the GPU only in ``run``. Callers that enqueue frame by frame bind buffers of
their own, and run the steps before and after the network on the same stream.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np

from rtsearch._util.wording import one_line
from rtsearch.engines.flavour import Flavour, Gpu, load_flavour
from rtsearch.engines.passport import CheckedEngine, Machine, check, read_passport
from rtsearch.errors import RunnerError
from rtsearch.models.spec import ModelSpec
from rtsearch.runners.device import Device
from rtsearch.types import F32Array, U8Array

__all__ = ["TensorRTRunner"]

_Tensor = tuple[tuple[int, ...], np.dtype[Any]]


class TensorRTRunner:
    """Runner of one engine, for one caller at a time.

    Args:
        path: engine file with a passport; see ``engines/passport.py``.
        device: the GPU that it will run on.
        model_sha256: hash of the prepared model that the engine must be made of; "" allows any.

    Attributes:
        spec: the model that the engine is made of.
        inputs: shape and dtype of the inputs, by name; ``images`` may be float16.
        outputs: shape and dtype of the outputs, by name; taps may be float16.
        library: name and version of the library that runs the engine.

    Raises:
        EngineError: the engine must not run here; the message says why and what to do.
        MissingDependencyError: its library is not installed.
        RunnerError: the engine cannot be opened: no memory, or other inputs and outputs than its passport's.
    """

    def __init__(self, path: Path, device: Device, *, model_sha256: str = "") -> None:
        flavour = load_flavour(read_passport(path).flavour)
        machine = Machine.of(flavour, Gpu(device.name, device.compute_capability))
        checked = check(path, machine, model_sha256=model_sha256)
        self.spec: ModelSpec = checked.passport.spec
        self.library = f"{flavour.name} {flavour.version}"
        self._path, self._device, self._flavour = path, device, flavour
        self._buffers: _Buffers | None = None
        with device.use():
            self._runtime, self._engine = _deserialise(flavour, checked)
            self.inputs, self.outputs = _tensors(flavour, self._engine)
            _expect_ours(checked, self.inputs, self.outputs)
            self._context = self._call("make a context", self._engine.create_execution_context)

    def bind(self, name: str, address: int) -> None:
        """Set the address of a tensor on the GPU, until it is bound to another."""
        self._call(f"bind {name}", self._open().set_tensor_address, name, address)

    def enqueue(self, stream: int) -> None:
        """Enqueue one pass on a stream within ``device.use()``, after binding all tensors; asynchronous."""
        self._call("run", self._open().execute_async_v3, stream)

    def run(self, images: F32Array) -> dict[str, F32Array]:
        """See ``Runner.run``; binds all tensors to buffers of the runner."""
        self._open()
        shape, dtype = self.inputs["images"]
        if images.shape != shape or images.dtype != np.float32:
            raise RunnerError(
                f"{self._path.name}: expected float32 {shape}, got {images.dtype} {images.shape}"
            )
        with self._device.use():
            if self._buffers is None:
                self._buffers = _Buffers(self._device, {**self.inputs, **self.outputs})
            buffers = self._buffers
            for name, address in buffers.addresses.items():
                self.bind(name, address)
            buffers.host["images"].view(dtype).reshape(shape)[:] = images
            buffers.upload("images")
            self.enqueue(buffers.stream)
            for name in self.outputs:
                buffers.download(name)
            self._device.synchronise(buffers.stream)
            return {
                name: buffers.host[name].view(dtype).reshape(shape).astype(np.float32)
                for name, (shape, dtype) in self.outputs.items()
            }

    def close(self) -> None:
        """See ``Runner.close``."""
        if self._context is None:
            return
        with contextlib.suppress(RunnerError), self._device.use():  # a lost GPU has released everything
            if self._buffers is not None:
                self._buffers.close()
            # A context needs its engine and an engine its runtime, which decides the order.
            self._context = None
            self._engine = None
            self._runtime = None
        self._context = self._engine = self._runtime = self._buffers = None

    def _open(self) -> Any:
        if self._context is None:
            raise RunnerError(f"the runner of {self._path} is closed")
        return self._context

    def _call(self, what: str, function: Any, *arguments: Any) -> Any:
        """Call a function of the library, which returns None or False when it fails."""
        try:
            result = function(*arguments)
        except Exception as error:  # the library's exceptions have no common base below Exception
            raise RunnerError(f"{self.library} cannot {what}: {one_line(error)}") from None
        if result is None or result is False:
            raise RunnerError(f"{self.library} cannot {what}: {self._flavour.reason('no reason given')}")
        return result


class _Buffers:
    """Buffers of one pass: every tensor on the GPU and in pinned memory."""

    def __init__(self, device: Device, tensors: dict[str, _Tensor]) -> None:
        self._device = device
        self.addresses: dict[str, int] = {}
        self.host: dict[str, U8Array] = {}
        self.stream = device.new_stream()
        try:
            for name, (shape, dtype) in tensors.items():
                size_bytes = int(np.prod(shape)) * dtype.itemsize
                self.addresses[name] = device.allocate(size_bytes)
                self.host[name] = device.allocate_pinned(size_bytes)
        except RunnerError:
            self.close()
            raise

    def upload(self, name: str) -> None:
        self._device.upload(self.addresses[name], self.host[name], self.stream)

    def download(self, name: str) -> None:
        self._device.download(self.host[name], self.addresses[name], self.stream)

    def close(self) -> None:
        self._device.synchronise(self.stream)
        for address in self.addresses.values():
            self._device.free(address)
        for memory in self.host.values():
            self._device.free_pinned(memory)
        self._device.free_stream(self.stream)


def _deserialise(flavour: Flavour, checked: CheckedEngine) -> tuple[Any, Any]:
    flavour.complaints.clear()
    try:
        runtime = flavour.module.Runtime(flavour.logger)
        engine = runtime.deserialize_cuda_engine(checked.content)
    except Exception as error:  # see TensorRTRunner._call
        raise RunnerError(f"{checked.path.name} cannot be opened: {one_line(error)}") from None
    if engine is None:
        raise RunnerError(
            f"{checked.path.name} cannot be opened by {flavour.name} {flavour.version}: "
            f"{flavour.reason('no reason given')}"
        )
    return runtime, engine


def _tensors(flavour: Flavour, engine: Any) -> tuple[dict[str, _Tensor], dict[str, _Tensor]]:
    trt = flavour.module
    dtypes: dict[Any, np.dtype[Any]] = {trt.float32: np.dtype(np.float32), trt.float16: np.dtype(np.float16)}
    inputs: dict[str, _Tensor] = {}
    outputs: dict[str, _Tensor] = {}
    for i in range(engine.num_io_tensors):
        name = engine.get_tensor_name(i)
        shape = tuple(int(size) for size in engine.get_tensor_shape(name))
        dtype = engine.get_tensor_dtype(name)
        if dtype not in dtypes or any(size < 1 for size in shape):
            raise RunnerError(
                f"{name} of the engine is {dtype} {shape}; expected float16 or float32 and a fixed shape"
            )
        group = inputs if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT else outputs
        group[name] = (shape, dtypes[dtype])
    return inputs, outputs


def _expect_ours(checked: CheckedEngine, inputs: dict[str, _Tensor], outputs: dict[str, _Tensor]) -> None:
    """Refuse an engine whose tensors differ from its passport."""
    spec, passport = checked.passport.spec, checked.passport
    wanted = ["boxes", "scores", *(tap.name for tap in spec.taps)]
    if list(inputs) != ["images"] or set(outputs) != set(wanted):
        raise RunnerError(
            f"{checked.path.name} has {', '.join((*inputs, *outputs))}; expected images, "
            f"{', '.join(wanted)}: build it of a prepared model with rtsearch engine build {spec.name}"
        )
    found = {name: (shape, dtype.name) for name, (shape, dtype) in {**inputs, **outputs}.items()}
    if passport.inputs and found != {**passport.inputs, **passport.outputs}:
        raise RunnerError(f"{checked.path.name} has other shapes than its passport says; build it again")
