"""rtsearch doctor: is everything here?"""

from __future__ import annotations

import dataclasses

import typer
from rich.table import Table
from rich.text import Text

from rtsearch.cli.common import JsonFlag, output, print_json, settings_of

__all__ = ["doctor"]

_MARKS = {"ok": "[green]ok[/green]", "missing": "[red]missing[/red]", "optional": "[yellow]-[/yellow]"}


def doctor(as_json: JsonFlag = False) -> None:
    """Look at this machine: what is there, what is missing, what to do.

    Exit code 2 if something that is needed is missing.
    """
    from rtsearch.doctor import examine

    settings_of(None, None)
    findings = examine()
    if as_json:
        print_json([dataclasses.asdict(finding) for finding in findings])
    else:
        table = Table(box=None, show_header=False)
        for _ in range(4):
            table.add_column(overflow="fold")  # a path that is cut off helps nobody
        for finding in findings:
            what, advice = Text(finding.what), Text(finding.advice, "dim")
            table.add_row(_MARKS[finding.state], finding.name, what, advice)
        output.print(table)
    if any(finding.state == "missing" for finding in findings):
        raise typer.Exit(2)
