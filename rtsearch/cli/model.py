"""Define the commands ``rtsearch model``: list, download, import and describe networks."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from rtsearch.cli.common import (
    ConfigFile,
    JsonFlag,
    Overrides,
    answer,
    answer_facts,
    bytes_bar,
    mb,
    output,
    print_json,
    px,
    settings_of,
    share_bar,
    tell,
)

if TYPE_CHECKING:
    from rtsearch.models import CatalogueEntry

__all__ = ["app", "fetch_missing", "pull_model"]

app = typer.Typer(help="List, download, import and describe networks.", no_args_is_help=True)


@app.command("list")
def list_models(as_json: JsonFlag = False) -> None:
    """List the networks that can be downloaded, with their licences.

    mAP is the mean average precision on COCO that their makers publish, in percent, at 640 px (the two
    smallest YOLOX: 416). CPU is the time of a picture on this machine, as [bold]rtsearch model bench[/bold]
    took it. A size after ~ is an estimate.

    [bold]Example:[/bold] rtsearch model list
    """
    from rtsearch.jobs.model_bench import known_times
    from rtsearch.models import CATALOGUE, default_folder

    folder = default_folder()
    times = known_times(folder)
    here = {entry.name: (folder / f"{entry.name}.onnx").is_file() for entry in CATALOGUE}
    if as_json:
        print_json(
            [
                {**dataclasses.asdict(entry), "here": here[entry.name], "cpu_ms": times.get(entry.name)}
                for entry in CATALOGUE
            ]
        )
        return
    table = Table(box=None, header_style="bold")
    for column in ("name", "licence", "size", "input", "mAP", "CPU", "here", "about"):
        table.add_column(column, no_wrap=column != "about")
    for entry in CATALOGUE:
        size = mb(entry.bytes) if entry.sha256 else f"~{mb(entry.bytes)}"
        cpu = f"{times[entry.name]:.0f} ms" if entry.name in times else ""
        there = "yes" if here[entry.name] else "no"
        facts = (entry.licence, size, px(entry.input_wh), f"{entry.coco_map:.1f}", cpu, there, entry.about)
        table.add_row(entry.name, *facts)
    output.print(table)
    known = {entry.name for entry in CATALOGUE}
    for path in sorted(folder.glob("*.onnx")):
        if path.stem not in known and not path.stem.endswith(".int8"):
            answer(f"imported: {path.stem}  ({path})")


@app.command()
def bench(as_json: JsonFlag = False) -> None:
    """Time the networks that are here: milliseconds of CPU for one picture, with one thread.

    Each network runs at its own input size for two seconds; int8 files are timed too.

    [bold]Example:[/bold] rtsearch model bench
    """
    from rtsearch.jobs.model_bench import time_all
    from rtsearch.models import default_folder

    with share_bar() as show:
        timed = time_all(default_folder(), show)
    if as_json:
        print_json([dataclasses.asdict(one) for one in timed])
        return
    for one in timed:
        answer(f"{one.name}: {one.cpu_ms:.1f} ms at {px(one.input_wh)}")


@app.command()
def pull(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name in rtsearch model list.")],
    trust: Annotated[
        bool,
        typer.Option("--trust", help="Take a file of which no SHA-256 is known, and keep its SHA-256."),
    ] = False,
) -> None:
    """Download a network and prepare it, unless that has been done.

    Where no SHA-256 of the file is known, it asks, or wants [bold]--trust[/bold]. From then on the file must
    have the SHA-256 that it had.

    [bold]Example:[/bold] rtsearch model pull yolo26n
    """
    path = pull_model(name, trust=trust)
    tell(f"{name} is ready: {path}")


def pull_model(name: str, *, trust: bool = False) -> Path:
    """Pull a network with a progress bar, and print its licence."""
    from rtsearch.models import catalogue_entry, default_folder
    from rtsearch.models.fetch import known_sha256

    entry = catalogue_entry(name)
    asks = not trust and sys.stdin.isatty() and sys.stderr.isatty()
    if asks and not known_sha256(entry, default_folder() / "downloads"):
        size = f"about {mb(entry.bytes)}"
        tell(f"no SHA-256 of {entry.file} ({size}) is known here; it would come from {entry.places[0]}")
        trust = typer.confirm("take it, and keep its SHA-256 for the next time?", err=True)
    path = _pull(entry, trust=trust)
    tell(f"{name}: weights under {entry.licence}, see {entry.licence_url}")
    return path


def fetch_missing(name: str, *, offline: bool) -> None:
    """Pull the network of a command if it is missing, after printing its size and licence.

    Args:
        name: value of the setting ``model.name``.
        offline: do not download.

    Raises:
        UnknownModelError: the network is missing, and is not in the catalogue or cannot be downloaded.
    """
    from rtsearch.errors import DownloadError, UnknownModelError
    from rtsearch.models import CATALOGUE, default_folder, resolve

    try:
        resolve(name, default_folder())
    except UnknownModelError as missing:
        entry = next((entry for entry in CATALOGUE if entry.name == name), None)
        if entry is None or offline or not entry.sha256:
            raise
        tell(f"downloading {name}, once: {mb(entry.bytes)}, under {entry.licence}, see {entry.licence_url}")
        try:
            _pull(entry)
        except DownloadError as error:  # the message that follows names model pull
            tell(str(error))
            raise missing from None


def _pull(entry: CatalogueEntry, *, trust: bool = False) -> Path:
    from rtsearch.models import default_folder
    from rtsearch.models import pull as pull_into

    with bytes_bar() as bar:
        task = bar.add_task(entry.name, total=entry.bytes)

        def show(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total or None)

        return pull_into(entry.name, default_folder(), progress=show, trust=trust)


@app.command("import")
def import_model(
    file: Annotated[Path, typer.Argument(metavar="FILE.onnx", help="A detector that was exported to ONNX.")],
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", help="Name of the model; default: the file's name."),
    ] = None,
    names: Annotated[
        Path | None,
        typer.Option(
            "--names", metavar="FILE", help="Class names: one per line, or the `names` of a YAML file."
        ),
    ] = None,
    config: ConfigFile = None,
    override: Overrides = None,
) -> None:
    """Prepare an exported detector: find its outputs and the maps that describe objects in its graph.

    A file that takes any size but does not grow with it is fixed at [bold]model.size[/bold].

    [bold]Example:[/bold]

    rtsearch model import yolov8s.onnx

    rtsearch model import mine.onnx --names classes.txt

    rtsearch analyze ~/Pictures pictures.lib --set model.name=yolov8s
    """
    from rtsearch.models import default_folder, import_onnx
    from rtsearch.models.class_names import read_names

    size = settings_of(config, override).model.size
    given = None if names is None else read_names(names)
    path, report = import_onnx(file, default_folder(), name, names=given, size=size)
    for line in report:
        tell(line)
    tell(f"ready: {path}; use it with --set model.name={path.stem}")


@app.command("import-text")
def import_text(
    image: Annotated[Path, typer.Argument(metavar="IMAGE.onnx", help="Network of pictures.")],
    text: Annotated[Path, typer.Argument(metavar="TEXT.onnx", help="Network of texts, exported with it.")],
    tokenizer: Annotated[
        Path,
        typer.Argument(
            metavar="TOKENIZER", help="Its tokenizer.json, or bpe_simple_vocab_16e6.txt.gz of CLIP."
        ),
    ],
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="Name of the pair.")],
) -> None:
    """Import a pair of networks for pictures and texts, such as CLIP, so that any words find crops.

    [bold]Example:[/bold]

    rtsearch model import-text visual.onnx textual.onnx tokenizer.json --name clip

    rtsearch analyze ~/Pictures pictures.lib --set describe.text=clip
    """
    from rtsearch.models import default_folder
    from rtsearch.words import import_pair

    files = {"image": image, "text": text, "tokenizer": tokenizer}
    pair = import_pair(name, files, default_folder())
    tell(f"ready: {name}, {pair.dim} numbers per vector; use it with --set describe.text={name}")


@app.command()
def quantize(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name in rtsearch model list, or a file.")],
    photos: Annotated[
        Path | None,
        typer.Option("--photos", metavar="DIR", help="Photos to measure on; default: those of the demo."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Make an int8 file of a network beside it, which takes less CPU where the processor has VNNI.

    It takes some minutes. Convolutions whose rounding moves boxes and descriptions stay in float32. The file
    is used by itself where it saves 15 % on the machine; see [bold]model.precision[/bold].

    [bold]Example:[/bold] rtsearch model quantize yolo26n --photos ~/Pictures
    """
    from rtsearch.jobs.quantize import quantize as make
    from rtsearch.models import default_folder, resolve

    path = resolve(name, default_folder())
    with contextlib.ExitStack() as stack:
        folder = photos or _demo_photos(stack)
        report = make(path, folder, stack.enter_context(share_bar()))
    if as_json:
        print_json({**dataclasses.asdict(report), "path": str(report.path)})
        return
    for line in report.lines():
        tell(line)


def _demo_photos(stack: contextlib.ExitStack) -> Path:
    from rtsearch.jobs.demo import demo_clip, gather_photos

    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rtsearch-")))
    gather_photos(folder, demo_clip())
    return folder


@app.command()
def info(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="Name in rtsearch model list, or a file; default: model.name."),
    ] = None,
    as_json: JsonFlag = False,
    config: ConfigFile = None,
    override: Overrides = None,
) -> None:
    """Print family, licence, input, classes and taps of a network.

    [bold]Example:[/bold] rtsearch model info yolo26n
    """
    from rtsearch.models import ModelSpec, default_folder, resolve

    settings = settings_of(config, override)
    path = resolve(settings.model.name if name is None else name, default_folder())
    facts = {"file": str(path), **dataclasses.asdict(ModelSpec.read(path))}
    if as_json:
        print_json(facts)
        return
    facts["taps"] = (
        ", ".join(f"{tap['role']} ({tap['channels']} channels)" for tap in facts["taps"]) or "none"
    )
    facts["classes"] = f"{len(facts['classes'])}: {', '.join(facts['classes'])}"
    facts["input"] = px(facts.pop("input_wh"))
    answer_facts(facts)
