"""Keep a passport beside every engine file, and run no engine without one.

An engine is code that the library executes. So ``FILE.engine`` has a passport ``FILE.engine.json``, written
when the engine is built or adopted here, and ``check`` accepts an engine only if its hash is that of the
passport and it was made for this machine. ``check`` returns the very bytes that it hashed, so the file cannot
be exchanged in between.

Some exporters write a header in front of the engine: its length in four bytes (little-endian), then JSON. The
header is skipped.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from rtsearch._util.atomic import write_atomic
from rtsearch._util.regular_files import open_regular, read_regular
from rtsearch._util.wording import one_line
from rtsearch.engines.compile import Tensors
from rtsearch.engines.flavour import Flavour, FlavourName, Gpu
from rtsearch.errors import EngineError, ModelError
from rtsearch.models.spec import ModelSpec

__all__ = [
    "ENGINE_SUFFIX",
    "CheckedEngine",
    "Machine",
    "Passport",
    "check",
    "passport_path",
    "prefix_bytes",
    "problems",
    "read_passport",
    "write_engine",
    "write_passport",
]

ENGINE_SUFFIX = ".engine"
_FORMAT = 1
_MOST_PASSPORT_BYTES = 1 << 20
_MOST_ENGINE_BYTES = 1 << 32
_REBUILD = "build it again: rtsearch engine build {model}"


@dataclass(frozen=True, slots=True)
class Machine:
    """Machine that an engine is to run on.

    Attributes:
        flavour: name of the library.
        version: version of the library.
        gpu: name of the GPU.
        compute_capability: compute capability of the GPU, such as ``8.6``.
    """

    flavour: str
    version: str
    gpu: str
    compute_capability: str

    @classmethod
    def of(cls, flavour: Flavour, gpu: Gpu) -> Machine:
        """Return the machine with a loaded library and a GPU."""
        return cls(flavour.name, flavour.version, gpu.name, gpu.text)


@dataclass(frozen=True, kw_only=True)
class Passport:
    """Facts about an engine file that decide whether it may run.

    Attributes:
        engine_sha256: SHA-256 of the whole file, in hex.
        engine_bytes: size of the file.
        origin: ``built`` by rtsearch, or ``adopted`` by the user from elsewhere.
        flavour: name of the library that built the engine.
        version: version of that library; no other version reads the engine.
        compute_capabilities: compute capabilities that the engine is made for, such as ``8.6``.
        gpu: name of the only GPU that the engine is made for, or "" for all of these compute capabilities.
        precision: ``fp16``, ``fp32``, or "" where it is not known.
        recipe: version of the steps from the model to the engine; see ``build.py``.
        inputs: shape and dtype of the inputs, by name; empty for an adopted engine.
        outputs: shape and dtype of the outputs, by name; empty for an adopted engine.
        describe: recipe of the descriptions that the taps were chosen for.
        model_sha256: SHA-256 of the prepared ONNX file that the engine is made of.
        model: ModelSpec of that file, as JSON.
        format: version of the passport's format.
    """

    engine_sha256: str
    engine_bytes: int
    origin: Literal["built", "adopted"]
    flavour: FlavourName
    version: str
    compute_capabilities: tuple[str, ...]
    gpu: str
    precision: str
    recipe: int
    inputs: Tensors
    outputs: Tensors
    describe: dict[str, Any]
    model_sha256: str
    model: str
    format: int = _FORMAT

    @property
    def spec(self) -> ModelSpec:
        """Specification of the model that the engine is made of."""
        return ModelSpec.from_json(self.model, sha256=self.model_sha256)


_ADAPTER: TypeAdapter[Any] = TypeAdapter(Passport)


@dataclass(frozen=True, slots=True)
class CheckedEngine:
    """Engine that may run on this machine.

    Attributes:
        path: path of the file.
        content: bytes that the library deserialises.
        passport: passport of the engine.
    """

    path: Path
    content: memoryview
    passport: Passport


def passport_path(engine: Path) -> Path:
    """Return the path of an engine's passport."""
    return engine.with_name(f"{engine.name}.json")


def read_passport(engine: Path) -> Passport:
    """Read the passport beside an engine and check the types of its values.

    Raises:
        EngineError: the passport is missing or damaged.
    """
    path = passport_path(engine)
    try:
        text = read_regular(path, _MOST_PASSPORT_BYTES).decode()
    except FileNotFoundError:
        raise EngineError(
            f"{engine} has no passport, so it is not run: an engine is code; if you trust it: "
            f"rtsearch engine adopt {engine} --model NAME"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise EngineError(f"cannot read {path}: {error}") from None
    try:
        values = json.loads(text)
        if isinstance(values, dict) and values.get("format") != _FORMAT:
            raise EngineError(f"{path} was written by another version of rtsearch; build the engine again")
        passport: Passport = _ADAPTER.validate_python(values)
        passport.spec  # noqa: B018 - parses the JSON inside the passport
    except (ValueError, ValidationError, ModelError, RecursionError) as error:
        raise EngineError(f"{path} is damaged: {one_line(error)}") from None
    return passport


def check(engine: Path, machine: Machine, *, model_sha256: str = "") -> CheckedEngine:
    """Read an engine that may run here.

    Args:
        engine: path of the file.
        machine: machine that it is to run on.
        model_sha256: hash of the prepared model that it must be made of; "" allows any.

    Raises:
        EngineError: it must not run here; the message says why and what to do.
    """
    passport = read_passport(engine)
    for problem in problems(passport, machine, model_sha256):
        raise EngineError(f"{engine.name} is not run: {problem}; {_REBUILD.format(model=passport.spec.name)}")
    content = _content(engine, passport)
    return CheckedEngine(engine, memoryview(content)[prefix_bytes(content) :], passport)


def problems(passport: Passport, machine: Machine, model_sha256: str = "") -> Iterator[str]:
    """Yield the reasons against running an engine, the most telling first."""
    if passport.flavour != machine.flavour:
        yield f"it was made by {passport.flavour}, here is {machine.flavour}"
    if passport.version != machine.version:
        yield f"it was made by {passport.flavour} {passport.version}, here is {machine.version}"
    if machine.compute_capability not in passport.compute_capabilities:
        made_for = ", ".join(passport.compute_capabilities)
        yield f"it was made for compute capability {made_for}, here is {machine.compute_capability}"
    if passport.gpu and passport.gpu != machine.gpu:
        yield f"it was made for {passport.gpu}, here is {machine.gpu}"
    if model_sha256 and passport.model_sha256 != model_sha256:
        yield f"it was made of another {passport.spec.name}"


def _content(engine: Path, passport: Passport) -> bytes:
    """Read the bytes of an engine and compare them with its passport."""
    wanted = passport.engine_bytes
    try:
        with open_regular(engine) as file:
            found = os.fstat(file.fileno()).st_size
            # The size is compared before any byte is read into memory.
            content = file.read() if found == wanted <= _MOST_ENGINE_BYTES else b""
    except OSError as error:
        raise EngineError(f"cannot read {engine}: {error.strerror or error}") from None
    if len(content) != wanted:
        problem = f"it has {found} bytes, its passport says {wanted}"
    elif hashlib.sha256(content).hexdigest() != passport.engine_sha256:
        problem = "its bytes are not those of its passport"
    else:
        return content
    raise EngineError(f"{engine.name} is not run: {problem}; {_REBUILD.format(model=passport.spec.name)}")


def prefix_bytes(content: bytes) -> int:
    """Return the length of the header that an exporter wrote in front of an engine; 0 without a header."""
    if len(content) < 4:
        return 0
    (length,) = struct.unpack_from("<i", content)
    if not 2 <= length <= min(_MOST_PASSPORT_BYTES, len(content) - 4):
        return 0
    try:
        text = json.loads(content[4 : 4 + length])
    except (ValueError, RecursionError):
        return 0
    return 4 + length if isinstance(text, dict) else 0


def write_engine(path: Path, content: bytes, passport: Passport) -> None:
    """Write an engine and its passport.

    The engine is written first: until the passport follows, the old one or none is there, and ``check``
        refuses
    the engine.

    Raises:
        EngineError: a file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, content)
    except OSError as error:
        raise EngineError(f"cannot write {path}: {error.strerror or error}") from None
    write_passport(path, passport)


def write_passport(engine: Path, passport: Passport) -> None:
    """Write the passport of an engine.

    Raises:
        EngineError: the file cannot be written.
    """
    path = passport_path(engine)
    text = json.dumps(dataclasses.asdict(passport), indent=1)
    try:
        write_atomic(path, text.encode())
    except OSError as error:
        raise EngineError(f"cannot write {path}: {error.strerror or error}") from None
