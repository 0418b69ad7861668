"""Define the commands ``rtsearch engine``: build, adopt, list and describe engines for NVIDIA GPUs."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import time
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.table import Table
from rich.text import Text

from rtsearch.cli.common import (
    ConfigFile,
    JsonFlag,
    Overrides,
    answer_facts,
    mb,
    output,
    print_json,
    settings_of,
    share_bar,
    tell,
)
from rtsearch.errors import ConfigError, RtsearchError

if TYPE_CHECKING:
    from rtsearch.engines import Gpu, Order, Passport

__all__ = ["app"]

_log = logging.getLogger(__name__)

_PROGRESS_S = 0.5  # interval of progress lines, as libraries report thousands of steps

app = typer.Typer(help="Build, adopt, list and describe engines for NVIDIA GPUs.", no_args_is_help=True)


class PrecisionName(StrEnum):
    """Precision of the engine's arithmetic."""

    FP16 = "fp16"
    FP32 = "fp32"


class FlavourChoice(StrEnum):
    """Library that builds and runs the engine."""

    AUTO = "auto"
    TENSORRT = "tensorrt"
    TENSORRT_RTX = "tensorrt_rtx"


FlavourOption = Annotated[
    FlavourChoice,
    typer.Option(
        "--flavour",
        metavar="NAME",
        help="Library: tensorrt, tensorrt_rtx, or auto for the installed one.",
    ),
]
EngineArgument = Annotated[Path, typer.Argument(metavar="FILE.engine", help="Engine file.")]


@app.command()
def build(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name in rtsearch model list, or a file.")],
    precision: Annotated[
        PrecisionName, typer.Option("--precision", help="fp16 is about twice as fast.")
    ] = PrecisionName.FP16,
    size: Annotated[
        int | None,
        typer.Option("--size", metavar="PX", help="Side of the square input; default: model.size."),
    ] = None,
    batch: Annotated[
        str, typer.Option("--batch", metavar="N[,N]", help="Pictures per pass; one engine for each.")
    ] = "1",
    flavour: FlavourOption = FlavourChoice.AUTO,
    as_json: JsonFlag = False,
    progress: Annotated[
        bool, typer.Option("--progress", help="With --json: also print lines of JSON about the progress.")
    ] = False,
    config: ConfigFile = None,
    override: Overrides = None,
) -> None:
    """Build engines of a network, unless fitting ones exist.

    [bold]Example:[/bold] rtsearch engine build yolo26n --size 640 --batch 1,8
    """
    from rtsearch.engines import build_engine, load_flavour, read_passport
    from rtsearch.models import default_folder

    if progress and not as_json:
        raise ConfigError("--progress needs --json; without it a terminal shows a bar")
    settings = settings_of(config, override)
    gpu = _gpu(settings.gpu.runtime)
    library = load_flavour(flavour.value, gpu=gpu is not None)
    orders = _orders(model, size, settings.model.size, _batches(batch), precision.value)
    built = []
    for i, order in enumerate(orders):
        with _share_lines(i, len(orders)) if progress else share_bar() as show:
            path = build_engine(order, default_folder(), library, gpu, progress=show)
        built.append(path)
        if not as_json:
            tell(f"ready: {path} ({library.name} {library.version})")
    if as_json:
        print_json({"engines": [_facts(path, read_passport(path)) for path in built]})


@app.command("list")
def list_all(as_json: JsonFlag = False) -> None:
    """List the engines on this machine, with their libraries and GPUs.

    [bold]Example:[/bold] rtsearch engine list
    """
    from rtsearch.engines import list_engines
    from rtsearch.models import default_folder

    found = list_engines(default_folder())
    if as_json:
        print_json([_facts(path, passport) for path, passport in found])
        return
    if not found:
        tell(f"no engines in {default_folder()}; build one with: rtsearch engine build MODEL")
        return
    table = Table(box=None, header_style="bold")
    for column in ("file", "made by", "for", "precision", "input", "size"):
        table.add_column(column, overflow="fold")
    for path, passport in found:
        if isinstance(passport, RtsearchError):
            table.add_row(Text(path.name), Text(f"not run: {passport}", "yellow"))
            continue
        facts = _facts(path, passport)
        images = facts["inputs"].get("images")
        table.add_row(
            path.name,
            f"{passport.flavour} {passport.version}",
            passport.gpu or ", ".join(passport.compute_capabilities),
            passport.precision or "adopted",
            "x".join(str(side) for side in images[0]) if images else "",
            mb(passport.engine_bytes),
        )
    output.print(table)


@app.command()
def info(file: EngineArgument, as_json: JsonFlag = False) -> None:
    """Print the passport of an engine.

    [bold]Example:[/bold] rtsearch engine info engines/yolo26n-640x640-b1-fp16.tensorrt_rtx.engine
    """
    from rtsearch.engines import read_passport

    facts = _facts(file, read_passport(file))
    if as_json:
        print_json(facts)
        return
    for group in ("inputs", "outputs"):
        facts[group] = "; ".join(
            f"{name} {'x'.join(str(side) for side in shape)} {dtype}"
            for name, (shape, dtype) in facts[group].items()
        )
    facts["compute_capabilities"] = ", ".join(facts["compute_capabilities"])
    facts["describe"] = facts["describe"].get("name", "")
    answer_facts(facts)


@app.command()
def adopt(
    file: EngineArgument,
    model: Annotated[
        str, typer.Option("--model", metavar="NAME", help="Prepared model that the engine was built of.")
    ],
    flavour: FlavourOption = FlavourChoice.AUTO,
    config: ConfigFile = None,
    override: Overrides = None,
) -> None:
    """Accept an engine that was built elsewhere, to run it on this machine.

    [bold]Example:[/bold] rtsearch engine adopt yolo26n.engine --model yolo26n
    """
    from rtsearch.engines import adopt_engine, load_flavour
    from rtsearch.models import default_folder, resolve

    settings = settings_of(config, override)
    path = resolve(model, default_folder())
    library = load_flavour(flavour.value)
    tell("An engine is code that runs with your rights: adopt only a file whose maker you trust.", "yellow")
    passport = adopt_engine(file, path, library, _needed_gpu(settings.gpu.runtime))
    tell(f"{file} will run on {passport.gpu} with {passport.flavour} {passport.version}")


@contextlib.contextmanager
def _share_lines(done: int, of: int) -> Iterator[Callable[[str, float], None]]:
    """Print the progress of several builds as lines of JSON: ``{"what": ..., "share": 0..1}``."""
    told_s = -math.inf

    def show(what: str, share: float) -> None:
        nonlocal told_s
        now_s = time.monotonic()
        if now_s - told_s >= _PROGRESS_S:
            told_s = now_s
            print_json({"what": what, "share": round((done + share) / of, 4)})

    yield show


def _gpu(runtime: Literal["auto", "cuda", "pycuda"]) -> Gpu | None:
    """Return the GPU of this machine, or None."""
    try:
        return _needed_gpu(runtime)
    except RtsearchError as error:
        _log.info("no GPU: %s", error)
        return None


def _needed_gpu(runtime: Literal["auto", "cuda", "pycuda"]) -> Gpu:
    from rtsearch.engines import Gpu
    from rtsearch.runners import open_device

    device = open_device(runtime)
    try:
        return Gpu(device.name, device.compute_capability)
    finally:
        device.close()


def _orders(
    model: str, size: int | None, usual: int, batches: list[int], precision: Literal["fp16", "fp32"]
) -> list[Order]:
    from rtsearch.engines import Order
    from rtsearch.models import ModelSpec, default_folder, resolve
    from rtsearch.perception.descriptor import Describer

    path = resolve(model, default_folder())
    spec = ModelSpec.read(path)
    side = size or (usual if spec.flexible else 0)
    input_wh = (side, side) if side else spec.input_wh
    recipe = Describer(spec).recipe
    return [
        Order(model=path, input_wh=input_wh, batch=batch, precision=precision, describe=recipe)
        for batch in batches
    ]


def _batches(text: str) -> list[int]:
    parts = text.split(",")
    if not all(part.strip().isdecimal() for part in parts):
        raise ConfigError(f"--batch {text}: expected numbers of pictures, for example 1,8")
    return sorted({int(part) for part in parts})


def _facts(path: Path, passport: Passport | RtsearchError) -> dict[str, Any]:
    """Return the facts that are printed about an engine."""
    if isinstance(passport, RtsearchError):
        return {"file": str(path), "problem": str(passport)}
    facts = dataclasses.asdict(passport)
    spec = passport.spec
    facts |= {"model": spec.name, "licence": spec.licence, "taps": [tap.role for tap in spec.taps]}
    return {"file": str(path), **facts}
