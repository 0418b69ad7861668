"""Find, build, adopt and list the engines in the folder of models.

An engine file is replaced atomically, and two processes never build the same engine at once.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from rtsearch._util.regular_files import open_regular
from rtsearch.engines.compile import Built, Progress, compile_network
from rtsearch.engines.flavour import Flavour, Gpu, targets_of
from rtsearch.engines.network import Precision, network_for
from rtsearch.engines.passport import (
    ENGINE_SUFFIX,
    Machine,
    Passport,
    check,
    prefix_bytes,
    problems,
    read_passport,
    write_engine,
    write_passport,
)
from rtsearch.errors import EngineError
from rtsearch.models.files import read_model
from rtsearch.models.spec import ModelSpec

__all__ = ["Order", "adopt_engine", "build_engine", "engine_file", "find_engine", "list_engines"]

_log = logging.getLogger(__name__)

_RECIPE = 3  # raised whenever half.py, network.py or compile.py change the engines that are built
_WAIT_S = 600.0  # longest wait for another process that builds the same engine


@dataclass(frozen=True, kw_only=True)
class Order:
    """Specification of an engine to be built.

    Attributes:
        model: a prepared model.
        input_wh: width and height of the network's input, px.
        batch: number of pictures per pass.
        precision: ``fp16`` or ``fp32``; see ``half.py``.
        describe: recipe of the descriptions that the taps are chosen for; kept in the passport.
    """

    model: Path
    input_wh: tuple[int, int]
    batch: int = 1
    precision: Precision = "fp16"
    describe: dict[str, Any] = field(default_factory=dict, compare=False)


def engine_file(order: Order, folder: Path, flavour: Flavour, gpu: Gpu | None) -> Path:
    """Return the path of an engine, which names size, batch, precision, library and kind of GPU."""
    width, height = order.input_wh
    stem = re.sub(r"[^A-Za-z0-9._-]", "_", order.model.stem)
    targets = targets_of(flavour, gpu)
    kind = f"-sm{targets[0].replace('.', '')}" if len(targets) == 1 else ""
    name = f"{stem}-{width}x{height}-b{order.batch}-{order.precision}.{flavour.name}{kind}{ENGINE_SUFFIX}"
    return folder / name


def find_engine(order: Order, folder: Path, flavour: Flavour, gpu: Gpu) -> Path | None:
    """Return the path of an engine whose passport fits, or None; opening it checks its bytes."""
    path = engine_file(order, folder, flavour, gpu)
    try:
        _, model_sha256 = read_model(order.model)
        passport = read_passport(path)
    except EngineError as error:
        _log.debug("%s", error)
        return None
    wrong = [*problems(passport, Machine.of(flavour, gpu), model_sha256)]
    if not _made_as_now(passport, order):
        wrong.append("it was built another way")
    if wrong:
        _log.info("%s: %s", path.name, wrong[0])
        return None
    return path


def build_engine(
    order: Order,
    folder: Path,
    flavour: Flavour,
    gpu: Gpu | None = None,
    *,
    progress: Progress | None = None,
) -> Path:
    """Build an engine, unless the folder has an intact one that fits.

    Args:
        order: the engine.
        folder: folder of the engines.
        flavour: library that builds it.
        gpu: GPU of this machine, or None without one.
        progress: gets step and finished share; may be called by another thread.

    Returns:
        path of the engine; its passport lies beside it.

    Raises:
        UnknownModelError: the model does not exist.
        ModelError: the file is not a prepared model, or does not take that size or batch.
        EngineError: a layer is not supported, the library failed, or the disk is full.
    """
    tell = progress or (lambda _what, _share: None)
    targets = targets_of(flavour, gpu)
    path = engine_file(order, folder, flavour, gpu)
    with _only_builder(path, tell):
        if _is_current(path, order, flavour, gpu, targets):
            return path
        tell("preparing the network", 0.0)
        network, spec = network_for(
            order.model, input_wh=order.input_wh, batch=order.batch, precision=order.precision
        )
        built = compile_network(flavour, network, targets, progress=tell)
        # TensorRT chooses kernels by timing them, so its engine suits one GPU model, not a whole generation.
        only = gpu.name if flavour.needs_gpu and gpu else ""
        write_engine(path, built.engine, _passport(built, order, spec, flavour, targets, only))
    return path


def adopt_engine(engine: Path, model: Path, flavour: Flavour, gpu: Gpu) -> Passport:
    """Write a passport for an engine that was built elsewhere for this GPU and library.

    The engine is not opened here; its tensors are compared with the model when it is opened.

    Raises:
        UnknownModelError: the model does not exist.
        EngineError: the engine does not exist or cannot be one.
    """
    spec = ModelSpec.read(model)
    try:
        with open_regular(engine) as file:
            content = file.read()
    except OSError as error:
        raise EngineError(f"cannot read {engine}: {error.strerror or error}") from None
    if len(content) - prefix_bytes(content) < 64:
        raise EngineError(f"{engine} is not an engine: it has {len(content)} bytes")
    passport = Passport(
        engine_sha256=hashlib.sha256(content).hexdigest(),
        engine_bytes=len(content),
        origin="adopted",
        flavour=flavour.name,
        version=flavour.version,
        compute_capabilities=(gpu.text,),
        gpu=gpu.name,
        precision="",
        recipe=_RECIPE,
        inputs={},
        outputs={},
        describe={},
        model_sha256=spec.sha256,
        model=spec.to_json(),
    )
    write_passport(engine, passport)
    return passport


def list_engines(folder: Path) -> list[tuple[Path, Passport | EngineError]]:
    """Return the engines of a folder by name, each with its passport or the error of reading it."""
    found: list[tuple[Path, Passport | EngineError]] = []
    for path in sorted(folder.glob(f"*{ENGINE_SUFFIX}")):
        try:
            found.append((path, read_passport(path)))
        except EngineError as error:
            found.append((path, error))
    return found


def _passport(
    built: Built, order: Order, spec: ModelSpec, flavour: Flavour, targets: tuple[str, ...], gpu: str
) -> Passport:
    return Passport(
        engine_sha256=hashlib.sha256(built.engine).hexdigest(),
        engine_bytes=len(built.engine),
        origin="built",
        flavour=flavour.name,
        version=flavour.version,
        compute_capabilities=targets,
        gpu=gpu,
        precision=order.precision,
        recipe=_RECIPE,
        inputs=built.inputs,
        outputs=built.outputs,
        describe=order.describe,
        model_sha256=spec.sha256,
        model=spec.to_json(),
    )


def _is_current(
    path: Path, order: Order, flavour: Flavour, gpu: Gpu | None, targets: tuple[str, ...]
) -> bool:
    """Tell whether the engine exists, is intact, and was made as it would be made now."""
    try:
        _, model_sha256 = read_model(order.model)
        passport = read_passport(path)
        machine = Machine(flavour.name, flavour.version, gpu.name if gpu else passport.gpu, targets[0])
        check(path, machine, model_sha256=model_sha256)
    except EngineError as error:
        _log.debug("%s", error)
        return False
    return passport.compute_capabilities == targets and _made_as_now(passport, order)


def _made_as_now(passport: Passport, order: Order) -> bool:
    same = (passport.recipe, passport.precision) == (_RECIPE, order.precision)
    return same and (not order.describe or passport.describe == order.describe)


@contextlib.contextmanager
def _only_builder(path: Path, tell: Progress) -> Iterator[None]:
    """Lock an engine for building, after waiting for another process that builds the same one."""
    busy = f"another process is building {path.name}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path.with_name(f".{path.name}.lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            tell(f"{busy}; waiting for it", 0.0)
            lock.acquire(timeout=_WAIT_S)
    except Timeout:
        raise EngineError(f"{busy} for {_WAIT_S:.0f} s; wait until it ends, or end it") from None
    except OSError as error:
        raise EngineError(f"cannot write to {path.parent}: {error.strerror or error}") from None
    try:
        yield
    finally:
        lock.release()
