"""Options, log, progress bars and JSON lines that all commands share.

Answers go to standard output, all that is said about them to standard error; what is said stays one line,
however long, where it does not go to a terminal.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

from rtsearch._util.wording import counted
from rtsearch.cli.printable import printable
from rtsearch.config import Settings, load_settings
from rtsearch.errors import RecordError, RtsearchError

if TYPE_CHECKING:
    from rtsearch.library import Library

__all__ = [
    "ConfigFile",
    "JsonFlag",
    "LibraryFolder",
    "Offline",
    "Overrides",
    "OverwriteFlag",
    "answer",
    "answer_facts",
    "bytes_bar",
    "count_bar",
    "counted",
    "keep_apart",
    "keep_older",
    "library_and_settings",
    "mb",
    "output",
    "print_json",
    "px",
    "settings_of",
    "share_bar",
    "tell",
    "tell_damage",
    "tell_if_slow",
]

# What reads a pipe folds for itself; rich would take it for 80 columns wide.
output = Console(highlight=False, width=None if sys.stdout.isatty() else 200)


class _Messages(Console):
    """Standard error. Bars leave the cursor as it is: a signal may end the process beside them."""

    def show_cursor(self, show: bool = True) -> bool:
        return False


_messages = _Messages(stderr=True, highlight=False)

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="FILE", help="Settings in YAML; rtsearch config prints all.", dir_okay=False
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="One setting, e.g. detect.threshold=0.4; may be repeated."
    ),
]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print one line of JSON, for machines.")]


OverwriteFlag = Annotated[
    bool, typer.Option("--overwrite", help="Replace videos and records that are there already.")
]
Offline = Annotated[
    bool, typer.Option("--offline", help="Do not fetch the detection network if it is not here.")
]
LibraryFolder = Annotated[Path, typer.Argument(metavar="LIB", help="Folder of the library.")]


def library_and_settings(
    lib: Path, config: Path | None, overrides: list[str] | None, photos: Path | None = None
) -> tuple[Library, Settings]:
    """A library and the settings of a command on it; what is wrong with the settings is said first.

    Args:
        lib: folder of the library.
        config, overrides: of the command line.
        photos: where the library's photos are, if they have moved.
    """
    from rtsearch.library import Library

    try:
        library = Library.open(lib, photos)
    except RtsearchError:
        settings_of(config, overrides)
        raise
    return library, settings_of(config, overrides, library)


def settings_of(config: Path | None, overrides: list[str] | None, library: Library | None = None) -> Settings:
    """The settings of a command, and its log switched on.

    Args:
        config, overrides: of the command line.
        library: what it was made with goes before the defaults.
    """
    log = logging.getLogger("rtsearch")
    if not log.handlers:
        log.addHandler(_Telling(logging.WARNING))
    if library is None:
        return load_settings(config, overrides or ())
    from rtsearch.library.index import remembered_settings

    return load_settings(config, overrides or (), remembered_settings(library))


class _Telling(logging.Handler):
    """The log, between the progress bars."""

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError):  # a terminal that is closed must not stop what is being finished
            tell(record.getMessage(), "yellow")


@contextlib.contextmanager
def tell_if_slow(text: str, after_s: float = 3.0) -> Iterator[None]:
    """Tell a terminal what is going on if the block takes longer: silence looks like a hang."""
    timer = threading.Timer(after_s, tell, [text])
    timer.daemon = True
    if _messages.is_terminal:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


def tell(text: str, style: str = "") -> None:
    """One line about what is going on, on standard error; no bracket in a file's name means anything."""
    _messages.print(Text(printable(text), style), soft_wrap=True)


def tell_damage(library: Library) -> None:
    """Name files of a library that are missing or cut off; what does not need them goes on."""
    from rtsearch.library import cut_files

    damaged = cut_files(library)
    for line in damaged[:3]:
        tell(f"damaged: {line}", "red")
    if damaged:
        more = (
            f"{counted(len(damaged), 'file')} of {library.folder} damaged" if len(damaged) > 3 else "damage"
        )
        tell(f"{more}: rtsearch library check {library.folder} says what is touched", "red")


def answer(text: str) -> None:
    """One line of what was asked for, on standard output."""
    output.print(Text(printable(text)), soft_wrap=True)


def answer_facts(facts: Mapping[str, object]) -> None:
    """Print facts about a thing, one a line, folded where the terminal is too narrow."""
    widest = max(map(len, facts))
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        words = name.replace("_", " ")
        if output.is_terminal:
            table.add_row(words, Text(printable(_in_words(value))))
        else:
            answer(f"{words:{widest}s}  {_in_words(value)}")
    if output.is_terminal:
        output.print(table)


def _in_words(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list | tuple):
        return ", ".join(map(_in_words, value)) or "none"
    return "any" if value is None else str(value)


def px(wh: Sequence[int]) -> str:
    """``416 x 416 px``."""
    return f"{' x '.join(str(side) for side in wh)} px"


def mb(n_bytes: int) -> str:
    """``6.3 MB``."""
    return f"{n_bytes / 1e6:,.1f} MB"


def keep_apart(out: Path | None, *inputs: Path, library: Library | None = None) -> None:
    """Refuse to write ``out`` over anything that the command reads.

    Args:
        out: file to write; None where none is wanted.
        inputs: files that are read; they need not exist.
        library: in whose folder only the library itself writes.

    Raises:
        RecordError: it is one of the inputs, under whatever name, a photo of the library, or lies in the
            library's folder; or there is no folder for it.
    """
    if out is None:
        return
    whole = _resolved(out)
    for path in inputs:
        same = out.exists() and path.exists() and out.samefile(path)  # a hard link, too
        if same or whole == _resolved(path):
            raise RecordError(f"{out} is read by this command; choose another name for what is written")
    if not out.parent.exists():  # before the work, not after it
        from rtsearch.recording.problems import record_error

        raise record_error(out, FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)), kept=False)
    if library is None:
        return
    if whole.is_relative_to(_resolved(library.folder)):
        raise RecordError(
            f"{out} lies in the library's own folder {library.folder}; choose a place outside of it"
        )
    if out.exists() and library.is_photo(out):
        raise RecordError(f"{out} is a photo of {library.folder}; choose another name for what is written")


def keep_older(written: Sequence[Path], *, overwrite: bool) -> None:
    """Refuse to replace recordings, and name unfinished parts that killed runs left beside them.

    Args:
        written: videos and records that the command is to write.
        overwrite: the user wants those that are there replaced.

    Raises:
        RecordError: one is there already.
    """
    from rtsearch.recording import left_parts, refuse_existing

    for path in written:
        for part in left_parts(path):
            size = mb(part.stat().st_size)
            tell(
                f"a run that was killed left {part} ({size}); look at it, then rename or remove it", "yellow"
            )
    if not overwrite:
        refuse_existing(written)


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # links in a circle; whoever opens it says so
        return path.absolute()


def print_json(value: Any) -> None:
    """One line of JSON on standard output."""
    sys.stdout.write(json.dumps(value) + "\n")  # in ASCII: names of files can be any bytes
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
    with Progress(*columns, console=_messages, transient=True, disable=not _messages.is_terminal) as bar:
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
    with Progress(*columns, console=_messages, transient=True, disable=not _messages.is_terminal) as bar:
        yield bar


@contextlib.contextmanager
def share_bar() -> Iterator[Callable[[str, float], None]]:
    """A progress bar of one thing; gives what wants to know what is being done, and the share done."""
    columns = (BarColumn(bar_width=32), TaskProgressColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=_messages, transient=True, disable=not _messages.is_terminal) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda what, share: bar.update(task, description=what, completed=share)
