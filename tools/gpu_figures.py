"""The measurements of gpu_check.py: each adds figures to a report, labelled with what made them."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import onnx
from gpu_stand import Bench, KeptOpen, StandIn, Stopwatch, TimedEngine, WithoutGraphs
from onnx import TensorProto, helper

from rtsearch._util.metrics import Meter
from rtsearch.config import DetectSettings
from rtsearch.engines.compile import compile_network
from rtsearch.engines.network import network_for
from rtsearch.errors import RunnerError
from rtsearch.gpu import GpuBackend
from rtsearch.perception.backend import CpuBackend
from rtsearch.perception.descriptor import Describer
from rtsearch.perception.detector import Detector
from rtsearch.search.projection import Projection

__all__ = ["copy_rates", "floor", "measure_pass"]

SETTINGS = DetectSettings()
WARM_UP = 100
COPY_BYTES = 64 << 20
COPIES = 20
MATRIX = 8192  # rows and columns, for the rate of float16 arithmetic
NEAR_PX = 16.0  # farther away it is another object
DIM = 64  # of the vectors that a library is searched with


def measure_pass(
    bench: Bench,
    device: Any,
    open_engine: Callable[[int], Any],
    batches: Sequence[int],
    *,
    steady_s: float,
) -> None:
    """All that is to be known of a pass with one network on one runtime."""
    one, kept = batches[0], KeptOpen(device)
    before = 0
    with bench.part("free memory"):
        before = free_bytes(device)
    with bench.part("whole pass"), backend_on(bench, open_engine(one), kept) as (backend, engine):
        with bench.part("parity with the CPU"):
            parity(bench, backend, engine, None)
            parity(bench, backend, engine, projection_of(bench, backend))
        show(bench, engine)
        whole_pass(bench, backend, kept)
        if before:
            bench.add("memory of the GPU", batch=one, mb=(before - free_bytes(device)) / 1e6)
        if device.graphs and not kept.recorded:
            raise RunnerError("it could not be recorded as a CUDA graph, and was sent step by step")
    with bench.part("steps"):
        watch = Stopwatch(device)
        with backend_on(bench, TimedEngine(open_engine(one), watch), watch) as (backend, _):
            step_times(bench, backend, watch)
        watch.close()
    if device.graphs:
        kept = WithoutGraphs(device)
        with bench.part("without a graph"), backend_on(bench, open_engine(one), kept) as (backend, _):
            whole_pass(bench, backend, kept)
    for batch in batches:
        with (
            bench.part(f"photos per second at batch {batch}"),
            backend_on(bench, open_engine(batch), KeptOpen(device)) as (backend, _),
        ):
            photo_rate(bench, backend, batch)
    if steady_s:  # the longest part comes last
        with bench.part("steady run"), backend_on(bench, open_engine(one), KeptOpen(device)) as (backend, _):
            steady_run(bench, backend, device, steady_s)


@contextlib.contextmanager
def backend_on(bench: Bench, engine: Any, device: Any) -> Iterator[tuple[GpuBackend, Any]]:
    try:
        backend = GpuBackend(engine, device, bench.spec)
    except BaseException:
        engine.close()
        raise
    try:
        show(bench, engine)
        yield backend, engine
    finally:
        backend.close()


def show(bench: Bench, engine: Any) -> None:
    """A stand-in sees nothing by itself, and without objects most kernels have nothing to do."""
    if hasattr(engine, "show"):
        engine.show(bench.frames()[0])


def projection_of(bench: Bench, backend: GpuBackend) -> Projection:
    """To as many numbers as a library is searched with; no library is needed to see how long it takes."""
    matrix = np.random.default_rng(0).standard_normal((backend.dim, DIM)) / np.sqrt(DIM)
    class_columns = np.arange(backend.dim - len(bench.spec.classes), backend.dim)
    return Projection(matrix.astype(np.float32), np.zeros(DIM, np.float32), class_columns)


def parity(bench: Bench, backend: GpuBackend, engine: Any, shorter: Projection | None) -> None:
    """Every photo on the CPU and on the GPU: how far are boxes, scores and vectors apart?"""
    cpu = CpuBackend(Detector(bench.runner, bench.spec, bench.input_wh), Describer(bench.spec))
    found, apart, planes = 0, [], []
    for picture in bench.pictures:
        wanted = cpu.see([picture], SETTINGS, Meter(), shorter)[0]
        if isinstance(engine, StandIn):
            engine.show(picture)
        got = backend.see([picture], SETTINGS, Meter(), shorter)[0]
        if isinstance(engine, StandIn):
            planes.append(engine.planes_apart(picture))
        found += len(wanted)
        scale = min(side / own for side, own in zip(bench.input_wh, picture.shape[1::-1], strict=True))
        apart += [pair for i in range(len(wanted)) if (pair := difference(wanted, i, got, scale))]
    box, score, cosine = np.array(apart or [(0.0, 0.0, 1.0)]).T
    bench.add(
        "parity with the CPU",
        dim=DIM if shorter else backend.dim,
        objects=found,
        not_found=found - len(apart),
        box_px_max=float(box.max()),
        score_max=float(score.max()),
        cosine_min=float(cosine.min()),
        share_within=float(((box < 1) & (score < 0.01) & (cosine > 0.999)).mean()),
    )
    if planes and not shorter:
        bench.add("parity of the letterbox", photos=len(planes), grey_levels_max=max(planes))


def difference(wanted: Any, i: int, got: Any, scale: float) -> tuple[float, float, float] | None:
    """Box in px of the network's input, score, and cosine of the same object; None where it is missing."""
    px = np.abs(got.xyxy - wanted.xyxy[i]).max(1, initial=0) * scale
    px = np.where(got.label == wanted.label[i], px, np.inf)
    if not len(px) or px.min() > NEAR_PX:
        return None
    j = int(px.argmin())
    a, b = wanted.vector[i].astype(np.float64), got.vector[j].astype(np.float64)
    cosine = float(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-12))
    return float(px[j]), float(abs(got.score[j] - wanted.score[i])), cosine


def whole_pass(bench: Bench, backend: GpuBackend, kept: KeptOpen) -> None:
    """From a frame in memory to objects and vectors in memory."""
    times = timed(bench, backend)
    bench.add("whole pass", graph=kept.recorded > 0, dim=DIM, frames=len(times), **spread(times))


def timed(bench: Bench, backend: GpuBackend) -> list[float]:
    """Milliseconds of each frame."""
    frames, count = bench.frames(), bench.args.frames
    meter, times, shorter = Meter(), [], projection_of(bench, backend)
    for i in range(min(WARM_UP, count) + count):
        start = time.perf_counter()
        backend.see([frames[i % len(frames)]], SETTINGS, meter, shorter)
        times.append((time.perf_counter() - start) * 1e3)
    return times[-count:]


def spread(times: Sequence[float]) -> dict[str, float]:
    p50, p99 = np.quantile(times, [0.5, 0.99])
    return {"p50_ms": float(p50), "p99_ms": float(p99), "max_ms": float(max(times))}


def step_times(bench: Bench, backend: GpuBackend, watch: Stopwatch) -> None:
    """Each step by itself, by the GPU's own clock; marks between them cost a little."""
    meter, steps, shorter = Meter(), {}, projection_of(bench, backend)
    frames = bench.frames()
    count = bench.args.frames
    for i in range(min(WARM_UP, count) + count):
        backend.see([frames[i % len(frames)]], SETTINGS, meter, shorter)
        taken = watch.take()
        if i >= min(WARM_UP, count):
            for name, ms in taken.items():
                steps.setdefault(name, []).append(ms)
    for name, times in steps.items():
        bench.add("step", step=name, frames=len(times), **spread(times))
    beside = sum(statistics.median(times) for name, times in steps.items() if name != "network")
    bench.add("all steps but the network", ms=float(beside))


def photo_rate(bench: Bench, backend: GpuBackend, batch: int) -> None:
    """Decoded photos to objects, as fast as they come."""
    frames = (bench.frames() * batch)[: 4 * batch]
    meter, done, shorter = Meter(), 0, projection_of(bench, backend)
    backend.see(frames, SETTINGS, meter, shorter)
    rounds = max(1, bench.args.frames // len(frames) // 4)
    start = time.perf_counter()
    for _ in range(rounds):
        done += len(backend.see(frames, SETTINGS, meter, shorter))
    bench.add("photos per second", batch=batch, rate=done / (time.perf_counter() - start), photos=done)


def steady_run(bench: Bench, backend: GpuBackend, device: Any, seconds: float) -> None:
    """Frame after frame: does it get slower, or grow?"""
    frames, meter, times, shorter = bench.frames(), Meter(), [], projection_of(bench, backend)
    backend.see(frames[:1], SETTINGS, meter, shorter)  # what it takes at first is no growth
    backend.see(frames[:1], SETTINGS, meter, shorter)
    before = free_bytes(device)
    start = last = time.perf_counter()
    while last - start < seconds:
        backend.see([frames[len(times) % len(frames)]], SETTINGS, meter, shorter)
        now = time.perf_counter()
        times.append((now - last) * 1e3)
        last = now
    grown = (before - free_bytes(device)) / 1e6
    bench.add("steady run", seconds=last - start, frames=len(times), grown_mb=grown, **spread(times))


def free_bytes(device: Any) -> int:
    with device.use():
        return int(device.memory_bytes()[0])


def copy_rates(bench: Bench, device: Any) -> None:
    """Pinned memory to the GPU and back, the floor of every upload and download."""
    with device.use():
        stream, start, end = device.new_stream(), device.new_event(), device.new_event()
        address, pinned = device.allocate(COPY_BYTES), device.allocate_pinned(COPY_BYTES)
        pinned[:] = 0
        for name, copy in (
            ("upload", lambda: device.upload(address, pinned, stream)),
            ("download", lambda: device.download(pinned, address, stream)),
        ):
            times = []
            for _ in range(COPIES):
                device.record(start, stream)
                copy()
                device.record(end, stream)
                device.synchronise(stream)
                times.append(device.elapsed_ms(start, end))
            bench.add("copy rate", direction=name, gb_per_s=COPY_BYTES / statistics.median(times) / 1e6)
        device.free(address)
        device.free_pinned(pinned)
        for event in (start, end):
            device.free_event(event)
        device.free_stream(stream)


def floor(bench: Bench, device: Any, flavour: Any) -> None:
    """What no network of this size can be faster than here: operations over the rate of a large product."""
    shape = [MATRIX, MATRIX]
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT16, shape) for name in "abc"]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["a", "b"], ["c"])], "product", infos[:2], infos[2:]
    )
    product = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    gpu = ".".join(map(str, device.compute_capability))
    engine = compile_network(flavour, product.SerializeToString(), (gpu,)).engine
    with device.use():
        ms = product_ms(device, flavour, engine)
    rate = 2 * MATRIX**3 / ms / 1e9
    operations = operations_of(bench)
    bench.add("float16 rate", tflop_per_s=rate, matrix=MATRIX)
    bench.add("floor of the network", gflop=operations / 1e9, ms=operations / rate / 1e9)


def product_ms(device: Any, flavour: Any, engine: bytes) -> float:
    """One product of two large matrices; the engine was built a moment ago and never left this process."""
    runtime = flavour.module.Runtime(flavour.logger)
    opened = runtime.deserialize_cuda_engine(engine)
    context = None if opened is None else opened.create_execution_context()
    if context is None:
        raise RunnerError(f"{flavour.name} cannot open what it built: {flavour.reason('no reason given')}")
    stream, start, end = device.new_stream(), device.new_event(), device.new_event()
    addresses = [device.allocate(2 * MATRIX * MATRIX) for _ in "abc"]
    # Not zeros: a GPU multiplies them with less power, so at a higher clock.
    numbers = device.allocate_pinned(2 * MATRIX * MATRIX)
    some = np.random.default_rng(0).standard_normal(MATRIX).astype(np.float16).view(np.uint8)
    numbers.reshape(MATRIX, -1)[:] = some
    for name, address in zip("abc", addresses, strict=True):
        device.upload(address, numbers, stream)
        context.set_tensor_address(name, address)
    device.synchronise(stream)
    device.free_pinned(numbers)
    times = []
    for _ in range(COPIES):
        device.record(start, stream)
        if not context.execute_async_v3(stream):
            raise RunnerError(f"{flavour.name} cannot multiply: {flavour.reason('no reason given')}")
        device.record(end, stream)
        device.synchronise(stream)
        times.append(device.elapsed_ms(start, end))
    for address in addresses:
        device.free(address)
    for event in (start, end):
        device.free_event(event)
    device.free_stream(stream)
    return statistics.median(times[COPIES // 2 :])


def operations_of(bench: Bench) -> float:
    """Multiplications and additions of the network's convolutions for one picture."""
    content, _ = network_for(
        bench.model, input_wh=bench.input_wh, batch=bench.spec.batch or 1, precision="fp32"
    )
    graph = onnx.shape_inference.infer_shapes(onnx.load_from_string(content), data_prop=True).graph
    shapes = {
        entry.name: [dim.dim_value for dim in entry.type.tensor_type.shape.dim]
        for entry in (*graph.value_info, *graph.output)
    }
    weights = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    total = 0.0
    for node in graph.node:
        if node.op_type == "Conv" and node.input[1] in weights:
            total += 2.0 * float(np.prod(shapes[node.output[0]])) * float(np.prod(weights[node.input[1]][1:]))
    return total / (bench.spec.batch or 1)
