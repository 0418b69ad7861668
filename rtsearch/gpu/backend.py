"""Detect and describe objects on the GPU, from the upload of pictures to the download of vectors.

    pinned memory -> upload -> letterbox -> engine -> decode, suppression -> describe -> project -> download

Thresholds and picture sizes are uploaded with the pictures, so every pass does the same work, and where the
device can record it, a pass is one call. Two slots take turns: while the GPU works on the pictures of one,
the next pictures are copied and uploaded into the other on a separate stream.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np

from rtsearch._util.metrics import Meter
from rtsearch.config import DetectSettings
from rtsearch.errors import RunnerError
from rtsearch.gpu.plan import MOST_MAPS, Layout, MapLayout
from rtsearch.gpu.slot import Slot
from rtsearch.gpu.work import Engine, Work
from rtsearch.models.spec import ModelSpec
from rtsearch.perception.backend import Projector
from rtsearch.perception.detector import wanted_classes
from rtsearch.runners.device import Device
from rtsearch.types import Detections, U8Array

__all__ = ["GpuBackend"]

_log = logging.getLogger(__name__)


class GpuBackend:
    """InferenceBackend on a GPU.

    Args:
        engine: the network; closed with this backend.
        device: the GPU that the engine runs on; closed with this backend.
        spec: specification of the network.
        code: compiled kernels for this device; None takes them from the cache or compiles them.

    Attributes:
        batch: number of pictures that the engine takes per pass.
        callers: always 1.

    Raises:
        RunnerError: the engine was not made of this network, or the GPU failed.
        MissingDependencyError: the kernels have to be compiled and NVRTC is not installed.
    """

    def __init__(
        self,
        engine: Engine,
        device: Device,
        spec: ModelSpec,
        *,
        code: bytes | None = None,
    ) -> None:
        self.callers = 1
        self._device = device
        self._classes = spec.classes
        self._network = self._last = _network(engine, spec)
        self.batch: int | None = self._network.batch
        self._projection: Projector | None = None
        with device.use(), contextlib.ExitStack() as undo:
            self._work = Work(engine, device, code, tuple(tap.name for tap in spec.taps))
            undo.callback(self._work.close)
            self._uploads = device.new_stream()
            undo.callback(device.free_stream, self._uploads)
            self._slots = [Slot(device) for _ in range(2)]
            for slot in self._slots:
                undo.callback(slot.close)
            undo.callback(engine.close)  # last, as the caller keeps the engine when the constructor fails
            self._undo = undo.pop_all()
        self._closed = False

    @property
    def dim(self) -> int:
        """Length of a description."""
        return self._network.raw_dim

    def _project_with(self, projection: Projector | None) -> None:
        if projection is not None:
            _require_descriptions(projection, self._network)
        self._projection = projection

    def infer(
        self,
        images: Sequence[U8Array],
        settings: DetectSettings,
        meter: Meter,
        projection: Projector | None = None,
        *,
        pad_fully: bool = False,
    ) -> list[Detections]:
        """See ``InferenceBackend.infer``; the only stage is ``detect``, and padding is always full."""
        if self._closed:
            raise RunnerError("the GPU's backend is closed")
        if projection is not self._projection:
            self._project_with(projection)
        if not images:
            return []
        with meter.stage("detect"), self._device.use():
            try:
                return self._infer(images, settings)
            except BaseException:
                self._settle()  # the GPU must have stopped writing into the slots before they are used again
                raise

    def close(self) -> None:
        """See ``InferenceBackend.close``; may be called twice and never raises."""
        if self._closed:
            return
        self._closed = True
        try:
            with self._device.use():
                self._settle()
                self._undo.close()
        except RunnerError as error:
            _log.debug("closing: %s", error)  # a lost GPU has nothing left to release
        self._device.close()

    def _infer(self, images: Sequence[U8Array], settings: DetectSettings) -> list[Detections]:
        batch = self._network.batch
        layout = self._layout(settings.max_objects)
        wanted = wanted_classes(settings.classes, self._classes)
        if self._work.fit(layout, self._projection):
            for slot in self._slots:
                slot.forget_graph()
        seen: list[Detections] = []
        waiting: deque[Slot] = deque()
        for number, start in enumerate(range(0, len(images), batch)):
            if len(waiting) == len(self._slots):
                seen += waiting.popleft().results(layout)
            slot = self._slots[number % len(self._slots)]
            slot.fit_result(layout.result_bytes)
            slot.upload(images[start : start + batch], settings, wanted, layout, self._uploads)
            self._device.record(slot.uploaded, self._uploads)
            self._device.wait_on(self._work.stream, slot.uploaded)
            self._work.enqueue(slot)
            self._device.record(slot.done, self._work.stream)
            waiting.append(slot)
        for slot in waiting:
            seen += slot.results(layout)
        return seen

    def _layout(self, max_objects: int) -> Layout:
        projection = self._projection
        asked: dict[str, Any] = {
            "slots": max_objects + 1,
            "projected": None if projection is None else projection.matrix.shape[1],
            "unit_classes": projection is not None and len(projection.class_columns) > 0,
        }
        if any(getattr(self._last, name) != value for name, value in asked.items()):
            self._last = dataclasses.replace(self._network, **asked)
        return self._last

    def _settle(self) -> None:
        """Wait for all work on the streams and ignore its errors."""
        for stream in (self._uploads, self._work.stream):
            with contextlib.suppress(RunnerError):
                self._device.synchronise(stream)


def _require_descriptions(projection: Projector, network: Layout) -> None:
    """Refuse a projection of descriptions that are laid out in another way than this network's.

    Raises:
        RunnerError: they have more or fewer numbers, or their classes stand elsewhere than at the end.
    """
    raw_dim, columns = network.raw_dim, projection.class_columns
    if len(projection.matrix) != raw_dim:
        raise RunnerError(
            f"the projection takes descriptions of {len(projection.matrix)} numbers, "
            f"those of this network have {raw_dim}"
        )
    if len(columns) and not np.array_equal(columns, np.arange(raw_dim - network.classes, raw_dim)):
        raise RunnerError(
            f"the projection takes descriptions with classes in other places than the last {network.classes}"
        )


def _network(engine: Engine, spec: ModelSpec) -> Layout:
    """Return the layout that follows from the shapes of the network.

    Raises:
        RunnerError: inputs or outputs do not fit the specification.
    """
    names = ["boxes", "scores", *(tap.name for tap in spec.taps)]
    if "images" not in engine.inputs or not set(names) <= set(engine.outputs):
        there = ", ".join([*engine.inputs, *engine.outputs])
        raise RunnerError(f"the engine is not one of {spec.name}: it has {there}; build it again")
    if len(spec.taps) > MOST_MAPS:
        raise RunnerError(f"{spec.name} has {len(spec.taps)} taps; on a GPU there may be {MOST_MAPS}")
    shapes = {name: tuple(shape) for name, (shape, _) in {**engine.inputs, **engine.outputs}.items()}
    batch, _, height, width = (*shapes["images"], 0, 0, 0, 0)[:4]
    rows = shapes["boxes"][1] if len(shapes["boxes"]) == 3 else 0
    wanted = {"images": (batch, 3, height, width), "boxes": (batch, rows, 4)}
    wanted["scores"] = (batch, rows, len(spec.classes))
    for tap in spec.taps:
        wanted[tap.name] = (batch, tap.channels, *(*shapes[tap.name], 0, 0, 0, 0)[2:4])
    halves = {}
    for name, shape in wanted.items():
        dtype = np.dtype({**engine.inputs, **engine.outputs}[name][1])
        if shapes[name] != shape or min(shape) < 1 or dtype not in (np.float16, np.float32):
            raise RunnerError(
                f"the engine is not one of {spec.name}: {name} is {dtype} {shapes[name]}; build it again"
            )
        halves[name] = bool(dtype == np.float16)
    return Layout(
        batch=batch,
        input_wh=(width, height),
        rows=rows,
        classes=len(spec.classes),
        maps=tuple(
            MapLayout(tap.channels, shapes[tap.name][3], shapes[tap.name][2], halves[tap.name])
            for tap in spec.taps
        ),
        slots=1,
        projected=None,
        swap=spec.pixel_order == "rgb",
        pad_value=spec.pad_value,
        stretch=spec.stretch,
        pixel_scale=spec.pixel_scale,
        needs_nms=spec.needs_nms,
        planes_half=halves["images"],
        boxes_half=halves["boxes"],
        scores_half=halves["scores"],
    )
