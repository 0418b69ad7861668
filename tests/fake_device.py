"""A GPU of numpy arrays: memory behind integer addresses, and streams as late as streams may be.

What is put on a stream is done only when somebody waits for it, so a result that is read too early, or memory
that is written or freed too early, shows. New and freed memory is full of nonsense. Every call is kept in
``log`` as (verb, ...). Kernels are looked up by name among ``kernels``: Python functions (grid, block,
*arguments), or those of the CPU build. Copies outside of what was allocated or from memory that is not pinned
fail the test, as does a call outside of ``use()``.
"""

from __future__ import annotations

import threading
from collections import deque
from contextlib import contextmanager

import numpy as np

from rtsearch.errors import RunnerError


class FakeGraph:
    """Recorded calls, played again in order."""

    def __init__(self, device, stream, calls):
        self.device, self.stream, self.calls, self.closed = device, stream, calls, False

    def launch(self):
        assert not self.closed, "launch of a graph that was closed"
        self.device._call("launch_graph", len(self.calls))
        for call in self.calls:
            self.device._enqueue(self.stream, call)

    def close(self):
        self.closed = True


class FakeReplay:
    """The work itself, where there are no graphs."""

    def __init__(self, work):
        self.launch = work

    def close(self):
        pass


class FakeDevice:
    """See ``rtsearch.runners.device.Device``.

    Args:
        kernels: by name, what ``launch`` calls.
        graphs: record work instead of doing it while capturing.
        most_bytes: memory of the GPU.
    """

    runtime = "fake"
    name = "numpy"

    def __init__(self, kernels=None, *, graphs=True, most_bytes=1 << 32, compute_capability=(8, 6)):
        self.kernels = kernels or {}
        self.graphs = graphs
        self.most_bytes = most_bytes
        self.compute_capability = compute_capability
        self.log = []
        self.memory = {}  # address -> array
        self.pinned = {}  # address -> array
        self.streams = {}  # handle -> work that waits to be done
        self.events = {}  # handle -> (stream, mark) of the last record, or None
        self.freed = []  # kept, so that what still points there finds nonsense instead of a crash
        self.modules, self.functions = {}, {}
        self.fails = {}  # verb -> error to raise at its next call
        self.recording = None
        self.closed = False
        self.users = {}  # thread -> blocks of use() it is in
        self._next = 1

    def _handle(self):
        self._next += 1
        return self._next

    def _call(self, verb, *what):
        assert not self.closed, f"{verb} after close"
        assert self.users.get(threading.get_ident()), f"{verb} outside of use()"
        self.log.append((verb, *what))
        if verb in self.fails:
            raise self.fails.pop(verb)

    def _enqueue(self, stream, work):
        if self.recording is not None and self.recording[0] == stream:
            self.recording[1].append(work)
        else:
            self.streams[stream].append(work)

    def _run(self, stream, until=None):
        """Do the work of a stream, up to and with one piece of it."""
        while self.streams[stream]:
            work = self.streams[stream].popleft()
            work()
            if work is until:
                break

    def _run_to(self, event):
        stream, mark = self.events.get(event) or (None, None)
        if stream in self.streams and mark in self.streams[stream]:
            self._run(stream, mark)

    def view(self, address, size_bytes):
        """The bytes at an address inside one allocation, as an array that shares them."""
        for start, array in self.memory.items():
            if start <= address and address + size_bytes <= start + array.size:
                return array[address - start : address - start + size_bytes]
        raise AssertionError(f"{size_bytes} bytes at {address} are not inside an allocation")

    def _pinned(self, array):
        start = array.ctypes.data
        assert array.dtype == np.uint8
        assert array.ndim == 1
        assert array.flags.c_contiguous
        assert any(at <= start and start + array.size <= at + m.size for at, m in self.pinned.items()), (
            "a copy from or to memory that is not pinned"
        )

    @contextmanager
    def use(self):
        thread = threading.get_ident()
        self.users[thread] = self.users.get(thread, 0) + 1
        try:
            yield
        finally:
            self.users[thread] -= 1

    def allocate(self, size_bytes):
        self._call("allocate", size_bytes)
        assert self.recording is None, "allocate while capturing"
        assert size_bytes > 0
        if size_bytes + sum(m.size for m in self.memory.values()) > self.most_bytes:
            raise RunnerError(f"the GPU is out of memory: {size_bytes} bytes wanted")
        array = np.full(size_bytes + 256, 0xAB, np.uint8)  # what was there before is no zero
        skip = -array.ctypes.data % 256
        array = array[skip : skip + size_bytes]
        self.memory[array.ctypes.data] = array
        return array.ctypes.data

    def free(self, address):
        self._call("free", address)
        self._bury(self.memory.pop(address))

    def allocate_pinned(self, size_bytes):
        self._call("allocate_pinned", size_bytes)
        array = np.full(size_bytes, 0xCD, np.uint8)
        self.pinned[array.ctypes.data] = array
        return array

    def free_pinned(self, memory):
        self._call("free_pinned", memory.size)
        self._bury(self.pinned.pop(memory.ctypes.data))

    def _bury(self, array):
        array.fill(0xEE)
        self.freed.append(array)

    def upload(self, address, source, stream):
        self._call("upload", source.size, stream)
        self._pinned(source)
        target = self.view(address, source.size)
        assert stream in self.streams
        self._enqueue(stream, lambda: np.copyto(target, source))

    def download(self, target, address, stream):
        self._call("download", target.size, stream)
        self._pinned(target)
        source = self.view(address, target.size)
        assert stream in self.streams
        self._enqueue(stream, lambda: np.copyto(target, source))

    def clear(self, address, size_bytes, stream):
        self._call("clear", size_bytes, stream)
        target = self.view(address, size_bytes)
        assert stream in self.streams
        self._enqueue(stream, lambda: target.fill(0))

    def new_stream(self):
        self._call("new_stream")
        handle = self._handle()
        self.streams[handle] = deque()
        return handle

    def free_stream(self, stream):
        self._call("free_stream", stream)
        assert not self.streams.pop(stream), "a stream was freed with work on it"

    def synchronise(self, stream):
        self._call("synchronise", stream)
        self._run(stream)

    def new_event(self):
        self._call("new_event")
        handle = self._handle()
        self.events[handle] = None
        return handle

    def free_event(self, event):
        self._call("free_event", event)
        del self.events[event]

    def record(self, event, stream):
        self._call("record", event, stream)
        assert event in self.events
        mark = lambda: None  # noqa: E731
        self.streams[stream].append(mark)
        self.events[event] = (stream, mark)

    def wait(self, event):
        self._call("wait", event)
        assert event in self.events
        self._run_to(event)

    def wait_on(self, stream, event):
        self._call("wait_on", stream, event)
        recorded = self.events[event]

        def reach():
            if recorded and recorded[1] in self.streams[recorded[0]]:
                self._run(*recorded)

        self.streams[stream].append(reach)

    def elapsed_ms(self, start, end):
        self._call("elapsed_ms", start, end)
        assert self.events[start]
        assert self.events[end]
        return 1.0

    def load(self, code):
        self._call("load", len(code))
        handle = self._handle()
        self.modules[handle] = code
        return handle

    def unload(self, module):
        self._call("unload", module)
        del self.modules[module]

    def function(self, module, name):
        self._call("function", name)
        assert module in self.modules
        if name not in self.kernels:
            raise RunnerError(f"the module has no kernel {name}")
        handle = self._handle()
        self.functions[handle] = name
        return handle

    def launch(self, function, grid, block, arguments, stream):
        name = self.functions[function]
        self._call("launch", name, grid, block)
        assert stream in self.streams
        assert all(isinstance(a, np.generic) for a in arguments), f"{name}: {arguments}"
        assert min(*grid, *block) > 0
        assert np.prod(block) <= 1024
        arguments = tuple(arguments)
        self._enqueue(stream, lambda: self.kernels[name](grid, block, *arguments))

    def capture(self, stream, work):
        self._call("capture", stream)
        assert stream in self.streams
        if not self.graphs:
            return FakeReplay(work)
        assert self.recording is None, "capture while capturing"
        self.recording = (stream, [])
        try:
            work()
            return FakeGraph(self, stream, self.recording[1])
        finally:
            self.recording = None

    def memory_bytes(self):
        used = sum(m.size for m in self.memory.values())
        return self.most_bytes - used, self.most_bytes

    def close(self):
        self.closed = True

    def held(self):
        """What was not given back, by kind."""
        kinds = {"memory": self.memory, "pinned": self.pinned, "streams": self.streams}
        kinds |= {"events": self.events, "modules": self.modules}
        return {kind: len(things) for kind, things in kinds.items() if things}


class FakeEngine:
    """A network on a fake device: what it gives is computed by ``run`` on the planes it finds in its memory.

    Args:
        device: a FakeDevice.
        inputs, outputs: shape and dtype by name.
        run: (batch, 3, height, width) float32 -> outputs by name.
    """

    def __init__(self, device, inputs, outputs, run):
        self.device, self.inputs, self.outputs, self.run = device, inputs, outputs, run
        self.bound, self.passes, self.closed = {}, 0, False

    def bind(self, name, address):
        assert name in {**self.inputs, **self.outputs}
        self.bound[name] = address

    def _memory(self, name):
        shape, dtype = {**self.inputs, **self.outputs}[name]
        size_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return self.device.view(self.bound[name], size_bytes).view(dtype).reshape(shape)

    def enqueue(self, stream):
        assert not self.closed
        assert stream in self.device.streams
        assert set(self.bound) == {*self.inputs, *self.outputs}
        self.device._call("enqueue", stream)
        self.device._enqueue(stream, self._pass)

    def _pass(self):
        self.passes += 1
        for name, array in self.run(self._memory("images").astype(np.float32)).items():
            np.copyto(self._memory(name), array, casting="same_kind")

    def close(self):
        self.closed = True
