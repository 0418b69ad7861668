"""Engines in the folder of models: what they are called, whether one is there that still fits, and building.

An engine takes the place of an old one whole or not at all, and two processes never build the same one.
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

_RECIPE = 3  # raise it whenever half.py, network.py or compile.py change what is built
_WAIT_S = 600.0  # for another process that builds the same engine


@dataclass(frozen=True, kw_only=True)
class Order:
    """Specification of an engine to be built.

    Attributes:
        model: a prepared model.
        input_wh: width and height of the network's input, px.
        batch: pictures per pass.
        precision: see ``half.py``.
        describe: the describing recipe that will read the taps; kept in the passport.
    """

    model: Path
    input_wh: tuple[int, int]
    batch: int = 1
    precision: Precision = "fp16"
    describe: dict[str, Any] = field(default_factory=dict, compare=False)


def engine_file(order: Order, folder: Path, flavour: Flavour, gpu: Gpu | None) -> Path:
    """Return the path of an order's engine: one file per size, batch, precision, library and kind of GPU."""
    width, height = order.input_wh
    stem = re.sub(r"[^A-Za-z0-9._-]", "_", order.model.stem)
    targets = targets_of(flavour, gpu)
    kind = f"-sm{targets[0].replace('.', '')}" if len(targets) == 1 else ""
    name = f"{stem}-{width}x{height}-b{order.batch}-{order.precision}.{flavour.name}{kind}{ENGINE_SUFFIX}"
    return folder / name


def find_engine(order: Order, folder: Path, flavour: Flavour, gpu: Gpu) -> Path | None:
    """The engine of an order, if its passport fits; its bytes are checked when it is opened."""
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
    """Build an engine, unless one is there that is whole and fits.

    Args:
        order: what is to be built.
        folder: where engines live.
        flavour: what builds it.
        gpu: the one that is there, or None where there is none.
        progress: told how far it is; not always by the calling thread.

    Returns:
        the engine's file; its passport lies beside it.

    Raises:
        UnknownModelError: no such model.
        ModelError: not a prepared model, or not for that size or batch.
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
        # TensorRT chooses kernels by timing them: its engine is for one kind of GPU, not for its generation.
        only = gpu.name if flavour.needs_gpu and gpu else ""
        write_engine(path, built.engine, _passport(built, order, spec, flavour, (targets, only)))
    return path


def adopt_engine(engine: Path, model: Path, flavour: Flavour, gpu: Gpu) -> Passport:
    """Vouch for an engine that was built elsewhere, of a prepared model, for this GPU and library.

    The engine is not opened here; that its tensors are those of the model is seen when it is.

    Raises:
        UnknownModelError: no such model.
        EngineError: no such engine, or something else than one.
    """
    spec = ModelSpec.read(model)
    try:
        content = engine.read_bytes()
    except OSError as error:
        raise EngineError(f"cannot read {engine}: {error.strerror or error}") from None
    if len(content) - prefix_bytes(content) < 64:
        raise EngineError(f"{engine} is no engine: it has {len(content)} bytes")
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
    """The engines of a folder by name, each with its passport or with what is wrong with it."""
    found: list[tuple[Path, Passport | EngineError]] = []
    for path in sorted(folder.glob(f"*{ENGINE_SUFFIX}")):
        try:
            found.append((path, read_passport(path)))
        except EngineError as error:
            found.append((path, error))
    return found


def _passport(
    built: Built, order: Order, spec: ModelSpec, flavour: Flavour, made_for: tuple[tuple[str, ...], str]
) -> Passport:
    return Passport(
        engine_sha256=hashlib.sha256(built.engine).hexdigest(),
        engine_bytes=len(built.engine),
        origin="built",
        flavour=flavour.name,
        version=flavour.version,
        compute_capabilities=made_for[0],
        gpu=made_for[1],
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
    """Tell whether the engine of an order exists, whole, and made as it would be made now."""
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
    """Be the only process that builds this engine; another one may be building just what is wanted."""
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
