"""Define the command ``rtsearch doctor``."""

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
    """Check this machine, and print missing parts with their remedies.

    The exit code is 1 if a required part is missing.

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
            else "all required parts are here; - marks missing extras"
        )
    if missing:
        raise typer.Exit(1)


def _show(findings: Sequence[Finding]) -> None:
    """Print a table of the findings; without a terminal, one line for each."""
    if not output.is_terminal:
        for finding in findings:
            said = "; ".join(filter(None, (finding.what, finding.advice)))
            answer(f"{_MARKS[finding.state]:8s} {finding.name:12s} {said}")
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    for _ in range(2):
        table.add_column(no_wrap=True)
    table.add_column(overflow="fold")  # wraps long paths instead of cutting them
    for finding in findings:
        words = Text(finding.what)
        if finding.advice:
            words.append(f"\n{finding.advice}", "dim")
        table.add_row(Text(_MARKS[finding.state], _STYLES[finding.state]), finding.name, words)
    output.print(table)
