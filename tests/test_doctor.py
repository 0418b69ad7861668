"""The check-up: what is there, what is missing, what to do; it never fails itself."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import shutil
import sys
from types import SimpleNamespace

import pytest
from rich.console import Console

from rtsearch.cli import main
from rtsearch.errors import MissingDependencyError, RunnerError
from rtsearch.jobs import doctor as doctor_module
from rtsearch.jobs.doctor import examine


def found() -> dict[str, doctor_module.Finding]:
    return {finding.name: finding for finding in examine()}


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """A machine with nothing beyond what rtsearch needs."""
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RTSEARCH_ENGINES", str(tmp_path / "engines"))
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    monkeypatch.setattr("ctypes.util.find_library", lambda _name: None)
    monkeypatch.setattr("rtsearch.sources.cameras", dict)
    real = importlib.util.find_spec
    optional = {"mss", "uvicorn", "segno", "tensorrt", "tensorrt_rtx"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in optional else real(name))


@pytest.mark.slow
def test_everything_is_looked_at_and_said(model):
    findings = found()
    assert {"python", "cpu", "packages", "model", "display", "cameras", "ffmpeg", "gpu", "tensorrt"} <= set(
        findings
    )
    for finding in findings.values():
        assert finding.state in ("ok", "missing", "optional")
        assert finding.what
        assert finding.advice or finding.state == "ok"
    assert findings["python"].what.startswith("3.")
    assert findings["page"].state == "ok"
    assert f"uvicorn {importlib.metadata.version('uvicorn')}" in findings["page"].what
    assert findings["model"].state == "ok"
    assert "AGPL-3.0" in findings["model"].what
    assert importlib.metadata.version("numpy") in findings["packages"].what


def test_a_bare_machine(bare):
    findings = found()
    assert {name for name, finding in findings.items() if finding.state == "missing"} == {"model"}
    assert findings["model"].advice == "run: rtsearch model pull yolo26n"
    assert "rtsearch" not in findings["model"].what
    assert findings["display"].what == "there is no display"
    assert "--headless" in findings["display"].advice
    assert findings["cameras"].what == "none found"
    assert "apt install ffmpeg" in findings["ffmpeg"].advice
    assert findings["page"].what == "not installed: uvicorn, segno"
    assert "pip install 'rtsearch[web]'" in findings["page"].advice


def test_a_package_that_is_installed_under_another_name(monkeypatch):
    def version(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)  # no mss to name
    assert found()["packages"].what == "numpy, opencv-python, av, numba, onnxruntime, onnx, pyarrow"


def test_cameras_are_named(monkeypatch):
    monkeypatch.setattr("rtsearch.sources.cameras", lambda: {"/dev/video0": "HD Webcam"})
    assert found()["cameras"].what == "/dev/video0 (HD Webcam)"


class Device:
    name, compute_capability = "NVIDIA L4", (8, 9)

    def memory_bytes(self) -> tuple[int, int]:
        return 20 << 30, 24 << 30

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("opened", "state", "what", "advice"),
    [
        (Device(), "ok", "NVIDIA L4, compute 8.9, 24 GiB", ""),
        (RunnerError("the driver is too old"), "optional", "the driver is too old", "not needed"),
        (MissingDependencyError("run: pip install x"), "optional", "nothing that speaks to it", "install x"),
    ],
)
def test_a_gpu(monkeypatch, opened, state, what, advice):
    def open_device():
        if isinstance(opened, Exception):
            raise opened
        return opened

    monkeypatch.setattr("ctypes.util.find_library", lambda _name: "libcuda.so.1")
    monkeypatch.setattr("rtsearch.runners.open_device", open_device)
    finding = found()["gpu"]
    assert finding.state == state
    assert what in finding.what
    assert advice in finding.advice


@pytest.mark.parametrize(
    ("there", "loads", "state", "what"),
    [
        ((), "", "optional", "not installed"),
        (("tensorrt_rtx",), "", "ok", "tensorrt_rtx 1.2"),
        (("tensorrt", "tensorrt_rtx"), "libnvinfer is missing", "optional", "tensorrt is installed but"),
    ],
)
def test_tensorrt(monkeypatch, there, loads, state, what):
    def load(name):
        if loads:
            raise MissingDependencyError(loads)
        return SimpleNamespace(version="1.2")

    monkeypatch.setattr("rtsearch.engines.installed_flavours", lambda: there)
    monkeypatch.setattr("rtsearch.engines.load_flavour", load)
    finding = found()["tensorrt"]
    assert finding.state == state
    assert what in finding.what
    assert loads in finding.advice


def call(monkeypatch, capfd, *args: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["rtsearch", "doctor", *args])
    capfd.readouterr()
    with pytest.raises(SystemExit) as end:
        main()
    out, err = capfd.readouterr()
    return int(end.value.code or 0), out, err


def test_the_command(model, monkeypatch, capfd):
    code, out, err = call(monkeypatch, capfd)
    assert (code, err) == (0, "")
    assert "python" in out
    assert "yolo26n" in out
    assert "…" not in out  # nothing is cut off
    lines = out.splitlines()
    assert [line.split()[0] for line in lines[:-1]] == [
        {"ok": "ok", "optional": "-"}[finding.state] for finding in examine()
    ]
    assert lines[-1].startswith("all required parts are here")
    code, out, err = call(monkeypatch, capfd, "--json")
    assert (code, err, out.count("\n")) == (0, "", 1)
    assert all({"name", "state", "what", "advice"} == finding.keys() for finding in json.loads(out))


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_words_are_not_broken(model, monkeypatch, capfd, columns):
    """In a terminal; but for paths and the like that no line has room for."""
    wide = Console(force_terminal=True, width=columns, highlight=False, color_system=None)
    monkeypatch.setattr("rtsearch.cli.doctor.output", wide)
    code, out, _err = call(monkeypatch, capfd)
    assert code == 0
    assert max(map(len, out.splitlines()[:-1])) <= columns
    words = [w for finding in examine() for w in f"{finding.what} {finding.advice}".split()]
    assert {word for word in words if len(word) <= columns - 22} <= set(out.split())


def test_the_command_where_something_is_missing(bare, monkeypatch, capfd):
    code, out, _err = call(monkeypatch, capfd)
    assert code == 1
    assert out.endswith("missing: model\n")
    assert "rtsearch model pull yolo26n" in " ".join(out.split())


@pytest.mark.parametrize(
    ("managed", "said"),
    [(True, ":7, 800x600"), (False, ":7, 800x600, no window manager: windows have no frame")],
)
def test_a_missing_window_manager_is_said(monkeypatch, managed: bool, said: str):
    monkeypatch.setenv("DISPLAY", ":7")
    monkeypatch.setattr("rtsearch.ui.display.display_problem", lambda: "")
    monkeypatch.setattr("rtsearch.ui.display.prepare_windows", lambda: True)
    monkeypatch.setattr("rtsearch.ui.x11.screen_wh", lambda: (800, 600))
    monkeypatch.setattr("rtsearch.ui.x11.has_window_manager", lambda: managed)
    finding = found()["display"]
    assert (finding.state, finding.what) == ("ok", said)
