"""What every Device must do, run in a process of its own: python device_contract.py cuda|pycuda.

The process has a driver, a real one or tests/fake_driver.cpp. Prints one line per promise that held.
"""

from __future__ import annotations

import ctypes
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from test_kernels import Given, given_outputs, picture, spec_of

from rtsearch._util.metrics import Meter
from rtsearch.config import DetectSettings
from rtsearch.errors import RunnerError
from rtsearch.gpu import GpuBackend
from rtsearch.perception.backend import CpuBackend
from rtsearch.perception.descriptor import Describer
from rtsearch.perception.detector import Detector
from rtsearch.runners import open_device
from rtsearch.search.projection import Projection

CODE = b"\x7fELF" + bytes(60)


def held():
    """What the fake driver says was not given back."""
    return ctypes.CDLL("libcuda.so.1").fake_driver_holds()


def copies(device):
    stream = device.new_stream()
    up, down = device.allocate_pinned(1000), device.allocate_pinned(1000)
    address = device.allocate(1000)
    up[:] = np.arange(1000) % 251
    device.upload(address, up, stream)
    device.clear(address + 10, 20, stream)
    device.download(down, address, stream)
    device.synchronise(stream)
    wanted = up.copy()
    wanted[10:30] = 0
    assert np.array_equal(down, wanted)
    device.upload(address + 100, up[5:25], stream)
    device.download(down[:20], address + 100, stream)
    device.synchronise(stream)
    assert np.array_equal(down[:20], up[5:25])
    device.free(address)
    for memory in (up, down):
        device.free_pinned(memory)
    device.free_stream(stream)


def marks(device):
    streams = [device.new_stream() for _ in range(2)]
    assert len({*streams, 0}) == 3
    first, last = device.new_event(), device.new_event()
    device.record(first, streams[0])
    device.wait_on(streams[1], first)
    device.record(last, streams[1])
    device.wait(last)
    assert device.elapsed_ms(first, last) >= 0
    for event in (first, last):
        device.free_event(event)
    for stream in streams:
        device.free_stream(stream)


def memory(device):
    free_bytes, total_bytes = device.memory_bytes()
    address = device.allocate(1 << 20)
    assert device.memory_bytes() == (free_bytes - (1 << 20), total_bytes)
    device.free(address)
    assert device.memory_bytes()[0] == free_bytes


def refused(reason, function, *arguments):
    with pytest.raises(RunnerError) as caught:
        function(*arguments)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def errors(device):
    refused("the GPU is out of memory", device.allocate, 1 << 40)
    refused("the GPU is out of memory", device.allocate_pinned, 1 << 40)
    refused("the GPU failed in", device.load, b"no code at all")
    module = device.load(CODE)
    refused("the GPU failed in", device.function, module, "nothing")
    device.unload(module)


def recording(device):
    stream = device.new_stream()
    host, address = device.allocate_pinned(8), device.allocate(8)
    host[:] = 0
    device.clear(address, 8, stream)
    device.synchronise(stream)
    graph = device.capture(stream, lambda: device.upload(address, host, stream))
    back = device.allocate_pinned(8)
    for value in (3, 4):
        host[:] = value
        device.download(back, address, stream)
        device.synchronise(stream)
        assert (back == max(0, value - 1) * (value > 3)).all()  # recording does nothing by itself
        graph.launch()
        device.download(back, address, stream)
        device.synchronise(stream)
        assert (back == value).all()
    graph.close()

    def fails():
        raise RunnerError("this cannot be recorded")

    if device.graphs:
        refused("this cannot be recorded", device.capture, stream, fails)
    device.clear(address, 8, stream)
    device.download(back, address, stream)
    device.synchronise(stream)
    assert not back.any()
    device.free(address)
    for one in (host, back):
        device.free_pinned(one)
    device.free_stream(stream)


class Paper:
    """An engine whose pass is a few copies of what it was given."""

    def __init__(self, device, outputs):
        self.device, self.addresses, self.closed = device, {}, False
        self.inputs = {"images": ((1, 3, 64, 64), np.dtype(np.float32))}
        self.outputs = {name: (array.shape, array.dtype) for name, array in outputs.items()}
        with device.use():
            self.pinned = {name: device.allocate_pinned(array.nbytes) for name, array in outputs.items()}
        for name, array in outputs.items():
            self.pinned[name][:] = array.reshape(-1).view(np.uint8)

    def bind(self, name, address):
        self.addresses[name] = address

    def enqueue(self, stream):
        for name, memory in self.pinned.items():
            self.device.upload(self.addresses[name], memory, stream)

    def close(self):
        for memory in self.pinned.values():
            self.device.free_pinned(memory)


def backend(runtime):
    """The whole pass, from this thread and from another one."""
    device = open_device(runtime)
    outputs, spec, settings = given_outputs(), spec_of(), DetectSettings(threshold=0.1)
    steps = CpuBackend(Detector(Given(outputs), spec, (64, 64)), Describer(spec))
    whole = GpuBackend(Paper(device, outputs), device, spec, code=CODE)
    matrix = np.random.default_rng(0).standard_normal((whole.dim, 16)).astype(np.float32)
    projection = Projection(matrix, np.ones(16, np.float32))
    seen = []

    def look(shorter=None):
        pictures = [picture(20 + 9 * i, 70 - 5 * i, i) for i in range(5)]
        expected = [steps.infer([one], settings, Meter())[0] for one in pictures]
        for got, wanted in zip(whole.infer(pictures, settings, Meter(), shorter), expected, strict=True):
            vector = shorter.apply(wanted.vector) if shorter else wanted.vector
            assert np.allclose(got.vector, vector, atol=1e-4)
            assert np.allclose(got.xyxy, wanted.xyxy, atol=1e-3)
            seen.append(len(got))

    look()
    with ThreadPoolExecutor(1) as another:
        another.submit(look, projection).result()
    look()
    assert len(seen) == 15
    assert min(seen) > 0
    whole.close()
    whole.close()


def main(runtime):
    device = open_device(runtime)
    assert device.runtime == runtime
    assert device.name == "GPU made of paper"
    assert device.compute_capability == (8, 6)
    for promise in (copies, marks, memory, errors, recording):
        with device.use():
            promise(device)
            with device.use():
                promise(device)
        with ThreadPoolExecutor(1) as another:
            another.submit(run_in_use, device, promise).result()
        print(promise.__name__)  # noqa: T201
    with device.use():
        device.allocate_pinned(10)
    device.close()
    device.close()
    backend(runtime)
    print("backend")  # noqa: T201
    assert held() == 0, held()
    print("held")  # noqa: T201


def run_in_use(device, promise):
    with device.use():
        promise(device)


if __name__ == "__main__":
    main(sys.argv[1])
