"""A TensorRT without a GPU: networks are real ONNX files, engines are JSON, and a pass is done by numpy.

``flavour`` gives it under either name; ``calls`` is the log of what was asked, ``fails`` what to refuse.
"""

from __future__ import annotations

import collections
import enum
import json
import types
from typing import Any

import exports
import numpy as np
import onnx

from rtsearch.engines.flavour import Flavour
from rtsearch.models import import_onnx


class DataType(enum.Enum):
    FLOAT = "float32"
    HALF = "float16"
    INT8 = "int8"


class TensorIOMode(enum.Enum):
    INPUT = 1
    OUTPUT = 2


class Severity(enum.Enum):
    ERROR = 1


class ILogger:
    pass


class IProgressMonitor:
    pass


def described(tensors):
    """The bytes of an engine: (name, mode, dtype, shape) of each tensor."""
    return (
        b"fake"
        + json.dumps([[name, mode, dtype, list(shape)] for name, mode, dtype, shape in tensors]).encode()
    )


class _Tensor:
    def __init__(self, entry):
        kind = entry.type.tensor_type
        self.name = entry.name
        self.shape = tuple(dim.dim_value if dim.HasField("dim_value") else -1 for dim in kind.shape.dim)
        self.dtype = {1: DataType.FLOAT, 10: DataType.HALF}.get(kind.elem_type, DataType.INT8)


class _Network:
    def read(self, content):
        graph = onnx.shape_inference.infer_shapes(onnx.load_from_string(content), data_prop=True).graph
        self.inputs = [_Tensor(entry) for entry in graph.input]
        self.outputs = [_Tensor(entry) for entry in graph.output]

    num_inputs = property(lambda self: len(self.inputs))
    num_outputs = property(lambda self: len(self.outputs))

    def get_input(self, i):
        return self.inputs[i]

    def get_output(self, i):
        return self.outputs[i]


class _Config:
    def __init__(self, fake):
        self.fake, self.num_compute_capabilities, self.progress_monitor = fake, 0, None

    def set_compute_capability(self, target, i):
        self.fake.calls.append(("target", target))

    def set_flag(self, flag):
        self.fake.calls.append(("set", flag))

    def clear_flag(self, flag):
        self.fake.calls.append(("clear", flag))


class _Context:
    def __init__(self, fake, tensors):
        self.fake, self.tensors, self.bound = fake, tensors, {}

    def set_tensor_address(self, name, address):
        self.fake.calls.append(("bind", name, address))
        self.bound[name] = address
        return name in {tensor[0] for tensor in self.tensors} and "bind" not in self.fake.fails

    def execute_async_v3(self, stream):
        self.fake.calls.append(("enqueue", stream))
        if "enqueue" in self.fake.fails:
            self.fake.say("CUDA error 999: the GPU has fallen off the bus")
            return False
        device, bound = self.fake.device, self.bound
        assert set(bound) == {tensor[0] for tensor in self.tensors}, "a tensor was not bound"

        def work():
            for name, mode, dtype, shape in self.tensors:
                memory = device.view(bound[name], int(np.prod(shape)) * np.dtype(dtype).itemsize)
                array = memory.view(dtype).reshape(shape)
                if mode == "in":
                    mean = np.float32(array.astype(np.float32).mean())
                else:
                    array[:] = np.arange(array.size).reshape(shape) % 7 + mean

        device._enqueue(stream, work)
        return True


class _Engine:
    def __init__(self, fake, tensors):
        self.fake, self.tensors = fake, {tensor[0]: tensor for tensor in tensors}
        self.num_io_tensors = len(tensors)

    def get_tensor_name(self, i):
        return list(self.tensors)[i]

    def get_tensor_shape(self, name):
        return self.tensors[name][3]

    def get_tensor_dtype(self, name):
        return DataType(self.tensors[name][2])

    def get_tensor_mode(self, name):
        return TensorIOMode.INPUT if self.tensors[name][1] == "in" else TensorIOMode.OUTPUT

    def create_execution_context(self):
        self.fake.calls.append(("context",))
        if "context" in self.fake.fails:
            self.fake.say("Out of memory: 123 MiB wanted")
            return None
        return _Context(self.fake, list(self.tensors.values()))


class FakeTensorRT(types.ModuleType):
    """The module; ``device`` is the fake GPU that its contexts work on."""

    DataType, TensorIOMode, ILogger, IProgressMonitor = DataType, TensorIOMode, ILogger, IProgressMonitor
    float32, float16 = DataType.FLOAT, DataType.HALF
    NetworkDefinitionCreationFlag = enum.IntEnum("NetworkDefinitionCreationFlag", ["STRONGLY_TYPED"])
    ComputeCapability = enum.IntEnum("ComputeCapability", {"NONE": 0, "CURRENT": 1, "SM75": 75, "SM86": 86})

    def __init__(self, name, version):
        super().__init__(name)
        self.__version__ = version
        only_there = ["REQUIRE_USER_ALLOCATION"] if name == "tensorrt_rtx" else []
        make_enum: Any = enum.Enum  # mypy knows enums of literal names only
        self.BuilderFlag = make_enum("BuilderFlag", ["TF32", *only_there])
        self.calls, self.fails, self.device, self.loggers = [], set(), None, []
        self.Builder, self.OnnxParser, self.Runtime = self._builder, self._parser, self._runtime

    def say(self, message):
        self.loggers[-1].log(Severity.ERROR, message)

    def _builder(self, logger):
        self.loggers.append(logger)
        return types.SimpleNamespace(
            create_network=self._create_network,
            create_builder_config=lambda: _Config(self),
            build_serialized_network=self._build,
        )

    def _create_network(self, flags):
        self.calls.append(("network", flags))
        return _Network()

    def _parser(self, network, logger):
        return types.SimpleNamespace(parse=lambda content: network.read(content) or True, num_errors=0)

    def _build(self, network, config):
        monitor = config.progress_monitor
        monitor.phase_start("Building", None, 2)
        monitor.phase_start("Timing", "Building", 4)
        for step in range(4):
            if not monitor.step_complete("Timing", step):
                return None
        monitor.phase_finish("Timing")
        monitor.step_complete("Building", 0)
        monitor.phase_finish("Building")
        if "build" in self.fails:
            self.say("no tactic\nfits")
            return None
        tensors = [(t.name, "in", t.dtype.value, t.shape) for t in network.inputs]
        return described(tensors + [(t.name, "out", t.dtype.value, t.shape) for t in network.outputs])

    def _runtime(self, logger):
        self.loggers.append(logger)

        def deserialize(content):
            self.calls.append(("deserialise", len(content)))
            text = bytes(content)
            if "deserialise" in self.fails or not text.startswith(b"fake"):
                self.say("Serialization assertion failed:\n  stdVersionRead == kSERIALIZATION_VERSION")
                return None
            return _Engine(self, [tuple(tensor) for tensor in json.loads(text[4:])])

        return types.SimpleNamespace(deserialize_cuda_engine=deserialize)


def tiny_model(folder):
    """A prepared model of a few layers: 96x64 px, three classes, one box decoded from a distribution."""
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "tiny-export.onnx"
    source.write_bytes(exports.ultralytics_export(dfl=True).SerializeToString())
    return import_onnx(source, folder, "tiny")[0]


def flavour(name="tensorrt", version="11.4.0", device=None):
    """A loaded library that is none."""
    from rtsearch.engines import flavour as module

    fake = FakeTensorRT(name, version)
    fake.device = device
    complaints = collections.deque(maxlen=4)
    return Flavour(name, version, fake, module._logger(fake, complaints), complaints)
