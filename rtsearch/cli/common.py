"""Define the options, log, progress bars and output that all commands share.

Results are written to standard output and messages to standard error; outside of a terminal every message is
one line of any length.
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
    ProgressColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

from rtsearch._util.masking import masked_words
from rtsearch._util.wording import counted
from rtsearch.cli.printable import printable
from rtsearch.config import Settings, load_settings
from rtsearch.errors import RecordError, RtsearchError
from rtsearch.storage.address import library_folder

if TYPE_CHECKING:
    from rtsearch.library import Library

__all__ = [
    "ConfigFile",
    "JsonFlag",
    "LibraryFolder",
    "Offline",
    "Overrides",
    "OverwriteFlag",
    "SearchedLibrary",
    "answer",
    "answer_facts",
    "bytes_bar",
    "count_bar",
    "counted",
    "frames_at",
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
    "tell_some",
]

_LINES = 20  # of one kind about single photos

# rich would wrap the output of a pipe at 80 columns.
output = Console(highlight=False, width=None if sys.stdout.isatty() else 200)


class _Messages(Console):
    """Console of standard error that never hides the cursor, as a signal may end the process during a bar."""

    def show_cursor(self, show: bool = True) -> bool:
        return False


_messages = _Messages(stderr=True, highlight=False)

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="File of settings in YAML; rtsearch config prints all settings.",
        dir_okay=False,
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="One setting, e.g. detect.threshold=0.4; may be repeated."
    ),
]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print one line of JSON for programs.")]
OverwriteFlag = Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")]
Offline = Annotated[
    bool, typer.Option("--offline", help="Do not download the detection network if it is missing.")
]
LibraryFolder = Annotated[
    Path,
    typer.Argument(metavar="LIB", help="Folder of the library, or its address.", parser=library_folder),
]
SearchedLibrary = Annotated[
    Path,
    typer.Argument(
        metavar="LIB",
        help="Folder of the library, its address, http://HOST:PORT of rtsearch serve, or ray://HOST/NAME "
        "of rtsearch cluster serve.",
    ),
]


def library_and_settings(
    lib: Path, config: Path | None, overrides: list[str] | None, photos: Path | None = None
) -> tuple[Library, Settings]:
    """Open a library and load the settings of a command on it; errors of settings come first.

    Args:
        lib: folder of the library, or address of a server.
        config: file of settings, or None.
        overrides: settings of the command line.
        photos: folder of the library's photos, if they have moved.
    """
    try:
        library = _open_library(lib, photos)
    except RtsearchError:
        settings_of(config, overrides)
        raise
    return library, settings_of(config, overrides, library)


def _open_library(lib: Path, photos: Path | None) -> Library:
    from rtsearch.library import Library
    from rtsearch.storage import is_server

    if is_server(lib):  # its modules load the compiled search, which many commands do without
        from rtsearch.service import open_remote

        if (remote := open_remote(lib, photos)) is not None:
            return remote
    return Library.open(lib, photos)


def settings_of(config: Path | None, overrides: list[str] | None, library: Library | None = None) -> Settings:
    """Load the settings of a command, and turn on its log.

    Args:
        config: file of settings, or None.
        overrides: settings of the command line.
        library: library whose remembered settings replace the defaults.
    """
    log = logging.getLogger("rtsearch")
    if not log.handlers:
        log.addHandler(_Telling(logging.WARNING))
    if library is None:
        return load_settings(config, overrides or ())
    from rtsearch.library.index import remembered_settings

    return load_settings(config, overrides or (), remembered_settings(library))


class _Telling(logging.Handler):
    """Handler that writes log records above the progress bars."""

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError):  # a closed terminal must not stop the work
            tell(record.getMessage(), "yellow")


@contextlib.contextmanager
def tell_if_slow(text: str, after_s: float = 3.0) -> Iterator[None]:
    """Print a message on a terminal if the block takes longer than ``after_s``."""
    timer = threading.Timer(after_s, tell, [text])
    timer.daemon = True
    if _messages.is_terminal:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


def tell(text: str, style: str = "") -> None:
    """Print a message on standard error, without secrets; brackets in it are no markup."""
    _messages.print(Text(printable(masked_words(text)), style), soft_wrap=True)


def tell_some(lines: Sequence[str], style: str = "yellow") -> None:
    """Print the first lines and the number of the others; ``--json`` has all."""
    for line in lines[:_LINES]:
        tell(line, style)
    if len(lines) > _LINES:
        tell(f"... and {len(lines) - _LINES:,} more", style)


def tell_damage(library: Library) -> None:
    """Print the files of a library that are missing or truncated; the command continues."""
    from rtsearch.library import cut_files

    damaged = cut_files(library) if library.elsewhere is None else []
    for line in damaged[:3]:
        tell(f"damaged: {line}", "red")
    if damaged:
        more = (
            f"{counted(len(damaged), 'file')} of {library.folder} damaged" if len(damaged) > 3 else "damage"
        )
        tell(f"{more}: rtsearch library check {library.folder} lists the photos concerned", "red")


def answer(text: str) -> None:
    """Print a line of the result on standard output."""
    output.print(Text(printable(text)), soft_wrap=True)


def answer_facts(facts: Mapping[str, object]) -> None:
    """Print facts, one per line, wrapped where the terminal is too narrow."""
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


def frames_at(frames: int, per_s: float) -> str:
    """Return how many frames were shown, and at which rate where there is one."""
    return counted(frames, "frame") + (f" at {per_s:.1f}/s" if per_s else "")


def px(wh: Sequence[int]) -> str:
    """Return sides as text, such as ``416 x 416 px``."""
    return f"{' x '.join(str(side) for side in wh)} px"


def mb(n_bytes: int) -> str:
    """Return a size as text, such as ``6.3 MB``."""
    return f"{n_bytes / 1e6:,.1f} MB"


def keep_apart(out: Path | None, *inputs: Path, library: Library | None = None) -> None:
    """Refuse to write ``out`` over a file that the command reads.

    Args:
        out: file to write, or None.
        inputs: files that are read; they need not exist.
        library: library whose folder and photos must not be written to.

    Raises:
        RecordError: ``out`` is one of the inputs, also through a link, or a photo of the library, or lies in
            the library's folder; or its folder does not exist.
    """
    if out is None:
        return
    whole = _resolved(out)
    for path in inputs:
        same = out.exists() and path.exists() and out.samefile(path)  # true for hard links as well
        if same or whole == _resolved(path):
            raise RecordError(f"{out} is read by this command; choose another name for the output")
    if not out.parent.exists():  # checked before the work, not after it
        from rtsearch.recording.problems import record_error

        raise record_error(out, FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)), kept=False)
    if library is None:
        return
    if whole.is_relative_to(_resolved(library.folder)):
        raise RecordError(
            f"{out} lies in the library's own folder {library.folder}; choose a place outside of it"
        )
    if out.exists() and library.is_photo(out):
        raise RecordError(f"{out} is a photo of {library.folder}; choose another name for the output")


def keep_older(written: Sequence[Path], *, overwrite: bool) -> None:
    """Refuse to replace what is there, and name unfinished parts that killed runs left beside it.

    Args:
        written: files that the command will write.
        overwrite: replace existing ones.

    Raises:
        RecordError: one of them exists and is not empty, or is a folder.
    """
    from rtsearch.recording import left_parts, refuse_existing

    for path in written:
        for part in left_parts(path):
            size = mb(part.stat().st_size)
            tell(f"a killed run left {part} ({size}); play it, then rename or remove it", "yellow")
    if not overwrite:
        refuse_existing(written)


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # circular links; opening the file reports them
        return path.absolute()


def print_json(value: Any) -> None:
    """Print one line of JSON on standard output."""
    sys.stdout.write(json.dumps(value) + "\n")  # in ASCII, as names of files can be any bytes
    sys.stdout.flush()


class _RateColumn(ProgressColumn):
    """Column with the rate of a task; empty while there is none."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        rate = task.fields["rate"]
        return Text(f"{rate:.1f} {self._unit}/s" if rate else "")


@contextlib.contextmanager
def count_bar(unit: str) -> Iterator[Progress]:
    """Show a progress bar that counts, with rate and remaining time; silent without a terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=32),
        MofNCompleteColumn(),
        _RateColumn(unit),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=_messages, transient=True, disable=not _messages.is_terminal) as bar:
        yield bar


@contextlib.contextmanager
def bytes_bar() -> Iterator[Progress]:
    """Show a progress bar of bytes; silent without a terminal."""
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
    """Show a progress bar of one task; yield a callback for its current step and finished share."""
    columns = (BarColumn(bar_width=32), TaskProgressColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=_messages, transient=True, disable=not _messages.is_terminal) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda what, share: bar.update(task, description=what, completed=share)
