"""Engines are found, built once, never half written; a build can be watched, stopped, left to a process."""

from __future__ import annotations

import sys
from pathlib import Path

import fake_tensorrt
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from rtsearch.engines import (
    Gpu,
    Machine,
    Order,
    adopt_engine,
    build_engine,
    check,
    find_engine,
    list_engines,
    load_flavour,
    passport_path,
    read_passport,
    targets_of,
)
from rtsearch.engines import flavour as flavour_module
from rtsearch.engines.compile import compile_network
from rtsearch.engines.network import network_for
from rtsearch.errors import EngineError, MissingDependencyError, ModelError, RunnerError, UnknownModelError

GPU = Gpu("H200", (9, 0))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    return fake_tensorrt.tiny_model(tmp_path_factory.mktemp("models"))


@pytest.fixture
def fake():
    return fake_tensorrt.flavour()


def order(model, **changed) -> Order:
    return Order(**{"model": model, "input_wh": (96, 64), **changed})


def left_in(folder):
    return [path.name for path in folder.iterdir() if path.suffix != ".lock"]


def asked(flavour, what):
    return [call for call in flavour.module.calls if call[0] == what]


# Libraries -------------------------------------------------------------------------------------------------


def test_without_any_library(monkeypatch):
    monkeypatch.setattr(flavour_module, "installed_flavours", tuple)
    with pytest.raises(MissingDependencyError, match=r"no TensorRT is installed.*rtsearch\[rtx\]"):
        load_flavour()


@pytest.mark.parametrize(
    ("there", "gpu", "chosen"),
    [
        (("tensorrt_rtx",), True, "tensorrt_rtx"),
        (("tensorrt", "tensorrt_rtx"), True, "tensorrt"),
        (("tensorrt", "tensorrt_rtx"), False, "tensorrt_rtx"),
        (("tensorrt",), False, "tensorrt"),
    ],
)
def test_auto_takes_what_can_build_here(monkeypatch, there, gpu, chosen):
    monkeypatch.setattr(flavour_module, "installed_flavours", lambda: there)
    monkeypatch.setattr(flavour_module, "_load", lambda name: name)
    assert load_flavour("auto", gpu=gpu) == chosen


def test_a_stub_does_not_hide_the_other_library(monkeypatch):
    def load(name):
        if name == "tensorrt":
            raise MissingDependencyError("a stub")
        return name

    monkeypatch.setattr(flavour_module, "_load", load)
    monkeypatch.setattr(flavour_module, "installed_flavours", lambda: ("tensorrt", "tensorrt_rtx"))
    assert load_flavour() == "tensorrt_rtx"
    monkeypatch.setattr(flavour_module, "installed_flavours", lambda: ("tensorrt",))
    with pytest.raises(MissingDependencyError, match="a stub"):
        load_flavour()


@pytest.mark.parametrize(
    ("name", "version", "problem"),
    [
        ("tensorrt", "10.13.0.35", ""),
        ("tensorrt", "11.4.0.106", ""),
        ("tensorrt_rtx", "1.7.1.116", ""),
        ("tensorrt", "8.6.1", "8.6.1 is not known to rtsearch; install 10.13 to below 12.0"),
        ("tensorrt", "12.0", "12.0 is not known"),
        ("tensorrt_rtx", "dev", "dev is not known"),
    ],
)
def test_versions(monkeypatch, name, version, problem):
    monkeypatch.setitem(sys.modules, name, fake_tensorrt.FakeTensorRT(name, version))
    if problem:
        with pytest.raises(RunnerError, match=problem.replace(".", r"\.")):
            flavour_module._load.__wrapped__(name)
    else:
        assert flavour_module._load.__wrapped__(name).version == version


def test_a_package_that_is_only_a_stub(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", sys)  # has no version
    with pytest.raises(MissingDependencyError, match=r"tensorrt cannot be loaded .*pip install tensorrt"):
        flavour_module._load.__wrapped__("tensorrt")


@pytest.mark.parametrize(
    ("name", "gpu", "targets"),
    [
        ("tensorrt_rtx", None, ("8.6",)),
        ("tensorrt_rtx", (8, 6), ("8.6",)),
        ("tensorrt_rtx", (7, 5), ("7.5",)),
        ("tensorrt", (9, 0), ("9.0",)),
    ],
)
def test_what_an_engine_is_built_for(name, gpu, targets):
    there = None if gpu is None else Gpu("some", gpu)
    assert targets_of(fake_tensorrt.flavour(name), there) == targets


@pytest.mark.parametrize(
    ("name", "gpu", "reason"),
    [
        ("tensorrt", None, "on the GPU that runs them, and there is none here"),
        ("tensorrt_rtx", GPU, r"makes no code for this GPU \(compute capability 9\.0; it knows 7\.5, 8\.6\)"),
    ],
)
def test_what_cannot_be_built(name, gpu, reason):
    with pytest.raises(RunnerError, match=reason):
        targets_of(fake_tensorrt.flavour(name), gpu)


# Building --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_an_engine_and_its_passport(model, fake, tmp_path, precision):
    recipe = {"name": "form-colour-class", "version": 1}
    path = build_engine(order(model, precision=precision, describe=recipe), tmp_path, fake, GPU)
    assert path.name == f"yolo26n-96x64-b1-{precision}.tensorrt-sm90.engine"
    passport = read_passport(path)
    assert passport.inputs == {"images": ((1, 3, 64, 96), "float32")}
    assert {name: dtype for name, (_, dtype) in passport.outputs.items()} == {
        "boxes": "float32",
        "scores": "float32",
        "tap0": "float32",
    }
    assert (passport.flavour, passport.version, passport.gpu) == ("tensorrt", "11.4.0", "H200")
    assert (passport.compute_capabilities, passport.precision) == (("9.0",), precision)
    assert passport.describe == recipe
    assert passport.spec.name == "yolo26n"
    assert check(path, Machine.of(fake, GPU), model_sha256=passport.model_sha256).content == path.read_bytes()
    assert find_engine(order(model, precision=precision), tmp_path, fake, GPU) == path


@pytest.mark.parametrize(("version", "flags"), [("10.13.3", 2), ("11.4.0", 0)])
def test_types_come_from_the_network(tiny, tmp_path, version, flags):
    library = fake_tensorrt.flavour(version=version)
    build_engine(order(tiny), tmp_path, library, GPU)
    assert asked(library, "network") == [("network", flags)]


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_float32_means_float32(tiny, fake, tmp_path, precision):
    build_engine(order(tiny, precision=precision), tmp_path, fake, GPU)
    assert asked(fake, "clear") == [("clear", fake.module.BuilderFlag.TF32)]


@pytest.mark.parametrize(("name", "flags"), [("tensorrt", []), ("tensorrt_rtx", ["REQUIRE_USER_ALLOCATION"])])
def test_an_engine_takes_no_memory_while_it_runs(tiny, tmp_path, name, flags):
    library = fake_tensorrt.flavour(name, version="11.4.0" if name == "tensorrt" else "1.7.1")
    build_engine(order(tiny), tmp_path, library, Gpu("some", (8, 6)))
    assert [flag.name for _, flag in asked(library, "set")] == flags


def test_what_is_there_and_fits_is_not_built_again(tiny, fake, tmp_path):
    first = build_engine(order(tiny), tmp_path, fake, GPU)
    made = first.stat().st_mtime_ns
    assert build_engine(order(tiny), tmp_path, fake, GPU) == first
    assert first.stat().st_mtime_ns == made
    assert len(asked(fake, "network")) == 1


@pytest.mark.parametrize("what", ["tampered", "truncated", "no passport", "other passport"])
def test_what_does_not_fit_is_built_again(tiny, fake, tmp_path, what):
    path = build_engine(order(tiny), tmp_path, fake, GPU)
    whole = path.read_bytes()
    if what == "tampered":
        path.write_bytes(whole[:-1] + b"?")
    elif what == "truncated":
        path.write_bytes(whole[:-1])
    elif what == "no passport":
        passport_path(path).unlink()
    else:
        passport_path(path).write_text("{}")
    assert build_engine(order(tiny), tmp_path, fake, GPU) == path
    assert check(path, Machine.of(fake, GPU)).content == whole


@pytest.mark.parametrize("what", ["version", "gpu", "precision", "recipe"])
def test_an_engine_of_other_circumstances_is_not_found(tiny, tmp_path, what):
    fake = fake_tensorrt.flavour()
    path = build_engine(order(tiny, describe={"version": 1}), tmp_path, fake, GPU)
    wanted, library, gpu = order(tiny), fake, GPU
    assert find_engine(wanted, tmp_path, library, gpu) == path
    if what == "version":
        library = fake_tensorrt.flavour(version="11.5.0")
    elif what == "gpu":
        gpu = Gpu("H100", (9, 0))
    elif what == "precision":
        wanted = order(tiny, precision="fp32")
    else:
        wanted = order(tiny, describe={"version": 2})
    assert find_engine(wanted, tmp_path, library, gpu) is None


def test_progress_never_falls_and_reaches_the_end(tiny, fake, tmp_path):
    told = []
    build_engine(order(tiny), tmp_path, fake, GPU, progress=lambda what, share: told.append((what, share)))
    shares = [share for _, share in told]
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert 0 < shares[1] < shares[-1] <= 1
    assert told[0][0] == "preparing the network"


def test_a_library_that_fails_says_why_and_leaves_nothing(tiny, fake, tmp_path):
    fake.module.fails.add("build")
    with pytest.raises(EngineError, match=r"tensorrt 11\.4\.0 built nothing: no tactic fits"):
        build_engine(order(tiny), tmp_path, fake, GPU)
    assert left_in(tmp_path) == []


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"input_wh": (96, 96)}, "tiny takes 96x64 px only, not 96x96"),
        ({"batch": 8}, "tiny takes 1 pictures per pass, not 8"),
    ],
)
def test_sizes_that_the_model_does_not_take(tiny, fake, tmp_path, changed, reason):
    with pytest.raises(ModelError, match=reason):
        build_engine(order(tiny, **changed), tmp_path, fake, GPU)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"input_wh": (100, 64)}, "multiples of 32 from 32 to 4096 px, not 100x64"),
        ({"input_wh": (0, 0)}, "not 0x0"),
        ({"input_wh": (8192, 64)}, "not 8192x64"),
        ({"batch": 0}, "a batch of 0 pictures"),
    ],
)
def test_sizes_that_no_flexible_model_takes(model, fake, tmp_path, changed, reason):
    with pytest.raises(ModelError, match=reason):
        build_engine(order(model, **changed), tmp_path, fake, GPU)


def test_files_that_are_no_models(tmp_path, fake):
    with pytest.raises(UnknownModelError):
        build_engine(order(tmp_path / "no.onnx"), tmp_path, fake, GPU)
    (tmp_path / "junk.onnx").write_bytes(b"junk")
    with pytest.raises(ModelError):
        build_engine(order(tmp_path / "junk.onnx"), tmp_path, fake, GPU)


def test_a_folder_that_cannot_be_written_to(tiny, fake, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(EngineError, match="cannot write to"):
        build_engine(order(tiny), tmp_path / "file", fake, GPU)


def test_shapes_that_are_not_fixed(fake):
    node = helper.make_node("Relu", ["images"], ["boxes"])
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", 3]) for n in ("images", "boxes")]
    network = helper.make_model(helper.make_graph([node], "made", infos[:1], infos[1:]))
    with pytest.raises(EngineError, match="images has no fixed shape"):
        compile_network(fake, network.SerializeToString(), ("9.0",))


# Other people's engines, and all of them -------------------------------------------------------------------


def test_an_engine_that_somebody_vouches_for(tiny, fake, tmp_path):
    path = tmp_path / "theirs.engine"
    path.write_bytes(bytes(100))
    passport = adopt_engine(path, tiny, fake, GPU)
    assert (passport.origin, passport.gpu, passport.inputs) == ("adopted", "H200", {})
    assert check(path, Machine.of(fake, GPU)).content == bytes(100)
    path.write_bytes(bytes(99) + b"x")
    with pytest.raises(EngineError):
        check(path, Machine.of(fake, GPU))


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "No such file"), (b"", "0 bytes"), (b"x" * 63, "63 bytes")]
)
def test_what_nobody_can_vouch_for(tiny, fake, tmp_path, content, reason):
    if content is not None:
        (tmp_path / "x.engine").write_bytes(content)
    with pytest.raises(EngineError, match=reason):
        adopt_engine(tmp_path / "x.engine", tiny, fake, GPU)
    assert not (tmp_path / "x.engine.json").exists()


def test_all_engines_of_a_folder(tiny, fake, tmp_path):
    assert list_engines(tmp_path) == []
    path = build_engine(order(tiny), tmp_path, fake, GPU)
    (tmp_path / "stray.engine").write_bytes(b"x")
    (stray, problem), (found, passport) = list_engines(tmp_path)
    assert (stray.name, found) == ("stray.engine", path)
    assert isinstance(problem, EngineError)
    assert passport == read_passport(path)


# The network that is built ---------------------------------------------------------------------------------


def test_the_look_for_large_values_takes_one_small_picture(model, monkeypatch):
    seen = []

    def look(_, images):
        seen.append(images.shape)
        return set()

    monkeypatch.setattr("rtsearch.engines.network.near_the_limit", look)
    network_for(model, input_wh=(1280, 1280), batch=32, precision="fp16")
    assert seen == [(1, 3, 320, 320)]


@pytest.mark.parametrize("batch", [1, 3])
def test_a_flexible_model_is_fixed_to_one_shape(model, batch):
    content, spec = network_for(model, input_wh=(96, 64), batch=batch, precision="fp32")
    graph = onnx.shape_inference.infer_shapes(onnx.load_from_string(content), data_prop=True).graph
    dims = [dim.dim_value for dim in graph.input[0].type.tensor_type.shape.dim]
    assert dims == [batch, 3, 64, 96]
    import onnxruntime as ort

    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    outputs = session.run(None, {"images": np.zeros((batch, 3, 64, 96), np.float32)})
    assert outputs[0].shape == (batch, 126, 4)
    assert len(outputs) == 2 + len(spec.taps)
