"""rtsearch doctor: check that everything is here."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer
from rich.table import Table
from rich.text import Text

from rtsearch.cli.common import JsonFlag, answer, output, print_json, settings_of

if TYPE_CHECKING:
    from rtsearch.jobs.doctor import Finding

__all__ = ["doctor"]

_MARKS = {"ok": "ok", "missing": "missing", "optional": "-"}
_STYLES = {"ok": "green", "missing": "red", "optional": "yellow"}


def doctor(as_json: JsonFlag = False) -> None:
    """Check this machine, and say what is missing and what to install.

    Exit code 1 if something that is needed is missing.

    [bold]Example:[/bold] rtsearch doctor
    """
    from rtsearch.jobs.doctor import examine

    settings_of(None, None)
    findings = examine()
    missing = [finding.name for finding in findings if finding.state == "missing"]
    if as_json:
        print_json([dataclasses.asdict(finding) for finding in findings])
    else:
        _show(findings)
        answer(
            f"missing: {', '.join(missing)}"
            if missing
            else "all that is needed is here; - marks extras that are not"
        )
    if missing:
        raise typer.Exit(1)


def _show(findings: Sequence[Finding]) -> None:
    """A table for people, advice below what it is about; a line for each finding where no terminal is."""
    if not output.is_terminal:
        for finding in findings:
            said = "; ".join(filter(None, (finding.what, finding.advice)))
            answer(f"{_MARKS[finding.state]:8s} {finding.name:12s} {said}")
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    for _ in range(2):
        table.add_column(no_wrap=True)
    table.add_column(overflow="fold")  # between words; a path that is cut off helps nobody
    for finding in findings:
        words = Text(finding.what)
        if finding.advice:
            words.append(f"\n{finding.advice}", "dim")
        table.add_row(Text(_MARKS[finding.state], _STYLES[finding.state]), finding.name, words)
    output.print(table)
