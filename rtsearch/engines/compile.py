"""An ONNX network becomes the bytes of an engine.

The library builds in a thread of its own: the main thread stays free to notice Ctrl-C, which no callback of
the library could pass on, and asks it to stop at its next step.
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
"""Told what is being done, and the share of all that is done, 0..1, never falling."""

Tensors = dict[str, tuple[tuple[int, ...], str]]
"""Shape and dtype (``float16``, ``float32``) of each, by name."""


@dataclass(frozen=True, slots=True)
class Built:
    """Result of a build.

    Attributes:
        engine: its bytes.
        inputs, outputs: of the network.
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
        flavour: what builds it.
        network: ONNX file with fixed shapes, as ``network.network_for`` makes it.
        targets: compute capabilities, see ``flavour.targets_of``.
        progress: told how far it is; called by another thread.

    Raises:
        EngineError: a layer is not supported (named), shapes are not fixed, or the library failed.
        KeyboardInterrupt: Ctrl-C; the build has ended by then.
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
            worker.start()  # in here: Ctrl-C may come between the thread's first step and the return
            # Not join: a thread whose join was interrupted cannot be joined again (Python 3.11).
            while not done.wait(0.1):
                pass
        except KeyboardInterrupt:
            stop.set()
            raise
        finally:
            if worker.ident is not None:  # else it has not begun, and ends as soon as it does
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
    # TF32 rounds what a layer reads as float16 does; what is kept in float32 is kept for a reason.
    config.clear_flag(trt.BuilderFlag.TF32)
    if not flavour.needs_gpu:
        # Else it may take memory while it runs, and such a pass cannot be recorded as a CUDA graph.
        config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)
        config.num_compute_capabilities = len(targets)
        for i, target in enumerate(targets):
            config.set_compute_capability(getattr(trt.ComputeCapability, f"SM{target.replace('.', '')}"), i)
    serialized = builder.build_serialized_network(definition, config)
    if serialized is None:
        raise EngineError(f"{flavour.name} {flavour.version} built nothing: {flavour.reason('stopped')}")
    return Built(bytes(serialized), *tensors)


def _flags(flavour: Flavour) -> int:
    """TensorRT 10 must be asked to take types from the network; its successors always do."""
    if flavour.name == "tensorrt" and flavour.version.startswith("10."):
        return 1 << int(flavour.module.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    return 0


def _unsupported(flavour: Flavour, parser: Any) -> str:
    """The first thing that the parser does not take."""
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
    """Passes on how far the library is, and whether it is to stop."""
    base = flavour.module.IProgressMonitor
    tell = progress or (lambda _what, _share: None)

    class Monitor(base):  # type: ignore[misc, valid-type]
        def __init__(self) -> None:
            base.__init__(self)
            self.steps: dict[str, tuple[str | None, int]] = {}
            self.done: dict[str, int] = {}
            self.share = 0.0
            self.lock = threading.Lock()  # the library's own threads call

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
