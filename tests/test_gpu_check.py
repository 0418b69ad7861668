"""The check of a GPU: one clear line where there is none; every figure named, tried on a fake one."""

from __future__ import annotations

import json
import os
import shutil
import site
import subprocess
import sys
import zipfile
from pathlib import Path

import cpu_kernels
import fake_tensorrt
import forked
import pytest
from fake_device import FakeDevice

from rtsearch.errors import MissingDependencyError, RunnerError

TOOLS = Path(__file__).resolve().parents[1] / "tools"
CHECK = TOOLS / "gpu_check.py"


def call(*arguments):
    done = forked.run(
        [sys.executable, str(CHECK), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


# Without a GPU ---------------------------------------------------------------------------------------------


@pytest.fixture
def without_gpu():
    if Path("/dev/nvidiactl").exists():
        pytest.skip("there is a GPU")


def test_without_a_gpu_it_says_so_in_json(without_gpu):
    done = call("--json")
    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (3, "", 1)
    report = json.loads(done.stdout)
    assert report["summary"].startswith("nothing was measured: no GPU can be used here (cuda: ")
    assert (report["gpu"], report["runtimes"], report["figures"]) == (None, [], [])
    assert set(report["not_run"]) == {"cuda", "pycuda"}
    assert "numpy" in report["packages"]


def test_without_a_gpu_it_says_so_in_words(without_gpu):
    done = call()
    assert done.returncode == 3
    assert done.stdout.startswith("nothing was measured: no GPU")
    assert done.stderr == ""


def test_from_a_checkout_nothing_need_be_installed(without_gpu, tmp_path):
    packages = [path for path in sys.path if path.endswith("site-packages")]
    done = subprocess.run(  # -S: what only a .pth file leads to, as this checkout, is not found
        [sys.executable, "-S", str(CHECK)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(packages)},
    )
    assert (done.returncode, done.stderr) == (3, "")


def test_help_tells_the_exit_codes():
    done = call("--help")
    assert done.returncode == 0
    said = " ".join(done.stdout.split())
    assert (
        "0 measured, 3 nothing to measure here (no GPU or no driver), 2 something it needs is missing" in said
    )


def test_packages_come_from_a_folder_of_wheels(tmp_path, monkeypatch):
    wheel = tmp_path / "found_in_wheel-1.0-py3-none-any.whl"
    info = "found_in_wheel-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("found_in_wheel.py", "HERE = 1\n")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: found-in-wheel\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    monkeypatch.syspath_prepend(str(TOOLS))
    import gpu_check

    before = list(sys.path)
    with gpu_check.unpacked(tmp_path) as folder:
        assert (folder / "found_in_wheel.py").is_file()
        assert sys.path[0] == str(folder)
        assert str(folder) in site.getsitepackages()  # the only places where NVRTC is looked for
    assert not folder.exists()
    assert (sys.path, str(folder) in site.getsitepackages()) == (before, False)


def test_a_wheel_for_another_machine_is_one_line(tmp_path):
    (tmp_path / "some-1.0-cp27-none-win32.whl").write_bytes(b"")
    done = call("--wheels", tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "some-1.0-cp27-none-win32.whl" in done.stderr


# On a fake one ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kernels(tmp_path_factory):
    if not cpu_kernels.COMPILER:
        pytest.skip("no C++ compiler (g++)")
    return cpu_kernels.functions(cpu_kernels.build(tmp_path_factory))


@pytest.fixture
def few(photos, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("bikes-000030", "bikes-000035", "bikes-000055", "bikes-000130"):  # with objects at 96 px too
        shutil.copy(photos / f"{name}.jpg", folder)
    return folder


@pytest.fixture
def check(monkeypatch, kernels, few, model):
    """Runs the check on a fake GPU; gives it and the report."""
    monkeypatch.syspath_prepend(str(TOOLS))
    import gpu_check
    import gpu_figures

    device = FakeDevice(kernels)
    device.runtime = "cuda"
    others = {}

    def open_device(runtime):
        if runtime == "cuda":
            return device
        if runtime in others:
            return others[runtime]
        raise MissingDependencyError("package pycuda is not there")

    monkeypatch.setattr("rtsearch.runners.open_device", open_device)
    monkeypatch.setattr("rtsearch.gpu.work.compiled", lambda _: b"any")
    monkeypatch.setattr(gpu_figures, "MATRIX", 16)
    monkeypatch.setattr(gpu_figures, "COPY_BYTES", 1 << 16)
    monkeypatch.setattr(gpu_check, "BATCHES", (1, 2))

    def run(capsys):
        arguments = ["--json", "--size", "96", "--frames", "3", "--seconds", "0.1", "--photos", str(few)]
        code = gpu_check.main([*arguments, "--model", str(model)])
        assert device.closed
        assert device.held() == {}
        return code, json.loads(capsys.readouterr().out)

    run.__dict__.update(device=device, others=others, figures=gpu_figures)
    return run


def figures(report, name):
    return [entry for entry in report["figures"] if entry["figure"] == name]


@pytest.fixture
def no_library(monkeypatch):
    def missing(name, **_):
        raise MissingDependencyError(f"{name} is not there")

    monkeypatch.setattr("gpu_stand.load_flavour", missing)


def test_without_a_library_kernels_and_graphs_are_measured(check, no_library, monkeypatch, capsys):
    told = []
    monkeypatch.setattr("gpu_stand.print", lambda line, **_: told.append(line), raising=False)
    code, report = check(capsys)
    assert code == 0
    assert report["summary"].startswith("no TensorRT can run here: kernels and graphs were measured around")
    assert report["not_run"]["tensorrt"] == "tensorrt is not there"
    assert report["not_run"]["pycuda"] == "package pycuda is not there"
    raw, short = figures(report, "parity with the CPU")
    assert raw["network"] == "outputs of the CPU"
    assert raw["objects"] >= 2
    assert (raw["not_found"], raw["share_within"]) == (0, 1.0)
    assert (short["dim"], short["not_found"], short["share_within"]) == (64, 0, 1.0)
    (letterbox,) = figures(report, "parity of the letterbox")
    assert letterbox["grey_levels_max"] <= 1
    assert {entry["graph"] for entry in figures(report, "whole pass")} == {True, False}
    assert {entry["step"] for entry in figures(report, "step")} == {
        *("upload", "letterbox", "network", "candidates", "rank", "choose", "weigh", "pool", "describe"),
        *("project", "download"),
    }
    assert [entry["batch"] for entry in figures(report, "photos per second")] == [1, 2]
    assert figures(report, "float16 rate") == []
    assert figures(report, "steady run")[0]["frames"] > 0
    assert [entry["direction"] for entry in figures(report, "copy rate")] == ["upload", "download"]
    assert [line.split(":")[0] for line in told] == [entry["figure"] for entry in report["figures"]]


def test_what_fails_leaves_the_other_figures(check, no_library, monkeypatch, capsys):
    def fails(*_, **__):
        raise ZeroDivisionError("nobody\nexpected this")

    for function in ("copy_rates", "parity", "photo_rate"):
        monkeypatch.setattr(check.figures, function, fails)
    code, report = check(capsys)
    assert code == 0
    network = "cuda: outputs of the CPU: fp16"
    for part in (
        "cuda: copy rate",
        f"{network}: parity with the CPU",
        f"{network}: photos per second at batch 2",
    ):
        assert report["not_run"][part] == "ZeroDivisionError: nobody expected this"
    measured = {entry["figure"] for entry in report["figures"]}
    assert measured >= {"whole pass", "step", "steady run"}
    assert not measured & {"copy rate", "parity with the CPU", "photos per second"}


def test_a_pass_that_was_not_recorded_is_none_with_a_graph(check, no_library, capsys):
    check.device.capture = lambda *_: (_ for _ in ()).throw(RunnerError("not permitted"))
    _, report = check(capsys)
    assert {entry["graph"] for entry in figures(report, "whole pass")} == {False}
    reason = report["not_run"]["cuda: outputs of the CPU: fp16: whole pass"]
    assert reason == "it could not be recorded as a CUDA graph, and was sent step by step"


def test_each_figure_says_which_library_made_it(check, monkeypatch, capsys):
    library = fake_tensorrt.flavour(device=check.device)

    def load(name, **_):
        if name == "tensorrt":
            return library
        raise RunnerError("makes no code for this GPU")

    monkeypatch.setattr("gpu_stand.load_flavour", load)
    monkeypatch.setattr("rtsearch.runners.tensorrt.load_flavour", load)
    code, report = check(capsys)
    assert code == 0
    assert report["summary"] == "measured on numpy with tensorrt 11.4.0"
    assert report["not_run"]["tensorrt_rtx"] == "makes no code for this GPU"
    assert [entry["batch"] for entry in figures(report, "photos per second")] == [1, 2]
    assert figures(report, "float16 rate")[0]["network"] == "tensorrt 11.4.0"
    assert figures(report, "floor of the network")[0]["gflop"] > 0.1
    for entry in report["figures"]:
        assert entry["runtime"] == "cuda"
        if entry["figure"] not in ("copy rate", "getting ready"):
            assert (entry["network"], entry["precision"]) == ("tensorrt 11.4.0", "fp16")


def test_engines_are_built_once_for_all_runtimes(check, monkeypatch, capsys, kernels):
    check.others["pycuda"] = other = FakeDevice(kernels, graphs=False)
    other.runtime = "pycuda"
    library = fake_tensorrt.flavour(device=check.device)

    def load(name, **_):
        library.module.device = other if check.device.closed or other.log else check.device
        if name == "tensorrt":
            return library
        raise RunnerError("makes no code for this GPU")

    monkeypatch.setattr("gpu_stand.load_flavour", load)
    monkeypatch.setattr("rtsearch.runners.tensorrt.load_flavour", load)
    _, report = check(capsys)
    runtimes = {entry["runtime"] for entry in figures(report, "photos per second")}
    assert runtimes == {"cuda", "pycuda"}
    assert sum(call[0] == "network" for call in library.module.calls) == 3  # two batches, and the product
    assert [entry["runtime"] for entry in figures(report, "float16 rate")] == ["cuda"]


def test_what_is_missing_is_one_line(check, monkeypatch, capsys, tmp_path):
    import gpu_check

    assert gpu_check.main(["--model", str(tmp_path / "no.onnx")]) == 2
    assert capsys.readouterr().err == f"gpu_check: no model file {tmp_path / 'no.onnx'}\n"
