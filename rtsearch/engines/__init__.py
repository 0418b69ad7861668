"""TensorRT engines: built from prepared models, kept with a passport, checked before they are run.

    prepared model -> network -> compile -> FILE.engine + FILE.engine.json -> check -> runners.tensorrt

flavour     the two libraries, loaded on demand
half        half precision, written into the network
network     the model for one input size, batch and precision
compile     the network becomes an engine
passport    what is known of an engine file; whether it may run here
build       engines in the folder of models: found, built, adopted, listed
background  the same in another process, while this one goes on
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
