"""Define the commands ``rtsearch memory``: describe what is remembered, and forget some of it."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from rtsearch.cli.common import JsonFlag, answer_facts, mb, print_json, settings_of, tell

__all__ = ["MemoryArgument", "app"]

app = typer.Typer(help="Describe what a run has remembered, and forget some of it.", no_args_is_help=True)

MemoryArgument = Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of the memory.")]


@app.command()
def info(folder: MemoryArgument, as_json: JsonFlag = False) -> None:
    """Print what a memory holds: entries, hours, sources, classes, size; damaged hours are named.

    [bold]Example:[/bold] rtsearch memory info seen.memory
    """
    from rtsearch.memory.folder import MemoryFolder
    from rtsearch.memory.info import about

    settings_of(None, None)
    facts = about(MemoryFolder.open(folder))
    if as_json:
        print_json(facts)
        return
    named = (f"{name} ({count:,})" for name, count in facts["classes"].items())
    answer_facts(
        {
            "entries": facts["entries"],
            "first": facts["first"] or "none",
            "last": facts["last"] or "none",
            "hours": facts["hours"],
            "damaged hours": facts["damaged"],
            "sources": facts["sources"],
            "classes": ", ".join(named) or "none",
            "size": mb(facts["bytes"]),
            "model": facts["model"],
            "fingerprint": facts["fingerprint"][:12],
        }
    )


@app.command()
def forget(
    folder: MemoryArgument,
    before: Annotated[
        str, typer.Option("--before", metavar="DATE", help="What was last seen before: 2026-05-01T18:30.")
    ] = "",
    wanted: Annotated[
        list[str] | None, typer.Option("--class", metavar="CLASS", help="Only this class; may be repeated.")
    ] = None,
    row: Annotated[
        list[str] | None,
        typer.Option("--row", metavar="ENTRY", help="An entry that rtsearch seen names; may be repeated."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Forget entries for ever: their crops and vectors are removed from the disk.

    Of several options an entry must meet all. While a run remembers, nothing is forgotten.

    [bold]Examples:[/bold]

    rtsearch memory forget seen.memory --before 2026-05-01

    rtsearch memory forget seen.memory --class person
    """
    if not (before or wanted or row):
        raise typer.BadParameter("say what to forget: --before DATE, --class CLASS or --row ENTRY")
    from rtsearch.memory.folder import MemoryFolder
    from rtsearch.memory.forgetting import Wanted
    from rtsearch.memory.forgetting import forget as forget_entries

    settings_of(None, None)
    memory = MemoryFolder.open(folder)
    names = memory.space.class_names
    if unknown := [name for name in wanted or () if name not in names]:
        raise typer.BadParameter(f"--class: the network has no class {', '.join(unknown)}")
    labels = tuple(names.index(name) for name in wanted) if wanted else None
    rows = frozenset(row) if row else None
    forgotten = forget_entries(memory, Wanted(_moment_ns(before), labels, rows))
    if as_json:
        print_json({"forgotten": forgotten})
    else:
        tell(f"forgotten: {forgotten:,} entr{'y' if forgotten == 1 else 'ies'}")


def _moment_ns(text: str) -> int | None:
    """Return a date of an option, nanoseconds since 1970; without a zone it is local time."""
    try:
        return round(datetime.fromisoformat(text).timestamp() * 1e9) if text else None
    except ValueError:
        raise typer.BadParameter(f"--before {text}: expected a date, such as 2026-05-01T18:30") from None
