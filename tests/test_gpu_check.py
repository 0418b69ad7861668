"""The check of a GPU: one clear line where there is none; every figure named, tried on a fake one."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import cpu_kernels
import fake_tensorrt
import pytest
from fake_device import FakeDevice

from rtsearch.errors import MissingDependencyError, RunnerError

TOOLS = Path(__file__).resolve().parents[1] / "tools"
CHECK = TOOLS / "gpu_check.py"


def call(*arguments):
    done = subprocess.run(
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

    with gpu_check.unpacked(tmp_path) as folder:
        assert (Path(folder) / "found_in_wheel.py").is_file()
    assert not Path(folder).exists()


# On a fake one ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kernels(tmp_path_factory):
    if cpu_kernels.COMPILER is None:
        pytest.skip("no C++ compiler (g++)")
    return cpu_kernels.functions(cpu_kernels.build(tmp_path_factory.mktemp("kernels")))


@pytest.fixture
def few(photos, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for path in sorted(photos.rglob("bikes*"))[20:44:6]:
        shutil.copy(path, folder)
    return folder


@pytest.fixture
def check(monkeypatch, kernels, few, model):
    """Runs the check on a fake GPU; gives it and the report."""
    monkeypatch.syspath_prepend(str(TOOLS))
    import gpu_check
    import gpu_figures

    device = FakeDevice(kernels)
    device.runtime = "cuda"

    def open_device(runtime):
        if runtime == "cuda":
            return device
        raise MissingDependencyError("package pycuda is not there")

    monkeypatch.setattr("rtsearch.runners.device.open_device", open_device)
    monkeypatch.setattr("rtsearch.gpu.work.compiled", lambda _: b"any")
    monkeypatch.setattr(gpu_figures, "MATRIX", 16)
    monkeypatch.setattr(gpu_figures, "COPY_BYTES", 1 << 16)
    monkeypatch.setattr(gpu_check, "BATCHES", (1, 2))

    def run(capsys):
        arguments = ["--json", "--size", "224", "--frames", "3", "--seconds", "0.1", "--photos", str(few)]
        code = gpu_check.main([*arguments, "--model", str(model)])
        assert device.closed
        assert device.held() == {}
        return code, json.loads(capsys.readouterr().out)

    run.device = device
    return run


def figures(report, name):
    return [entry for entry in report["figures"] if entry["figure"] == name]


def test_without_a_library_kernels_and_graphs_are_measured(check, monkeypatch, capsys):
    def missing(name, **_):
        raise MissingDependencyError(f"{name} is not there")

    monkeypatch.setattr("gpu_stand.load_flavour", missing)
    code, report = check(capsys)
    assert code == 0
    assert report["summary"].startswith("no TensorRT can run here: kernels and graphs were measured around")
    assert report["not_run"]["tensorrt"] == "tensorrt is not there"
    assert report["not_run"]["pycuda"] == "package pycuda is not there"
    (parity,) = figures(report, "parity with the CPU")
    assert parity["network"] == "outputs of the CPU"
    assert parity["objects"] >= 2
    assert (parity["not_found"], parity["share_within"]) == (0, 1.0)
    assert {entry["graph"] for entry in figures(report, "whole pass")} == {True, False}
    assert {entry["step"] for entry in figures(report, "step")} == {
        *("upload", "letterbox", "network", "candidates", "rank", "choose", "weigh", "pool", "describe"),
        "download",
    }
    assert figures(report, "float16 rate") == []
    assert figures(report, "steady run")[0]["frames"] > 0
    assert [entry["direction"] for entry in figures(report, "copy rate")] == ["upload", "download"]


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


def test_what_is_missing_is_one_line(check, monkeypatch, capsys, tmp_path):
    import gpu_check

    assert gpu_check.main(["--model", str(tmp_path / "no.onnx")]) == 2
    assert capsys.readouterr().err == f"gpu_check: no model file {tmp_path / 'no.onnx'}\n"
