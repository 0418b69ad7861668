"""The runner of engines: opened only if it may be, run on buffers of its own or others', closed in order."""

from __future__ import annotations

import json
import os
import shutil
import struct
from pathlib import Path

import fake_tensorrt
import numpy as np
import pytest
from fake_device import FakeDevice

from rtsearch.engines import Gpu, Order, adopt_engine, build_engine, check, passport_path
from rtsearch.errors import EngineError, RunnerError
from rtsearch.models import ModelSpec
from rtsearch.runners import Runner
from rtsearch.runners import tensorrt as module
from rtsearch.runners.tensorrt import TensorRTRunner

SHAPE = (2, 3, 64, 96)


@pytest.fixture
def device():
    return FakeDevice(compute_capability=(9, 0))


@pytest.fixture
def fake(device, monkeypatch):
    library = fake_tensorrt.flavour(device=device)
    monkeypatch.setattr(module, "load_flavour", lambda name: library)
    return library


@pytest.fixture(scope="module", params=["fp16", "fp32"])
def made(request, model, tmp_path_factory) -> Path:
    """An engine of the default model, for two pictures of 96x64 px."""
    order = Order(model=model, input_wh=(96, 64), batch=2, precision=request.param)
    gpu = Gpu(FakeDevice.name, (9, 0))
    return build_engine(order, tmp_path_factory.mktemp("made"), fake_tensorrt.flavour(), gpu)


@pytest.fixture
def engine(made, fake, tmp_path) -> Path:
    """A copy of it that a test may break."""
    shutil.copy(passport_path(made), tmp_path)
    return Path(shutil.copy(made, tmp_path))


def asked(fake, what):
    return [call for call in fake.module.calls if call[0] == what]


def images(*shape):
    return np.random.default_rng(0).random(shape).astype(np.float32)


def test_shapes_and_types_are_those_of_the_engine(engine, device, model):
    runner = TensorRTRunner(engine, device, model_sha256=ModelSpec.read(model).sha256)
    assert runner.inputs == {"images": (SHAPE, np.dtype(np.float32))}
    assert runner.outputs == {
        "boxes": ((2, 126, 4), np.dtype(np.float32)),
        "scores": ((2, 126, 80), np.dtype(np.float32)),
        "tap0": ((2, 256, 2, 3), np.dtype(np.float32)),
    }
    assert runner.library == "tensorrt 11.4.0"
    assert runner.spec == ModelSpec.read(model)
    runner.close()


def test_a_pass_by_itself(engine, device):
    runner: Runner = TensorRTRunner(engine, device)
    pictures = images(*SHAPE)
    for _ in range(2):
        outputs = runner.run(pictures)
        assert list(outputs) == ["boxes", "scores", "tap0"]
        for name, array in outputs.items():
            assert array.dtype == np.float32, name
            want = np.arange(array.size).reshape(array.shape) % 7 + pictures.mean()
            np.testing.assert_allclose(array, want, atol=5e-3)
    first = runner.run(pictures)["boxes"]
    kept = first.copy()
    runner.run(pictures * 0)
    np.testing.assert_array_equal(first, kept)  # the caller's own
    runner.close()


def test_buffers_are_made_once_and_given_back(engine, device, fake):
    runner = TensorRTRunner(engine, device)
    assert device.memory == {}
    runner.run(images(*SHAPE))
    made = set(device.memory)
    runner.run(images(*SHAPE))
    assert set(device.memory) == made
    runner.close()
    assert (device.memory, device.pinned, device.streams) == ({}, {}, {})


def test_somebody_elses_buffers_and_stream(engine, device):
    runner = TensorRTRunner(engine, device)
    with device.use():
        stream = device.new_stream()
        places = {}
        for name, (shape, dtype) in {**runner.inputs, **runner.outputs}.items():
            size_bytes = int(np.prod(shape)) * dtype.itemsize
            places[name] = device.allocate(size_bytes)
            runner.bind(name, places[name])
            device.view(places[name], size_bytes)[:] = 0
        runner.enqueue(stream)
        boxes = device.view(places["boxes"], 2 * 126 * 4 * 4).view(np.float32)
        assert not boxes.any()  # asynchronous
        device.synchronise(stream)
        np.testing.assert_array_equal(boxes[:9], [0, 1, 2, 3, 4, 5, 6, 0, 1])
    runner.close()


@pytest.mark.parametrize(
    "wrong",
    [images(1, 3, 64, 96), images(2, 3, 96, 64), images(3, 64, 96), np.zeros(SHAPE, np.float64)],
)
def test_pictures_of_another_size_or_type(engine, device, wrong):
    runner = TensorRTRunner(engine, device)
    with pytest.raises(RunnerError, match=r"expected float32 \(2, 3, 64, 96\), got"):
        runner.run(wrong)
    assert runner.run(images(*SHAPE))
    runner.close()


def test_a_closed_runner_says_so(engine, device):
    runner = TensorRTRunner(engine, device)
    runner.run(images(*SHAPE))
    runner.close()
    runner.close()
    for use in (
        lambda: runner.run(images(*SHAPE)),
        lambda: runner.enqueue(1),
        lambda: runner.bind("boxes", 1),
    ):
        with pytest.raises(RunnerError, match="is closed"):
            use()


# What must not be deserialised -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-1] + b"?"),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(b""),
        lambda path: path.unlink(),
        lambda path: passport_path(path).unlink(),
        lambda path: passport_path(path).write_text("{}"),
        lambda path: passport_path(path).write_text(
            passport_path(path).read_text().replace('"flavour": "tensorrt"', '"flavour": "os"')
        ),
    ],
)
def test_the_library_never_sees_an_engine_that_was_changed(engine, device, fake, change):
    change(engine)
    with pytest.raises(EngineError) as caught:
        TensorRTRunner(engine, device)
    assert "\n" not in str(caught.value)
    assert asked(fake, "deserialise") == []


def test_the_library_never_sees_an_engine_of_another_machine(engine, fake):
    with pytest.raises(EngineError, match=r"made for compute capability 9\.0, here is 8\.6"):
        TensorRTRunner(engine, FakeDevice(compute_capability=(8, 6)))
    object.__setattr__(fake, "version", "11.5.0")
    with pytest.raises(EngineError, match=r"made by tensorrt 11\.4\.0, here is 11\.5\.0"):
        TensorRTRunner(engine, FakeDevice(compute_capability=(9, 0)))
    assert asked(fake, "deserialise") == []


def test_the_library_never_sees_an_engine_of_another_model(engine, device, fake):
    with pytest.raises(EngineError, match="made of another yolo26n"):
        TensorRTRunner(engine, device, model_sha256="0" * 64)
    assert asked(fake, "deserialise") == []


def test_a_file_that_is_swapped_after_it_was_read_changes_nothing(engine, device, fake, monkeypatch):
    real = check

    def check_then_swap(path, *arguments, **named):
        checked = real(path, *arguments, **named)
        path.write_bytes(b"swapped")
        return checked

    monkeypatch.setattr(module, "check", check_then_swap)
    size = engine.stat().st_size
    TensorRTRunner(engine, device).close()
    assert asked(fake, "deserialise") == [("deserialise", size)]


# What goes wrong on the GPU --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fails", "message"),
    [
        ("deserialise", r"cannot be opened by tensorrt 11\.4\.0: Serialization assertion failed"),
        ("context", r"tensorrt 11\.4\.0 cannot make a context: Out of memory"),
    ],
)
def test_an_engine_that_cannot_be_opened(engine, device, fake, fails, message):
    fake.module.fails.add(fails)
    with pytest.raises(RunnerError, match=message) as caught:
        TensorRTRunner(engine, device)
    assert "\n" not in str(caught.value)
    assert device.memory == {}


@pytest.mark.parametrize(
    ("fails", "message"),
    [("enqueue", "cannot run: CUDA error 999: the GPU has fallen"), ("bind", "cannot bind images")],
)
def test_a_pass_that_fails(engine, device, fake, fails, message):
    runner = TensorRTRunner(engine, device)
    fake.module.fails.add(fails)
    with pytest.raises(RunnerError, match=message):
        runner.run(images(*SHAPE))
    fake.module.fails.clear()
    assert runner.run(images(*SHAPE))
    runner.close()


@pytest.mark.parametrize("verb", ["new_stream", "allocate", "allocate_pinned", "upload", "synchronise"])
def test_a_gpu_that_fails_around_the_pass(engine, device, verb):
    runner = TensorRTRunner(engine, device)
    device.fails[verb] = RunnerError("the GPU is out of memory")
    with pytest.raises(RunnerError, match="out of memory"):
        runner.run(images(*SHAPE))
    assert runner.run(images(*SHAPE))
    runner.close()
    assert (device.memory, device.pinned) == ({}, {})


def test_a_gpu_that_is_lost_does_not_hinder_closing(engine, device):
    runner = TensorRTRunner(engine, device)
    runner.run(images(*SHAPE))
    device.fails["synchronise"] = RunnerError("the GPU was lost")
    runner.close()
    with pytest.raises(RunnerError, match="is closed"):
        runner.run(images(*SHAPE))


# Engines of others -----------------------------------------------------------------------------------------


def adopted(path, content, model, fake, device):
    path.write_bytes(content)
    adopt_engine(path, model, fake, Gpu(device.name, device.compute_capability))
    return path


def test_an_engine_with_a_text_in_front(engine, device, fake, model, tmp_path):
    text = json.dumps({"names": {"0": "person"}}).encode()
    content = struct.pack("<i", len(text)) + text + engine.read_bytes()
    theirs = adopted(tmp_path / "theirs.engine", content, model, fake, device)
    runner = TensorRTRunner(theirs, device)
    assert asked(fake, "deserialise") == [("deserialise", engine.stat().st_size)]
    assert runner.run(images(*SHAPE))["boxes"].shape == (2, 126, 4)
    runner.close()


OURS = [("images", "in", "float32", (1, 3, 64, 96)), ("boxes", "out", "float32", (1, 126, 4))]


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (
            [*OURS[:1], ("output0", "out", "float32", (1, 84, 126))],
            "has images, output0; expected images, boxes",
        ),
        (OURS, "expected images, boxes, scores, tap0"),
        ([("images", "in", "float32", (-1, 3, 64, 96)), *OURS[1:]], "and a fixed shape"),
        ([("images", "in", "int8", (1, 3, 64, 96)), *OURS[1:]], "expected float16 or float32"),
    ],
)
def test_a_network_that_is_not_ours(tensors, message, device, fake, model, tmp_path):
    path = adopted(tmp_path / "theirs.engine", fake_tensorrt.described(tensors), model, fake, device)
    with pytest.raises(RunnerError, match=message):
        TensorRTRunner(path, device)


def test_an_engine_that_is_not_as_its_passport_says(engine, device):
    passport = passport_path(engine)
    values = json.loads(passport.read_text())
    values["outputs"]["boxes"][0][1] = 127
    passport.write_text(json.dumps(values))
    with pytest.raises(RunnerError, match="other shapes than its passport says"):
        TensorRTRunner(engine, device)


@pytest.mark.slow
def test_the_real_library_without_a_gpu(model, tmp_path):
    """It is given the engine, finds no driver, and that is said in one line."""
    from rtsearch.engines import installed_flavours, load_flavour

    if "tensorrt_rtx" not in installed_flavours():
        pytest.skip("TensorRT-RTX is not installed: pip install 'rtsearch[rtx]'")
    if os.path.exists("/dev/nvidiactl"):  # noqa: PTH110 - a device, not a file of ours
        pytest.skip("there is a GPU")
    path = build_engine(Order(model=model, input_wh=(64, 64)), tmp_path, load_flavour("tensorrt_rtx"))
    with pytest.raises(RunnerError, match=r"cannot be opened by tensorrt_rtx 1\.\d+.*driver") as caught:
        TensorRTRunner(path, FakeDevice(compute_capability=(8, 6)))
    assert "\n" not in str(caught.value)
