"""What gpu_check.py measures with: the network and photos, engines, a stand-in, devices with a stopwatch."""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from rtsearch.engines import Gpu, Order, build_engine, load_flavour
from rtsearch.errors import MissingDependencyError, RtsearchError
from rtsearch.jobs.demo import demo_clip, gather_photos
from rtsearch.models import ModelSpec, default_folder, resolve
from rtsearch.perception.detector import letterbox
from rtsearch.runners.onnx import OnnxRunner
from rtsearch.runners.tensorrt import TensorRTRunner

__all__ = [
    "Bench",
    "Engines",
    "KeptOpen",
    "StandIn",
    "Stopwatch",
    "TimedEngine",
    "WithoutGraphs",
    "line_of",
    "prepare",
    "reason_of",
]

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
        """One figure, with all that made it; told at once: a run may be cut short."""
        rounded = {key: round(v, 4) if isinstance(v, float) else v for key, v in values.items()}
        entry = {"figure": figure, **self.label, **rounded}
        self.report["figures"].append(entry)
        print(line_of(entry), file=sys.stderr, flush=True)

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """A block whose failure, of any kind, leaves the figures of the others; its reason is reported."""
        label = dict(self.label)
        try:
            yield
        except Exception as error:  # what a GPU or a library can come up with has no common base
            where = ": ".join([*map(str, label.values()), name])
            self.report["not_run"][where] = reason_of(error)
            print(f"not run: {where}: {reason_of(error)}", file=sys.stderr, flush=True)

    def frames(self) -> list[Any]:
        """What a camera could show: 1280x720 px each."""
        return [cv2.resize(picture, FRAME_WH) for picture in self.pictures[:FRAMES]]


def reason_of(error: Exception) -> str:
    """One line; with the type where the message is not one of ours."""
    text = str(error) if isinstance(error, RtsearchError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())


def line_of(entry: dict[str, Any]) -> str:
    """A figure for people."""
    return f"{entry['figure']}: " + ", ".join(f"{k} {v}" for k, v in entry.items() if k != "figure")


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
    """A device that a backend cannot close.

    Attributes:
        recorded: how often work was recorded.
    """

    def __init__(self, device: Any) -> None:
        self._device = device
        self.recorded = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._device, name)

    def capture(self, stream: int, work: Callable[[], None]) -> Any:
        graph = self._device.capture(stream, work)
        self.recorded += 1
        return graph

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
    """A network that is none: its outputs are those that the CPU computed for the picture shown last.

    Its types are those of an engine: with fp16 the taps are float16.
    """

    title = "outputs of the CPU"

    def __init__(self, bench: Bench, device: Any, batch: int) -> None:
        self._bench, self._device, self._batch = bench, device, batch
        self._bound: dict[str, int] = {}
        outputs = self._look(bench.pictures[0])
        width, height = bench.input_wh
        self.inputs = {"images": ((batch, 3, height, width), np.dtype(np.float32))}
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

    def planes_apart(self, picture: Any) -> float:
        """How far the first planes that the GPU made last are from those of the CPU, grey levels."""
        device, wanted = self._device, self._planes(picture)
        with device.use():
            stream = device.new_stream()
            pinned = device.allocate_pinned(wanted.nbytes)
            device.download(pinned, self._bound["images"], stream)
            device.synchronise(stream)
            got = pinned.view(np.float32).reshape(wanted.shape).copy()
            device.free_pinned(pinned)
            device.free_stream(stream)
        return float(np.abs(got - wanted).max() / self._bench.spec.pixel_scale)

    def _planes(self, picture: Any) -> Any:
        spec = self._bench.spec
        canvas = letterbox(picture, self._bench.input_wh, spec.pad_value)
        return cv2.dnn.blobFromImage(canvas, spec.pixel_scale, swapRB=spec.pixel_order == "rgb")

    def _look(self, picture: Any) -> dict[str, Any]:
        spec, taps = self._bench.spec, {tap.name for tap in self._bench.spec.taps}
        outputs = self._bench.runner.run(np.repeat(self._planes(picture), spec.batch or 1, axis=0))
        half = self._bench.args.precision == "fp16"
        return {
            name: np.repeat(array[:1], self._batch, axis=0).astype(
                np.float16 if half and name in taps else np.float32
            )
            for name, array in outputs.items()
        }
