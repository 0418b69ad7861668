"""The whole pass around the network, on a fake GPU that runs the kernels' CPU build."""

from __future__ import annotations

import logging
import re
from typing import Any

import cpu_kernels
import cv2
import naive
import numpy as np
import pytest
from fake_device import FakeDevice, FakeEngine
from test_kernels import Given, given_outputs, picture, spec_of

from rtsearch._util.metrics import Meter
from rtsearch.config import DetectSettings
from rtsearch.errors import RunnerError
from rtsearch.gpu import GpuBackend
from rtsearch.models.spec import ModelSpec
from rtsearch.perception.backend import CpuBackend
from rtsearch.perception.descriptor import Describer
from rtsearch.perception.detector import Detector
from rtsearch.runners.onnx import OnnxRunner
from rtsearch.search.projection import Projection

pytestmark = pytest.mark.skipif(not cpu_kernels.COMPILER, reason="no C++ compiler (g++)")

LOW = DetectSettings(threshold=0.1)


@pytest.fixture(scope="module")
def on_cpu(tmp_path_factory):
    return cpu_kernels.functions(cpu_kernels.build(tmp_path_factory))


class Looker:
    """A network whose boxes, scores and maps hang on the picture, so that mixed up pictures show."""

    def __init__(self, batch=1):
        self.fixed = given_outputs(3, batch=1)
        self.batch = batch

    def run(self, images):
        shift = images.mean((1, 2, 3))[:, None, None]
        outputs = {
            "boxes": self.fixed["boxes"] + 40 * shift,
            "scores": self.fixed["scores"] * (0.7 + 0.3 * shift),
        }
        for name in ("tap0", "tap1", "tap2"):
            outputs[name] = self.fixed[name] * (1 + shift[..., None]) + images[:, :1, :1, :1]
        return {name: array.astype(np.float32) for name, array in outputs.items()}

    def close(self):
        pass


def steps():
    spec = spec_of()
    return CpuBackend(Detector(Looker(), spec, (64, 64)), Describer(spec))


def fake_backend(on_cpu, *, batch=1, **device):
    network = Looker()
    fake = FakeDevice(on_cpu, **device)
    outputs = network.run(np.zeros((batch, 3, 64, 64), np.float32))
    there = {name: (array.shape, array.dtype) for name, array in outputs.items()}
    engine = FakeEngine(fake, {"images": ((batch, 3, 64, 64), np.float32)}, there, network.run)
    return GpuBackend(engine, fake, spec_of(), code=b"any"), fake, engine


def assert_same(got, wanted):
    assert len(got) == len(wanted)
    for one, other in zip(got, wanted, strict=True):
        assert np.array_equal(one.label, other.label)
        assert np.allclose(one.xyxy, other.xyxy, rtol=0, atol=0.5)
        assert np.allclose(one.score, other.score, rtol=0, atol=1e-3)
        assert np.allclose(one.vector, other.vector, rtol=0, atol=1e-2)


def verbs(fake, *names):
    return [entry[0] for entry in fake.log if entry[0] in names]


# ------------------------------------------------------------------------------------- the real network


def open_pair(model, on_cpu, precision=np.float32):
    spec = ModelSpec.read(model)
    runner = OnnxRunner(model, 0, (416, 416))
    outputs = runner.run(np.zeros((1, 3, 416, 416), np.float32))
    device = FakeDevice(on_cpu)
    there = {
        name: (array.shape, precision if name.startswith("tap") else np.float32)
        for name, array in outputs.items()
    }
    engine = FakeEngine(device, {"images": ((1, 3, 416, 416), precision)}, there, runner.run)
    cpu = CpuBackend(Detector(runner, spec, (416, 416)), Describer(spec))
    return cpu, GpuBackend(engine, device, spec, code=b"any")


def cosines(a, b):
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


@pytest.mark.parametrize("precision", [np.float32, np.float16])
def test_sees_on_real_pictures_what_the_cpu_sees(model, photos, on_cpu, precision):
    cpu, gpu = open_pair(model, on_cpu, precision)
    pictures = [
        cv2.imread(str(path)) for path in sorted(photos.rglob("*.*"))[:: 8 if precision == np.float32 else 12]
    ]
    wanted, got = (
        cpu.infer(pictures, DetectSettings(), Meter()),
        gpu.infer(pictures, DetectSettings(), Meter()),
    )
    assert sum(map(len, wanted)) >= 5
    for one, other in zip(got, wanted, strict=True):
        assert np.array_equal(one.label, other.label)
        assert np.abs(one.xyxy - other.xyxy).max(initial=0) < 0.5
        assert np.abs(one.score - other.score).max(initial=0) < 0.01
        assert (cosines(one.vector, other.vector) > 0.999).all()
    assert gpu.dim == cpu.dim
    gpu.close()


def test_sees_whole_images_and_follows_the_settings_on_real_pictures(model, photos, on_cpu):
    cpu, gpu = open_pair(model, on_cpu)
    pictures = [cv2.imread(str(path)) for path in sorted(photos.rglob("*.*"))[3:33:10]]
    for changes in ({"threshold": 0.05}, {"whole_image": True}, {"threshold": 0.6, "max_objects": 2}):
        settings = DetectSettings(**changes)
        assert_same(gpu.infer(pictures, settings, Meter()), cpu.infer(pictures, settings, Meter()))
    gpu.close()


# --------------------------------------------------------------------------------------- groups, order


@pytest.mark.parametrize("batch", [1, 2, 4])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 9])
def test_any_number_of_pictures_of_any_size(on_cpu, batch, count):
    backend, fake, _ = fake_backend(on_cpu, batch=batch)
    pictures = [picture(20 + 13 * i, 90 - 7 * i, i) for i in range(count)]
    assert_same(backend.infer(pictures, LOW, Meter()), steps().infer(pictures, LOW, Meter()))
    assert backend.batch == batch
    backend.close()
    assert fake.held() == {}


def test_the_next_picture_goes_up_before_the_last_one_is_waited_for(on_cpu):
    backend, fake, _ = fake_backend(on_cpu)
    backend.infer([picture()], LOW, Meter())
    fake.log.clear()
    backend.infer([picture(seed=i) for i in range(5)], LOW, Meter())
    order = "".join(verb[0] for verb in verbs(fake, "upload", "wait"))
    assert order == "uu" + "wu" * 3 + "ww"
    streams = {entry[2] for entry in fake.log if entry[0] == "upload"}
    assert len(streams) == 1
    assert streams != {entry[1] for entry in fake.log if entry[0] == "enqueue"}


def test_pictures_need_not_lie_in_one_piece(on_cpu):
    whole = picture(80, 100)
    backend, _, _ = fake_backend(on_cpu)
    for view in (whole[10:60, 20:90], whole[::-1], whole[:, ::2], np.asfortranarray(whole)):
        assert_same(backend.infer([view], LOW, Meter()), steps().infer([view], LOW, Meter()))


def test_what_was_seen_stays_when_the_next_picture_comes(on_cpu):
    backend, _, _ = fake_backend(on_cpu)
    first = backend.infer([picture(seed=1)], LOW, Meter())[0]
    kept = (first.xyxy.copy(), first.vector.copy())
    for seed in range(2, 6):
        backend.infer([picture(seed=seed)], LOW, Meter())
    assert np.array_equal(first.xyxy, kept[0])
    assert np.array_equal(first.vector, kept[1])


def test_the_meter_gets_one_stage(on_cpu):
    backend, _, _ = fake_backend(on_cpu)
    meter = Meter()
    backend.infer([picture()], LOW, meter)
    assert set(meter.summary()["stage_ms"]) == {"detect"}


# ------------------------------------------------------------------------------------ buffers, graphs


def test_buffers_are_used_again_and_grow_with_the_pictures(on_cpu):
    backend, fake, _ = fake_backend(on_cpu)
    cpu = steps()
    taking = ("allocate", "allocate_pinned", "free", "free_pinned", "new_stream", "new_event")

    def taken(height, width):
        fake.log.clear()
        pictures = [picture(height, width, i) for i in range(4)]
        assert_same(backend.infer(pictures, LOW, Meter()), cpu.infer(pictures, LOW, Meter()))
        return len(verbs(fake, *taking))

    assert taken(40, 60) > 0
    assert taken(40, 60) == 0
    assert taken(30, 50) == 0
    assert taken(100, 200) == 2 * 4  # of either slot the old ones go and new ones come
    assert taken(40, 60) == 0
    assert taken(100, 220) == 0  # they grew by more than was needed


def test_work_is_recorded_once_and_replayed_for_all_sizes_and_thresholds(on_cpu):
    backend, fake, engine = fake_backend(on_cpu)
    cpu = steps()
    for number in range(8):
        size = (60, 80) if number % 2 else (50, 30)
        settings = DetectSettings(
            threshold=0.1 * (number % 4),
            classes=("class 1", "class 3")[: number % 3],
            min_px=5 * (number % 2),
            whole_image=number > 4,
        )
        fake.log.clear()
        assert_same(
            backend.infer([picture(*size, number)], settings, Meter()),
            cpu.infer([picture(*size, number)], settings, Meter()),
        )
        if number == 0:
            assert verbs(fake, "capture", "launch_graph") == []
        elif number == 1:  # the first picture was larger or not: the memory is another one
            assert verbs(fake, "capture", "launch_graph") == ["capture", "launch_graph"]
        else:
            assert verbs(fake, "capture", "launch_graph", "launch") == ["launch_graph"]
    assert engine.passes == 8


def test_both_slots_are_recorded(on_cpu):
    backend, fake, _ = fake_backend(on_cpu)
    pictures = [picture(seed=i) for i in range(6)]
    backend.infer(pictures, LOW, Meter())
    fake.log.clear()
    assert_same(backend.infer(pictures, LOW, Meter()), steps().infer(pictures, LOW, Meter()))
    assert verbs(fake, "launch_graph", "launch") == ["launch_graph"] * 6


def test_another_number_of_objects_takes_other_memory(on_cpu):
    backend, fake, _ = fake_backend(on_cpu)
    cpu = steps()
    for most in (50, 3, 300, 1):
        settings = DetectSettings(threshold=0.02, max_objects=most, max_overlap=1)
        for seed in range(3):
            got = backend.infer([picture(seed=seed)], settings, Meter())
            assert_same(got, cpu.infer([picture(seed=seed)], settings, Meter()))
            assert len(got[0]) <= most
    backend.close()
    assert fake.held() == {}


def test_without_graphs_the_work_is_sent_step_by_step(on_cpu):
    backend, fake, _ = fake_backend(on_cpu, graphs=False)
    pictures = [picture(seed=i) for i in range(5)]
    assert_same(backend.infer(pictures, LOW, Meter()), steps().infer(pictures, LOW, Meter()))
    assert verbs(fake, "capture", "launch_graph") == []


def test_an_engine_that_cannot_be_recorded_is_sent_step_by_step(on_cpu, caplog):
    backend, fake, _ = fake_backend(on_cpu)
    backend.infer([picture()], LOW, Meter())
    fake.fails["capture"] = RunnerError("operation not permitted when stream is capturing")
    with caplog.at_level(logging.WARNING, "rtsearch"):
        for seed in range(3):
            assert_same(
                backend.infer([picture(seed=seed)], LOW, Meter()),
                steps().infer([picture(seed=seed)], LOW, Meter()),
            )
    assert len(caplog.records) == 1
    assert "not permitted" in caplog.text
    assert verbs(fake, "launch_graph") == []


# ------------------------------------------------------------------------------------------ projection


def test_vectors_are_projected_when_asked_for(on_cpu):
    backend, fake, _ = fake_backend(on_cpu)
    rng = np.random.default_rng(0)
    raw_dim = backend.dim
    raw = backend.infer([picture()], LOW, Meter())[0]
    for dim in (2, 64, 300):
        matrix = rng.standard_normal((raw_dim, dim)).astype(np.float32)
        projection = Projection(matrix, rng.standard_normal(dim).astype(np.float32))
        for _ in range(3):
            got = backend.infer([picture()], LOW, Meter(), projection)[0]
            assert got.vector.shape == (len(raw), dim)
            assert np.allclose(got.vector, projection.apply(raw.vector), rtol=0, atol=1e-4)
            assert np.array_equal(got.xyxy, raw.xyxy)
    assert np.array_equal(backend.infer([picture()], LOW, Meter())[0].vector, raw.vector)
    assert backend.dim == raw_dim
    backend.close()
    assert fake.held() == {}


@pytest.mark.parametrize("whole", [False, True])
def test_classes_are_scaled_to_unit_length_when_the_projection_says_so(on_cpu, whole):
    backend, _, _ = fake_backend(on_cpu)
    settings = DetectSettings(threshold=0.1, whole_image=whole)
    rng, classes = np.random.default_rng(0), np.arange(backend.dim - 5, backend.dim)
    matrix = rng.standard_normal((backend.dim, 9)).astype(np.float32)
    raw = backend.infer([picture()], settings, Meter())[0].vector
    vectors = []
    for columns in (classes, np.zeros(0, np.intp), classes):
        projection = Projection(matrix, np.ones(9, np.float32), columns)
        for _ in range(3):  # the third pass is a recorded one
            vectors.append(backend.infer([picture()], settings, Meter(), projection)[0].vector)
            wanted = [naive.projected(row, matrix, projection.offset, columns) for row in raw]
            np.testing.assert_allclose(vectors[-1], wanted, rtol=0, atol=1e-4)
            np.testing.assert_allclose(vectors[-1], projection.apply(raw), rtol=0, atol=1e-4)
    assert not np.allclose(vectors[0], vectors[3], atol=0.01)
    assert np.array_equal(backend.infer([picture()], settings, Meter())[0].vector, raw)  # stored as they are


def test_a_projection_with_the_classes_elsewhere_is_refused(on_cpu):
    backend, _, _ = fake_backend(on_cpu)
    matrix = np.zeros((backend.dim, 3), np.float32)
    with pytest.raises(RunnerError, match="classes in other places than the last 5"):
        backend.infer([picture()], LOW, Meter(), Projection(matrix, np.zeros(3, np.float32), np.arange(5)))


def test_a_projection_of_other_descriptions_is_refused(on_cpu):
    backend, _, _ = fake_backend(on_cpu)
    matrix = np.zeros((7, 3), np.float32)
    with pytest.raises(RunnerError, match=f"of 7 numbers, those of this network have {backend.dim}"):
        backend.infer([picture()], LOW, Meter(), Projection(matrix, np.zeros(3, np.float32)))


# ---------------------------------------------------------------------------------------------- errors


def test_closing_gives_everything_back_and_may_be_done_twice(on_cpu):
    backend, fake, engine = fake_backend(on_cpu, batch=2)
    backend.infer([picture(seed=i) for i in range(5)], LOW, Meter())
    backend.close()
    backend.close()
    assert fake.held() == {}
    assert fake.closed
    assert engine.closed
    with pytest.raises(RunnerError, match="closed"):
        backend.infer([picture()], LOW, Meter())


@pytest.mark.parametrize(
    "verb", ["upload", "launch", "enqueue", "wait", "download", "launch_graph", "record"]
)
def test_an_error_of_the_gpu_comes_out_and_the_next_picture_is_seen(on_cpu, verb):
    backend, fake, _ = fake_backend(on_cpu, graphs=verb == "launch_graph")
    pictures = [picture(seed=i) for i in range(5)]
    backend.infer(pictures, LOW, Meter())
    fake.fails[verb] = RunnerError("the GPU failed")
    with pytest.raises(RunnerError, match="the GPU failed"):
        backend.infer(pictures, LOW, Meter())
    assert_same(backend.infer(pictures, LOW, Meter()), steps().infer(pictures, LOW, Meter()))
    backend.close()
    assert fake.held() == {}


class Lost(FakeDevice):
    """A GPU that answers nothing any more once ``lost`` is set."""

    lost = False

    def _call(self, verb, *what):
        if self.lost:
            raise RunnerError("the GPU is lost")
        super()._call(verb, *what)


def test_a_lost_gpu_can_be_closed(on_cpu):
    network, fake = Looker(), Lost(on_cpu)
    there = {n: (a.shape, a.dtype) for n, a in network.run(np.zeros((1, 3, 64, 64), np.float32)).items()}
    engine = FakeEngine(fake, {"images": ((1, 3, 64, 64), np.float32)}, there, network.run)
    backend = GpuBackend(engine, fake, spec_of(), code=b"any")
    backend.infer([picture()], LOW, Meter())
    fake.lost = True
    for _ in range(2):
        with pytest.raises(RunnerError, match="the GPU is lost"):
            backend.infer([picture()], LOW, Meter())
    backend.close()
    assert engine.closed
    assert fake.closed


@pytest.mark.parametrize("verb", ["allocate", "allocate_pinned"])
def test_too_little_memory_is_an_error_and_smaller_pictures_still_go(on_cpu, verb):
    backend, fake, _ = fake_backend(on_cpu, most_bytes=20_000_000)
    assert_same(backend.infer([picture()], LOW, Meter()), steps().infer([picture()], LOW, Meter()))
    fake.fails[verb] = RunnerError("the GPU is out of memory")
    with pytest.raises(RunnerError, match="out of memory"):
        backend.infer([picture(500, 500)], LOW, Meter())
    for seed in range(3):
        assert_same(
            backend.infer([picture(seed=seed)], LOW, Meter()),
            steps().infer([picture(seed=seed)], LOW, Meter()),
        )
    backend.close()
    assert fake.held() == {}


@pytest.mark.parametrize("verb", ["load", "function", "allocate", "new_stream", "new_event"])
def test_an_opening_that_fails_leaves_nothing_behind(on_cpu, verb):
    network, fake = Looker(), FakeDevice(on_cpu)
    there = {n: (a.shape, a.dtype) for n, a in network.run(np.zeros((1, 3, 64, 64), np.float32)).items()}
    engine = FakeEngine(fake, {"images": ((1, 3, 64, 64), np.float32)}, there, network.run)
    fake.fails[verb] = RunnerError("the GPU failed")
    with pytest.raises(RunnerError, match="the GPU failed"):
        GpuBackend(engine, fake, spec_of(), code=b"any")
    assert fake.held() == {}
    assert not engine.closed  # it is the caller's until the backend is there
    assert not fake.closed


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no maps": ({"tap1": None}, "it has images, boxes, scores, tap0, tap2"),
    "another input": (
        {"images": ((1, 1, 64, 64), np.float32)},
        re.escape("images is float32 (1, 1, 64, 64)"),
    ),
    "other classes": ({"scores": ((1, 40, 6), np.float32)}, re.escape("scores is float32 (1, 40, 6)")),
    "other channels": ({"tap2": ((1, 15, 2, 2), np.float32)}, re.escape("tap2 is float32 (1, 15, 2, 2)")),
    "no cells": ({"tap2": ((1, 16, 0, 2), np.float32)}, re.escape("tap2 is float32 (1, 16, 0, 2)")),
    "a flat map": ({"tap2": ((1, 16), np.float32)}, re.escape("tap2 is float32 (1, 16)")),
    "open sizes": ({"boxes": ((-1, 40, 4), np.float32)}, re.escape("boxes is float32 (-1, 40, 4)")),
    "boxes of five": ({"boxes": ((1, 40, 5), np.float32)}, re.escape("boxes is float32 (1, 40, 5)")),
    "integers": ({"scores": ((1, 40, 5), np.int32)}, "scores is int32"),
}


@pytest.mark.parametrize("case", WRONG)
def test_an_engine_of_another_network_is_refused(on_cpu, case):
    changes, reason = WRONG[case]
    fake = FakeDevice(on_cpu)
    outputs = {name: (array.shape, array.dtype) for name, array in given_outputs().items()}
    inputs = {"images": ((1, 3, 64, 64), np.float32)}
    for name, change in changes.items():
        side = inputs if name in inputs else outputs
        side[name] = change
        if change is None:
            del side[name]
    engine = FakeEngine(fake, inputs, outputs, Given(given_outputs()).run)
    with pytest.raises(RunnerError, match=reason):
        GpuBackend(engine, fake, spec_of(), code=b"any")
    assert fake.held() == {}
