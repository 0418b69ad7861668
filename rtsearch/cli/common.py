"""What the commands share: settings options, the log, progress bars, JSON lines."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from rtsearch.config import Settings, load_settings

__all__ = [
    "ConfigFile",
    "JsonFlag",
    "LibraryFolder",
    "Overrides",
    "bytes_bar",
    "console",
    "count_bar",
    "print_json",
    "settings_of",
    "tell",
]

console = Console(stderr=True, highlight=False)

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="FILE", help="Settings in YAML; config.yaml documents them.", dir_okay=False
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="One setting, e.g. detect.threshold=0.4; may be repeated."
    ),
]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print one line of JSON, for machines.")]
LibraryFolder = Annotated[Path, typer.Argument(metavar="LIB", help="Folder of the library.")]


def settings_of(config: Path | None, overrides: list[str] | None) -> Settings:
    """The settings of a command, and its log switched on."""
    if not logging.getLogger("rtsearch").handlers:
        handler = RichHandler(console=console, show_time=False, show_path=False, show_level=False)
        logging.getLogger("rtsearch").addHandler(handler)
        logging.getLogger("rtsearch").setLevel(logging.WARNING)
    return load_settings(config, overrides or ())


def tell(text: str) -> None:
    """One line about what is going on, on standard error."""
    console.print(text)


def print_json(value: Any) -> None:
    """One line of JSON on standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()


@contextlib.contextmanager
def count_bar(unit: str) -> Iterator[Progress]:
    """A progress bar of things done, with rate and time left; silent where there is no terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=32),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:.1f} " + unit + "/s"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        yield bar


@contextlib.contextmanager
def bytes_bar() -> Iterator[Progress]:
    """A progress bar of bytes."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=32),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        yield bar
