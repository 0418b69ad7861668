"""Compile an ONNX network to the bytes of an engine.

The library builds in a separate thread, so that the main thread can handle Ctrl-C, which no callback of the
library passes on, and ask the library to stop at its next step.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rtsearch._util.signals import undo_on_signal
from rtsearch.engines.flavour import Flavour
from rtsearch.errors import EngineError

__all__ = ["Built", "Progress", "Tensors", "compile_network"]

Progress = Callable[[str, float], None]
"""Callback that gets the current step and the finished share of the build, 0..1, which never falls."""

Tensors = dict[str, tuple[tuple[int, ...], str]]
"""Shape and dtype (``float16``, ``float32``) of tensors, by name."""


@dataclass(frozen=True, slots=True)
class Built:
    """Result of a build.

    Attributes:
        engine: bytes of the engine.
        inputs: shape and dtype of the inputs, by name.
        outputs: shape and dtype of the outputs, by name.
    """

    engine: bytes
    inputs: Tensors
    outputs: Tensors


def compile_network(
    flavour: Flavour,
    network: bytes,
    targets: Sequence[str],
    *,
    progress: Progress | None = None,
) -> Built:
    """Build an engine.

    Args:
        flavour: library that builds it.
        network: ONNX file with fixed shapes, made by ``network.network_for``.
        targets: compute capabilities; see ``flavour.targets_of``.
        progress: gets step and finished share; called by another thread.

    Raises:
        EngineError: a layer is not supported (named), shapes are not fixed, or the library failed.
        KeyboardInterrupt: Ctrl-C was pressed; the build has ended by then.
    """
    stop, done = threading.Event(), threading.Event()
    result: list[Built | BaseException] = []

    def work() -> None:
        try:
            if not stop.is_set():
                result.append(_build(flavour, network, targets, _monitor(flavour, stop, progress)))
        except BaseException as error:  # raised again below
            result.append(error)
        finally:
            done.set()

    worker = threading.Thread(target=work, name=f"{flavour.name} build", daemon=True)
    with undo_on_signal():
        try:
            worker.start()  # within the block, as Ctrl-C may come before start returns
            # Not join: a thread whose join was interrupted cannot be joined again (Python 3.11).
            while not done.wait(0.1):
                pass
        except KeyboardInterrupt:
            stop.set()
            raise
        finally:
            if worker.ident is not None:  # a thread that has not begun ends as soon as it begins
                done.wait()
                worker.join()
    if isinstance(result[0], BaseException):
        raise result[0]
    return result[0]


def _build(flavour: Flavour, network: bytes, targets: Sequence[str], monitor: Any) -> Built:
    trt = flavour.module
    flavour.complaints.clear()
    builder = trt.Builder(flavour.logger)
    if builder is None:
        raise EngineError(f"{flavour.name} cannot start: {flavour.reason('no reason given')}")
    definition = builder.create_network(_flags(flavour))
    parser = trt.OnnxParser(definition, flavour.logger)
    if not parser.parse(network):
        raise EngineError(_unsupported(flavour, parser))
    tensors = _tensors(flavour, definition)
    config = builder.create_builder_config()
    config.progress_monitor = monitor
    # TF32 rounds inputs as coarsely as float16, which layers that are kept in float32 must not do.
    config.clear_flag(trt.BuilderFlag.TF32)
    if not flavour.needs_gpu:
        # Without this an engine may allocate memory in a pass, which then cannot be recorded as a CUDA graph.
        config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)
        config.num_compute_capabilities = len(targets)
        for i, target in enumerate(targets):
            config.set_compute_capability(getattr(trt.ComputeCapability, f"SM{target.replace('.', '')}"), i)
    serialized = builder.build_serialized_network(definition, config)
    if serialized is None:
        raise EngineError(f"{flavour.name} {flavour.version} built nothing: {flavour.reason('stopped')}")
    return Built(bytes(serialized), *tensors)


def _flags(flavour: Flavour) -> int:
    """Return the flags of a network: TensorRT 10 must be told to take types from the network."""
    if flavour.name == "tensorrt" and flavour.version.startswith("10."):
        return 1 << int(flavour.module.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    return 0


def _unsupported(flavour: Flavour, parser: Any) -> str:
    """Return the first operator that the parser does not support, as text."""
    if not parser.num_errors:
        return f"{flavour.name} cannot read the network: {flavour.reason('no reason given')}"
    error = parser.get_error(0)
    where = f"{error.node_operator()} (node {error.node_name()})" if error.node_operator() else "the network"
    flavour.complaints.clear()
    said = " ".join(error.desc().split())[:200]
    return f"{flavour.name} {flavour.version} does not support {where}: {said}"


def _tensors(flavour: Flavour, definition: Any) -> tuple[Tensors, Tensors]:
    groups = (
        [definition.get_input(i) for i in range(definition.num_inputs)],
        [definition.get_output(i) for i in range(definition.num_outputs)],
    )
    for tensor in (*groups[0], *groups[1]):
        if any(size < 0 for size in tensor.shape):
            raise EngineError(
                f"{tensor.name} has no fixed shape: {tuple(tensor.shape)}; an engine is built for one size"
            )
    inputs, outputs = (
        {tensor.name: (tuple(tensor.shape), _dtype(flavour, tensor.dtype)) for tensor in group}
        for group in groups
    )
    return inputs, outputs


def _dtype(flavour: Flavour, kind: Any) -> str:
    names = {flavour.module.float32: "float32", flavour.module.float16: "float16"}
    return names.get(kind, str(kind))


def _monitor(flavour: Flavour, stop: threading.Event, progress: Progress | None) -> Any:
    """Return a monitor that reports the progress of the library and asks it to stop."""
    base = flavour.module.IProgressMonitor
    tell = progress or (lambda _what, _share: None)

    class Monitor(base):  # type: ignore[misc, valid-type]
        def __init__(self) -> None:
            base.__init__(self)
            self.steps: dict[str, tuple[str | None, int]] = {}
            self.done: dict[str, int] = {}
            self.share = 0.0
            self.lock = threading.Lock()  # threads of the library call the monitor

        def phase_start(self, name: str, parent: str | None, count: int) -> None:
            with self.lock:
                self.steps[name], self.done[name] = (parent, max(1, count)), 0

        def step_complete(self, name: str, step: int) -> bool:
            with self.lock:
                self.done[name] = step + 1
                self.share = max(self.share, self._share(name))
                share = self.share
            tell(name, share)
            return not stop.is_set()

        def phase_finish(self, name: str) -> None:
            with self.lock:
                self.steps.pop(name, None)

        def _share(self, name: str | None) -> float:
            share = 0.0
            while name in self.steps:
                parent, count = self.steps[name]
                share = min(1.0, (self.done[name] + share) / count)
                name = parent
            return share

    return Monitor()
