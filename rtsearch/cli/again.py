"""Describe the boxes of a library again, for the command ``rtsearch analyze --again``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from rtsearch.cli.common import count_bar, counted, print_json, tell, tell_some
from rtsearch.config import Settings
from rtsearch.errors import LibraryError

if TYPE_CHECKING:
    from rtsearch.jobs.describe_again import AgainReport

__all__ = ["analyze_again"]


def analyze_again(lib: Path, photos: Path | None, settings: Settings, *, drop: bool, as_json: bool) -> None:
    """Describe the boxes of a library with a progress bar, then build its index.

    Args:
        lib: folder of the library.
        photos: folder of its photos; None where the library knows it.
        settings: of the network.
        drop: photos that cannot be read are left out.
        as_json: print the report as JSON.
    """
    from rtsearch.jobs.analyze import Progress
    from rtsearch.jobs.describe_again import describe_again
    from rtsearch.library import Library
    from rtsearch.library.index import open_index
    from rtsearch.pipeline import open_pipeline

    Library.open(lib)  # a wrong folder is refused before the network is loaded
    on_cpu = settings.model_copy(update={"gpu": settings.gpu.model_copy(update={"engine": "none"})})
    with open_pipeline(on_cpu, tell=tell) as pipeline, count_bar("photos") as bar:
        task = bar.add_task("describing", total=None, rate=0.0)

        def show(now: Progress) -> None:
            bar.update(task, completed=now.done, total=now.total, rate=now.photos_per_s)

        report = describe_again(lib, pipeline, settings, photos=photos, drop=drop, progress=show)
        network = pipeline.spec.name
    if report.replaced:
        open_index(Library.open(lib), settings, tell, remember=True)
    if as_json:
        print_json(dataclasses.asdict(report))
    _tell(report, lib, network)


def _tell(report: AgainReport, lib: Path, network: str) -> None:
    """Print what was done.

    Raises:
        typer.Exit: it was stopped.
        LibraryError: the library is as it was, as photos cannot be read.
    """
    tell_some([f"left out {path}: {reason}" for path, reason in report.failed])
    if report.interrupted:
        tell("stopped; the results are kept, and the same command continues")
        raise typer.Exit(130)
    if report.replaced:
        kept = f", {report.kept:,} by an earlier run" * bool(report.kept)
        objects = f"{counted(report.objects, 'object')} of {counted(report.photos, 'photo')}"
        tell(f"{lib}: {objects} described by {network} in {report.seconds:.0f} s{kept}")
    elif not report.failed:
        tell(f"{lib} is described by {network} already")
    elif report.kept + report.photos:
        raise LibraryError(
            f"{counted(len(report.failed), 'photo')} cannot be described, so {lib} stays as it is: bring "
            "them back and run the same command, which continues, or leave their objects out with --drop"
        )
    else:
        path, reason = report.failed[0]
        raise LibraryError(f"no photo of {lib} can be described, such as {path}: {reason}")
