"""Devices: what they promise, through the real bindings on a driver that is not one; and machines without."""

from __future__ import annotations

import importlib.util
import inspect
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cpu_kernels
import numpy as np
import pytest
from fake_device import FakeDevice

import rtsearch.runners as devices
from rtsearch.errors import MissingDependencyError, RunnerError
from rtsearch.gpu import kernels
from rtsearch.runners import open_device
from rtsearch.runners.device import Device

HERE = Path(__file__).parent
PROMISES = ["copies", "marks", "memory", "errors", "recording", "backend", "held"]


def has(module):
    try:
        __import__(module)
    except ImportError:
        return False
    return True


needs_bindings = pytest.mark.skipif(not has("cuda.bindings"), reason="extra gpu is not installed")
needs_pycuda = pytest.mark.skipif(not has("pycuda"), reason="pycuda is not installed (extra pycuda)")


def build_driver(folder, *options):
    command = [cpu_kernels.COMPILER, "-std=c++20", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    command += [f"-I{HERE}", f"-I{Path(kernels.__file__).parent}", str(HERE / "fake_driver.cpp"), *options]
    command += ["-Wl,-soname,libcuda.so.1", "-ldl", "-o", str(folder / "libcuda.so.1")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    """A folder with a libcuda.so.1 that works on the host's memory."""
    if not cpu_kernels.COMPILER:
        pytest.skip("no C++ compiler (g++)")
    return build_driver(tmp_path_factory.mktemp("driver"))


@pytest.fixture(scope="module")
def driver_of_pycuda(tmp_path_factory):
    """The same with all names that PyCUDA wants there: newer versions of what there is, and refusals."""
    nm = shutil.which("nm")
    if not cpu_kernels.COMPILER or nm is None:
        pytest.skip("no C++ compiler (g++, binutils)")
    folder = tmp_path_factory.mktemp("driver")
    pycuda = importlib.util.find_spec("pycuda")
    assert pycuda is not None
    assert pycuda.origin is not None
    (library,) = Path(pycuda.origin).parent.glob("_driver.*.so")
    listed = subprocess.run(
        [nm, "-D", "--undefined-only", library], check=True, capture_output=True, text=True
    )
    wanted = {line.split()[-1].split("@")[0] for line in listed.stdout.splitlines()}
    there = set(re.findall(r"^EXPORT \w+ (\w+)\(", (HERE / "fake_driver.cpp").read_text(), re.MULTILINE))
    lines = []
    for name in sorted(one for one in wanted - there if re.match(r"cu[A-Z]", one)):
        base = re.sub(r"_v\d$|_ptsz$", "", name)
        alias = f' __attribute__((alias("{base}")));' if base in there else " { return 801; }"
        lines.append(f'extern "C" Result {name}(){alias}')
    (folder / "names.h").write_text("\n".join(lines))
    return build_driver(folder, f'-DMORE_NAMES="{folder / "names.h"}"', "-Wno-attribute-alias")


def run(code, driver=None, **machine):
    """Run Python in a process of its own, with that driver or none."""
    environment = {**os.environ, "PYTHONPATH": f"{HERE}:{os.environ.get('PYTHONPATH', '')}"}
    if driver is not None:
        environment["LD_LIBRARY_PATH"] = f"{driver}:{os.environ.get('LD_LIBRARY_PATH', '')}"
        environment["FAKE_DRIVER_PATH"] = str(driver / "libcuda.so.1")
    environment |= {f"FAKE_DRIVER_{name.upper()}": str(value) for name, value in machine.items()}
    return subprocess.run(
        [sys.executable, *code], check=False, capture_output=True, text=True, env=environment, cwd=HERE.parent
    )


OPEN = """
import sys
from rtsearch.errors import RtsearchError
from rtsearch.runners import open_device
try:
    open_device(sys.argv[1]).close()
except RtsearchError as error:
    print(type(error).__name__, error)
else:
    print("opened")
"""


@needs_bindings
@pytest.mark.parametrize("pools", [0, 1])
def test_cuda_keeps_every_promise(driver, pools):
    done = run([str(HERE / "device_contract.py"), "cuda"], driver, pools=pools)
    assert done.stdout.split() == PROMISES, done.stderr
    assert done.returncode == 0, done.stderr


@needs_pycuda
def test_pycuda_keeps_every_promise(driver_of_pycuda):
    done = run([str(HERE / "device_contract.py"), "pycuda"], driver_of_pycuda)
    assert done.stdout.split() == PROMISES, done.stderr
    assert done.returncode == 0, done.stderr


@needs_bindings
@pytest.mark.parametrize("runtime", ["cuda", "auto"])
@pytest.mark.parametrize(
    ("machine", "answer"),
    [
        ({}, "opened"),
        (
            {"version": 12080},
            "RunnerError the NVIDIA driver is too old: it supports CUDA 12.8, needed is 13.0",
        ),
        ({"devices": 0}, "RunnerError no NVIDIA GPU is visible to this process; see CUDA_VISIBLE_DEVICES"),
        ({"version": 13000, "pools": 0}, "opened"),
    ],
)
def test_what_kind_of_machine_it_is(driver, runtime, machine, answer):
    done = run(["-c", OPEN, runtime], driver, **machine)
    assert done.stdout.startswith(answer), done.stderr
    assert done.stdout.count("\n") == 1


@needs_pycuda
@pytest.mark.parametrize(
    ("machine", "answer"),
    [
        ({}, "opened"),
        ({"version": 12080}, "RunnerError the NVIDIA driver is too old"),
        ({"devices": 0}, "RunnerError "),
    ],
)
def test_what_kind_of_machine_it_is_to_pycuda(driver_of_pycuda, machine, answer):
    done = run(["-c", OPEN, "pycuda"], driver_of_pycuda, **machine)
    assert done.stdout.startswith(answer), done.stderr
    assert done.stdout.count("\n") == 1


def has_driver():
    return shutil.which("nvidia-smi") is not None or bool(list(Path("/dev").glob("nvidia[0-9]*")))


@needs_bindings
@pytest.mark.skipif(has_driver(), reason="this machine has an NVIDIA driver")
def test_a_machine_without_a_driver():
    with pytest.raises(RunnerError, match="no usable NVIDIA driver on this machine") as caught:
        open_device("cuda")
    assert "\n" not in str(caught.value)


@needs_bindings
def test_a_driver_without_a_function_that_is_needed(driver, tmp_path):
    (tmp_path / "empty.cpp").write_text("int nothing;")
    command = [cpu_kernels.COMPILER, "-shared", "-fPIC", str(tmp_path / "empty.cpp")]
    subprocess.run([*command, "-o", str(tmp_path / "libcuda.so.1")], check=True)
    done = run(["-c", OPEN, "cuda"], tmp_path)
    assert done.stdout.startswith("RunnerError no usable NVIDIA driver on this machine"), done.stderr


def test_a_package_that_is_missing_is_named(monkeypatch):
    for name in ("cuda", "cuda.bindings", "pycuda", "pycuda.driver"):
        monkeypatch.setitem(sys.modules, name, None)
    for runtime in ("auto", "cuda"):
        with pytest.raises(MissingDependencyError, match=r"cuda-bindings .*pip install 'rtsearch\[gpu\]'"):
            open_device(runtime)
    with pytest.raises(MissingDependencyError, match=r"pycuda .*pip install 'rtsearch\[pycuda\]'"):
        open_device("pycuda")


def test_auto_takes_the_first_that_is_installed(monkeypatch):
    def missing():
        raise MissingDependencyError("not installed")

    monkeypatch.setattr(devices, "_open_cuda", lambda: "cuda")
    monkeypatch.setattr(devices, "_open_pycuda", lambda: "pycuda")
    assert [open_device(runtime) for runtime in ("auto", "cuda", "pycuda")] == ["cuda", "cuda", "pycuda"]
    monkeypatch.setattr(devices, "_open_cuda", missing)
    assert open_device("auto") == "pycuda"
    with pytest.raises(MissingDependencyError):
        open_device("cuda")


def test_auto_does_not_hide_what_is_wrong_behind_the_other(monkeypatch):
    def broken():
        raise RunnerError("no driver")

    monkeypatch.setattr(devices, "_open_cuda", broken)
    monkeypatch.setattr(devices, "_open_pycuda", lambda: pytest.fail("asked for"))
    with pytest.raises(RunnerError, match="no driver"):
        open_device("auto")


# The fake is held to the protocol too: what it does not have or names otherwise, a test would not see.
METHODS = [name for name in vars(Device) if not name.startswith("_")]


@pytest.mark.parametrize("name", METHODS)
def test_the_fake_has_what_the_protocol_asks_for(name):
    from rtsearch.runners.device_cuda import CudaDevice
    from rtsearch.runners.device_pycuda import PycudaDevice

    wanted = list(inspect.signature(getattr(Device, name)).parameters)
    for one in (FakeDevice, CudaDevice, PycudaDevice):
        assert list(inspect.signature(getattr(one, name)).parameters) == wanted


def test_the_fake_is_late_and_strict():
    device = FakeDevice({"double": lambda grid, block, address: None})
    with pytest.raises(AssertionError, match="outside of use"):
        device.new_stream()
    with device.use():
        stream, other = device.new_stream(), device.new_stream()
        event, address = device.new_event(), device.allocate(4)
        host, back = device.allocate_pinned(4), device.allocate_pinned(4)
        host[:] = 7
        device.upload(address, host, stream)
        device.record(event, stream)
        device.wait_on(other, event)
        device.download(back, address, other)
        assert (back == 0xCD).all()  # nobody has waited yet
        device.synchronise(other)
        assert (back == 7).all()
        with pytest.raises(AssertionError, match="not pinned"):
            device.upload(address, np.zeros(4, np.uint8), stream)
        with pytest.raises(AssertionError, match="not inside an allocation"):
            device.clear(address + 1, 4, stream)
        assert device.held() == {"memory": 1, "pinned": 2, "streams": 2, "events": 1}


@needs_pycuda
@pytest.mark.skipif(shutil.which("nvcc") is None, reason="no CUDA toolkit (nvcc)")
def test_pycuda_compiles_the_kernels(driver_of_pycuda):
    done = run(["-c", COMPILE], driver_of_pycuda)  # importing its compiler takes a driver
    assert done.stdout.split() == ["True"], done.stderr


COMPILE = """
from pycuda.compiler import compile
from rtsearch.gpu import kernels
code = compile(kernels.source().decode(), no_extern_c=True, arch="sm_86", cache_dir=False)
print(code.startswith(b"\\x7fELF"))
"""
