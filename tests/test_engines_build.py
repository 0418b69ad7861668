"""Engines are found, built once, never half written; a build can be watched, stopped, left to a process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import exports
import fake_tensorrt
import numpy as np
import onnx
import pytest
from filelock import FileLock
from onnx import TensorProto, helper

from rtsearch.engines import (
    BackgroundBuild,
    Gpu,
    Machine,
    Order,
    adopt_engine,
    build_engine,
    check,
    engine_file,
    find_engine,
    installed_flavours,
    list_engines,
    load_flavour,
    passport_path,
    read_passport,
    start_build,
    targets_of,
)
from rtsearch.engines import flavour as flavour_module
from rtsearch.engines.compile import compile_network
from rtsearch.engines.network import network_for
from rtsearch.errors import EngineError, MissingDependencyError, ModelError, RunnerError, UnknownModelError
from rtsearch.models import import_onnx

GPU = Gpu("H200", (9, 0))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    return fake_tensorrt.tiny_model(tmp_path_factory.mktemp("models"))


@pytest.fixture
def fake():
    return fake_tensorrt.flavour()


@pytest.fixture(scope="module")
def rtx():
    """The real library, which builds without a GPU."""
    if "tensorrt_rtx" not in installed_flavours():
        pytest.skip("TensorRT-RTX is not installed: pip install 'rtsearch[rtx]'")
    return load_flavour("tensorrt_rtx")


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


# Several processes, and Ctrl-C -----------------------------------------------------------------------------


def test_one_builds_the_others_wait_and_take_it(tiny, tmp_path):
    libraries = [fake_tensorrt.flavour() for _ in range(3)]
    made = []
    workers = [
        threading.Thread(
            target=lambda library=library: made.append(build_engine(order(tiny), tmp_path, library, GPU))
        )
        for library in libraries
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(set(made)) == 1
    assert len(made) == 3
    assert sum(len(asked(library, "network")) for library in libraries) == 1


def test_an_engine_that_another_process_builds_for_too_long(tiny, fake, tmp_path, monkeypatch):
    monkeypatch.setattr("rtsearch.engines.build._WAIT_S", 0.1)
    path = engine_file(order(tiny), tmp_path, fake, GPU)
    told = []
    with (
        FileLock(path.with_name(f".{path.name}.lock")),
        pytest.raises(EngineError, match="another process is building tiny-96x64"),
    ):
        build_engine(order(tiny), tmp_path, fake, GPU, progress=lambda what, _: told.append(what))
    assert told == [f"another process is building {path.name}; waiting for it"]


def test_ctrl_c_ends_the_build_and_leaves_nothing(tiny, fake, tmp_path):
    ended = threading.Event()

    def progress(what, share):
        if what == "Timing" and not ended.is_set():
            ended.set()
            signal.raise_signal(signal.SIGINT)
            time.sleep(0.3)  # the main thread notices meanwhile

    with pytest.raises(KeyboardInterrupt):
        build_engine(order(tiny), tmp_path, fake, GPU, progress=progress)
    assert ended.is_set()
    assert left_in(tmp_path) == []
    assert not [thread for thread in threading.enumerate() if "build" in thread.name and thread.is_alive()]
    assert build_engine(order(tiny), tmp_path, fake, GPU).exists()


def test_ctrl_c_while_the_building_thread_starts(tiny, fake, tmp_path, monkeypatch):
    start = threading.Thread.start

    def interrupted(thread):
        start(thread)
        if "build" in thread.name:
            raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build_engine(order(tiny), tmp_path, fake, GPU, progress=lambda _what, _share: time.sleep(0.05))
    assert left_in(tmp_path) == []
    assert not [thread for thread in threading.enumerate() if "build" in thread.name]


# The real library ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_default_model_becomes_an_engine(model, rtx, tmp_path, precision):
    told = []
    wanted = Order(model=model, input_wh=(640, 640), precision=precision)
    path = build_engine(wanted, tmp_path, rtx, progress=lambda what, share: told.append(share))
    passport = read_passport(path)
    assert passport.inputs == {"images": ((1, 3, 640, 640), "float32")}
    assert passport.outputs == {
        "boxes": ((1, 8400, 4), "float32"),
        "scores": ((1, 8400, 80), "float32"),
        "tap0": ((1, 256, 20, 20), "float32"),
    }
    assert "8.6" in passport.compute_capabilities
    assert "7.5" not in passport.compute_capabilities
    assert told == sorted(told)
    assert 0.5 < told[-1] <= 1
    machine = Machine(rtx.name, rtx.version, "any", "8.6")
    assert len(check(path, machine).content) == passport.engine_bytes > 1_000_000
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(EngineError, match="not those of its passport"):
        check(path, machine)


def test_yolox_becomes_an_engine(rtx, tmp_path):
    export = tmp_path / "export.onnx"
    export.write_bytes(exports.yolox_export((416, 416)).SerializeToString())
    model, _ = import_onnx(export, tmp_path, "yoloxn")
    for precision in ("fp32", "fp16"):
        path = build_engine(
            Order(model=model, input_wh=(416, 416), batch=2, precision=precision), tmp_path, rtx
        )
        assert read_passport(path).outputs["boxes"] == ((2, 3549, 4), "float32")


def test_a_turing_engine_is_one_of_its_own(model, rtx, tmp_path):
    turing = Gpu("T4", (7, 5))
    path = build_engine(order(model), tmp_path, rtx, turing)
    assert path.name == "yolo26n-96x64-b1-fp16.tensorrt_rtx-sm75.engine"
    assert read_passport(path).compute_capabilities == ("7.5",)
    assert find_engine(order(model), tmp_path, rtx, turing) == path
    with pytest.raises(EngineError, match="FP32 GEMM is not supported"):
        build_engine(order(model, precision="fp32"), tmp_path, rtx, turing)


def test_a_layer_that_is_not_supported_is_named(rtx):
    node = helper.make_node("Det", ["images"], ["boxes"], name="odd one")
    infos = [
        helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 32, 32]),
        helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [1, 3]),
    ]
    opsets = [helper.make_opsetid("", 17)]
    network = helper.make_model(helper.make_graph([node], "made", infos[:1], infos[1:]), opset_imports=opsets)
    with pytest.raises(EngineError, match=r"does not support Det \(node odd one\)") as caught:
        compile_network(rtx, network.SerializeToString(), ("8.6",))
    assert "\n" not in str(caught.value)


def test_a_network_that_is_none(rtx):
    with pytest.raises(EngineError, match="tensorrt_rtx"):
        compile_network(rtx, b"junk", ("8.6",))


# In the background -----------------------------------------------------------------------------------------


def wait(build, limit_s=100):
    end = time.monotonic() + limit_s
    while build.running and time.monotonic() < end:
        build.poll()
        time.sleep(0.05)
    return build.poll()


def test_a_build_elsewhere_ends_with_an_engine(tiny, rtx, tmp_path, monkeypatch):
    monkeypatch.setenv("RTSEARCH_ENGINES", str(tmp_path))
    build = start_build(order(tiny), "tensorrt_rtx")
    assert build.running
    path = wait(build)
    assert build.error == ""
    assert path == engine_file(order(tiny), tmp_path, rtx, None)
    assert build.what != ""
    assert read_passport(path).spec.name == "tiny"
    assert read_passport(path).describe["name"] == "form-colour-class"
    build.cancel()
    assert build.poll() == path


@pytest.mark.slow
def test_a_build_elsewhere_that_fails_says_why(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("RTSEARCH_ENGINES", str(tmp_path))
    build = start_build(order(tiny, batch=8), "tensorrt_rtx")
    assert wait(build) is None
    assert build.error == "tiny takes 1 pictures per pass, not 8"
    build.cancel()
    assert "8" in build.error


def test_a_build_elsewhere_can_be_cancelled(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("RTSEARCH_ENGINES", str(tmp_path))
    build = start_build(order(tiny), "tensorrt_rtx")
    assert build._process is not None
    pid = build._process.pid
    build.cancel()
    assert not build.running
    assert (build.poll(), build.error) == (None, "cancelled")
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def other_process(*lines, code=0):
    """A build that says some lines one by one, each once a file of that number is there; then it ends."""
    steps = "".join(f"wait({i})\nprint({line!r}, flush=True)\n" for i, line in enumerate(lines))
    wait_for = "import os, sys, time\ndef wait(i):\n    while not os.path.exists(str(i)): time.sleep(0.01)\n"
    return BackgroundBuild([sys.executable, "-c", f"{wait_for}{steps}sys.exit({code})"])


def heard(build, share, limit_s=20):
    end = time.monotonic() + limit_s
    while build.share != share and time.monotonic() < end:
        assert build.poll() is None
        time.sleep(0.01)
    return build.what, build.share


def test_a_build_elsewhere_tells_how_far_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    build = other_process(
        '{"what": "preparing the network", "share": 0.125}',
        'a warning of some library\n[1, 2]\n{"what": "no share"}\n{"what": "x", "share": []}',
        '{"what": "Timing", "share": 0.5}\n{"what": "Linking", "share": 0.25}\n{"engines": [{"file": "x"}]}',
    )
    assert (build.what, build.share) == ("", 0.0)
    Path("0").touch()
    assert heard(build, 0.125) == ("preparing the network", 0.125)
    Path("1").touch()
    Path("2").touch()
    assert wait(build) == Path("x")
    assert (build.what, build.share) == ("Linking", 0.5)  # what is done is never undone
    assert build.error == ""


@pytest.mark.parametrize(
    ("lines", "code", "reason"),
    [
        ((), 0, "the build ended with code 0"),
        (('{"engines": [{"file": "x"}]}',), 3, "the build ended with code 3"),
        (('{"engines": []}',), 0, "the build ended with code 0"),
        (('{"engines": 1}', '{"what": "Timing", "share": 1}'), 0, "the build ended with code 0"),
    ],
)
def test_a_build_elsewhere_that_made_nothing(tmp_path, monkeypatch, lines, code, reason):
    monkeypatch.chdir(tmp_path)
    for i in range(len(lines)):
        Path(str(i)).touch()
    build = other_process(*lines, code=code)
    assert wait(build) is None
    assert build.error == reason


def test_python_m_is_the_command():
    done = subprocess.run(
        [sys.executable, "-P", "-m", "rtsearch", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("rtsearch ")


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
