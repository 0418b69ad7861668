"""Build TensorRT engines from prepared models, keep each with a passport, check it before it runs.

    prepared model -> network -> compile -> FILE.engine + FILE.engine.json -> check -> runners.tensorrt

flavour     loads TensorRT or TensorRT-RTX on demand
half        writes half precision into the network
network     fixes the model for one input size, batch and precision
compile     compiles the network to an engine
passport    checks by its passport that an engine file may run here
build       finds, builds, adopts and lists the engines in the folder of models
background  builds an engine in another process
"""

from rtsearch.engines.background import BackgroundBuild, start_build
from rtsearch.engines.build import (
    Order,
    adopt_engine,
    build_engine,
    engine_file,
    find_engine,
    list_engines,
)
from rtsearch.engines.compile import Progress
from rtsearch.engines.flavour import Flavour, FlavourName, Gpu, installed_flavours, load_flavour, targets_of
from rtsearch.engines.network import Precision
from rtsearch.engines.passport import CheckedEngine, Machine, Passport, check, passport_path, read_passport

__all__ = [
    "BackgroundBuild",
    "CheckedEngine",
    "Flavour",
    "FlavourName",
    "Gpu",
    "Machine",
    "Order",
    "Passport",
    "Precision",
    "Progress",
    "adopt_engine",
    "build_engine",
    "check",
    "engine_file",
    "find_engine",
    "installed_flavours",
    "list_engines",
    "load_flavour",
    "passport_path",
    "read_passport",
    "start_build",
    "targets_of",
]
