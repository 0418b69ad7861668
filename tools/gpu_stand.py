"""What gpu_check.py measures with: the network and photos, engines, a stand-in, devices with a stopwatch."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from rtsearch.demo import demo_clip, gather_photos
from rtsearch.detect import letterbox
from rtsearch.engines import Gpu, Order, build_engine, load_flavour
from rtsearch.errors import MissingDependencyError
from rtsearch.models import ModelSpec, default_folder, resolve
from rtsearch.runners.onnx import OnnxRunner
from rtsearch.runners.tensorrt import TensorRTRunner

__all__ = ["Bench", "Engines", "KeptOpen", "StandIn", "Stopwatch", "TimedEngine", "WithoutGraphs", "prepare"]

FRAME_WH = (1280, 720)
FRAMES = 16  # different ones


@dataclass
class Bench:
    """What is measured with, and what came out.

    Attributes:
        args: of the command line.
        model, spec, input_wh: the network.
        runner: the same on the CPU.
        pictures: real photos.
        report: grows.
        label: what the next figures are made by.
    """

    args: argparse.Namespace
    model: Path
    spec: ModelSpec
    input_wh: tuple[int, int]
    runner: OnnxRunner
    pictures: list[Any]
    report: dict[str, Any]
    label: dict[str, Any] = field(default_factory=dict)

    def add(self, figure: str, **values: Any) -> None:
        """One figure, with all that made it."""
        rounded = {key: round(v, 4) if isinstance(v, float) else v for key, v in values.items()}
        self.report["figures"].append({"figure": figure, **self.label, **rounded})

    def frames(self) -> list[Any]:
        """What a camera could show: 1280x720 px each."""
        return [cv2.resize(picture, FRAME_WH) for picture in self.pictures[:FRAMES]]


def prepare(args: argparse.Namespace, report: dict[str, Any]) -> Bench:
    """The network on the CPU, and photos."""
    model = resolve(args.model, default_folder())
    spec = ModelSpec.read(model)
    input_wh = (args.size, args.size) if spec.flexible else spec.input_wh
    with tempfile.TemporaryDirectory() as folder:
        pictures = photos_of(args.photos, Path(folder) / "photos")
    report["network"] = {
        **{"model": spec.name, "sha256": spec.sha256, "input_wh": input_wh},
        **{"photos": len(pictures), "frame_wh": FRAME_WH},
    }
    return Bench(args, model, spec, input_wh, OnnxRunner(model, 0, input_wh), pictures, report)


def photos_of(folder: Path | None, scratch: Path) -> list[Any]:
    """Real photos.

    Raises:
        MissingDependencyError: there are none.
    """
    if folder is None:
        folder = scratch
        gather_photos(folder, demo_clip())
    files = sorted(folder.rglob("*")) if folder.is_dir() else []
    pictures = [picture for path in files[::2] if (picture := cv2.imread(str(path))) is not None]
    if not pictures:
        raise MissingDependencyError(f"no photos in {folder}; name a folder of some with --photos")
    return pictures


# Devices that do something beside --------------------------------------------------------------------------


class KeptOpen:
    """A device that a sight cannot close."""

    def __init__(self, device: Any) -> None:
        self._device = device

    def __getattr__(self, name: str) -> Any:
        return getattr(self._device, name)

    def close(self) -> None:
        pass


class WithoutGraphs(KeptOpen):
    """A device that records nothing."""

    graphs = False


class Stopwatch(WithoutGraphs):
    """A device that sets a mark before and behind every piece of work."""

    def __init__(self, device: Any) -> None:
        super().__init__(device)
        self.names: dict[int, str] = {}
        self.marks: list[tuple[str, int, int]] = []
        self.spare: list[int] = []

    def function(self, module: int, name: str) -> int:
        handle: int = self._device.function(module, name)
        self.names[handle] = name
        return handle

    def launch(self, function: int, *arguments: Any) -> None:
        launch = self._device.launch
        self.time(self.names[function], arguments[-1], lambda: launch(function, *arguments))

    def upload(self, address: int, source: Any, stream: int) -> None:
        self.time("upload", stream, lambda: self._device.upload(address, source, stream))

    def download(self, target: Any, address: int, stream: int) -> None:
        self.time("download", stream, lambda: self._device.download(target, address, stream))

    def time(self, name: str, stream: int, work: Callable[[], None]) -> None:
        start, end = (self.spare.pop() if self.spare else self._device.new_event() for _ in range(2))
        self._device.record(start, stream)
        work()
        self._device.record(end, stream)
        self.marks.append((name, start, end))

    def take(self) -> dict[str, float]:
        """Milliseconds by step since the last time it was asked; all work has been waited for."""
        taken: dict[str, float] = {}
        with self._device.use():
            for name, start, end in self.marks:
                taken[name] = taken.get(name, 0.0) + self._device.elapsed_ms(start, end)
                self.spare += [start, end]
        self.marks.clear()
        return taken

    def close(self) -> None:
        """Give back the marks."""
        with self._device.use():
            for event in (*self.spare, *(event for _, *pair in self.marks for event in pair)):
                self._device.free_event(event)
        self.spare.clear()
        self.marks.clear()


class TimedEngine(KeptOpen):
    """An engine whose passes a stopwatch sees; closing it closes the engine."""

    def __init__(self, engine: Any, watch: Stopwatch) -> None:
        super().__init__(engine)
        self._watch = watch

    def enqueue(self, stream: int) -> None:
        self._watch.time("network", stream, lambda: self._device.enqueue(stream))

    def close(self) -> None:
        self._device.close()


# Networks --------------------------------------------------------------------------------------------------


class Engines:
    """Engines of one library, built as they are asked for.

    Attributes:
        title: name and version of the library.
    """

    def __init__(self, bench: Bench, device: Any, name: Any, folder: Path) -> None:
        self.flavour = load_flavour(name)
        self.title = f"{self.flavour.name} {self.flavour.version}"
        self._bench, self._device, self._folder = bench, device, folder

    def open(self, batch: int) -> TensorRTRunner:
        bench, device = self._bench, self._device
        order = Order(model=bench.model, input_wh=bench.input_wh, batch=batch, precision=bench.args.precision)
        start = time.perf_counter()
        path = build_engine(order, self._folder, self.flavour, Gpu(device.name, device.compute_capability))
        built = time.perf_counter()
        runner = TensorRTRunner(path, device, model_sha256=bench.spec.sha256)
        opened = time.perf_counter()
        if opened - start > 0.1:
            bench.add("getting ready", batch=batch, build_s=built - start, open_s=opened - built)
        return runner


class StandIn:
    """A network that is none: its outputs are those that the CPU computed for the picture shown last."""

    title = "outputs of the CPU"

    def __init__(self, bench: Bench, device: Any) -> None:
        self._bench, self._device = bench, device
        self._bound: dict[str, int] = {}
        outputs = self._look(bench.pictures[0])
        width, height = bench.input_wh
        self.inputs = {"images": ((bench.spec.batch or 1, 3, height, width), np.dtype(np.float32))}
        self.outputs = {name: (array.shape, array.dtype) for name, array in outputs.items()}

    def bind(self, name: str, address: int) -> None:
        self._bound[name] = address

    def enqueue(self, stream: int) -> None:
        pass

    def close(self) -> None:
        pass

    def show(self, picture: Any) -> None:
        """Put what the CPU sees where the network's outputs lie."""
        device = self._device
        with device.use():
            stream = device.new_stream()
            for name, array in self._look(picture).items():
                data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
                pinned = device.allocate_pinned(data.size)
                pinned[:] = data
                device.upload(self._bound[name], pinned, stream)
                device.synchronise(stream)
                device.free_pinned(pinned)
            device.free_stream(stream)

    def _look(self, picture: Any) -> dict[str, Any]:
        spec = self._bench.spec
        canvas = letterbox(picture, self._bench.input_wh, spec.pad_value)
        planes = cv2.dnn.blobFromImage(canvas, spec.pixel_scale, swapRB=spec.pixel_order == "rgb")
        return self._bench.runner.run(np.repeat(planes, spec.batch or 1, axis=0))
