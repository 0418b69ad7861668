"""Define the command ``rtsearch analyze``."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rtsearch.cli.common import (
    ConfigFile,
    JsonFlag,
    Offline,
    Overrides,
    count_bar,
    counted,
    library_and_settings,
    print_json,
    settings_of,
    tell,
    tell_damage,
    tell_some,
)
from rtsearch.cli.model import fetch_missing
from rtsearch.cli.printable import printable
from rtsearch.config import Settings
from rtsearch.errors import LibraryError
from rtsearch.storage.address import library_folder, photo_folder

if TYPE_CHECKING:
    from rtsearch.jobs.analyze import AnalyzeReport, Upkeep
    from rtsearch.jobs.photo_pipeline import Look
    from rtsearch.pipeline import Pipeline

__all__ = ["analyze", "analyze_folder", "end_if_stopped"]

_REASONS = 3  # reasons in the message where no photo can be read; the first run prints all


def analyze(
    photos: Annotated[
        Path,
        typer.Argument(
            metavar="PHOTOS",
            help="Folder of photos, searched recursively, or its address.",
            parser=photo_folder,
        ),
    ],
    lib: Annotated[
        Path | None,
        typer.Argument(
            metavar="LIB",
            help="Folder of the library, or its address; made if missing.",
            parser=library_folder,
            show_default=False,
        ),
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Find damaged fragments, and analyse their photos again.")
    ] = False,
    drop: Annotated[
        bool, typer.Option("--drop", help="Also drop the photos of folders that are empty or missing.")
    ] = False,
    again: Annotated[
        bool,
        typer.Option(
            "--again", help="Describe the boxes that LIB holds with this network; PHOTOS may be left out."
        ),
    ] = False,
    part: Annotated[
        str, typer.Option("--part", metavar="K/N", help="Analyse one of N parts; library merge joins them.")
    ] = "1/1",
    ray: Annotated[
        str,
        typer.Option(
            "--ray",
            metavar="ADDRESS",
            help="Let the machines of a Ray cluster look at the photos: HOST:PORT of its head, "
            "[bold]auto[/bold] for the cluster that this machine belongs to, or [bold]local[/bold] to start "
            "Ray here.",
        ),
    ] = "",
    offline: Offline = False,
    as_json: JsonFlag = False,
    config: ConfigFile = None,
    override: Overrides = None,
) -> None:
    """Analyse every photo and film of a folder once and make its objects searchable.

    The command may be stopped with Ctrl-C or killed; started again, it continues. Later runs analyse new and
    changed photos and drop deleted ones. A folder that has lost all of its photos may be a drive that is not
    mounted, so they are kept unless --drop is given.

    Several machines share the work with --ray, where they are a Ray cluster, or with --part: each analyses
    its part into a library of its own.

    With --again nothing is looked for: the boxes of the library, such as those of a library import, are
    described with the network of these settings, so that cameras find them. The library stays as it is until
    all of them are.

    [bold]Examples:[/bold]

    rtsearch analyze ~/Pictures pictures.lib

    rtsearch analyze old.lib --again
    """
    if again:
        if repair or ray or part != "1/1":
            raise typer.BadParameter("--again goes without --repair, --part and --ray")
        from rtsearch.cli.again import analyze_again

        place = photos if lib is None else lib
        settings = settings_of(config, override)  # not those of the library, which are of another network
        fetch_missing(settings.model.name, offline=offline)
        analyze_again(place, None if lib is None else photos, settings, drop=drop, as_json=as_json)
        return
    if lib is None:
        raise typer.BadParameter("Missing argument 'LIB': rtsearch analyze PHOTOS LIB")
    from rtsearch.jobs.analyze import Upkeep
    from rtsearch.jobs.compare import Part

    try:
        chosen = Part.parse(part)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--part") from None
    try:
        settings = library_and_settings(lib, config, override)[1]  # the library is not kept open for reading
    except LibraryError:  # it does not exist yet, or writing to it raises the error
        settings = settings_of(config, override)
    fetch_missing(settings.model.name, offline=offline)
    report, objects = analyze_folder(photos, lib, settings, Upkeep(repair, drop, chosen), ray=ray)
    if as_json:
        print_json({**dataclasses.asdict(report), "library_objects": objects})
    end_if_stopped(report)


def end_if_stopped(report: AnalyzeReport) -> None:
    """End the command, unless all photos were looked at."""
    if report.interrupted:
        tell("stopped; the results are kept, and the same command continues")
        raise typer.Exit(130)


def analyze_folder(
    photos: Path, lib: Path, settings: Settings, upkeep: Upkeep | None = None, *, ray: str = ""
) -> tuple[AnalyzeReport, int]:
    """Analyse with a progress bar, then build the index; return the report and the number of objects."""
    from rtsearch.jobs.analyze import Progress, Upkeep, analyze
    from rtsearch.jobs.photo_pipeline import PHOTOS_PER_CALL, PhotoPipeline
    from rtsearch.library import Library
    from rtsearch.library.index import open_index
    from rtsearch.pipeline import open_pipeline

    try:
        library = Library.open(lib)
    except LibraryError:  # it does not exist yet, or writing to it raises the error
        library = None
    with contextlib.ExitStack() as stack:
        if ray:
            from rtsearch.jobs.cluster import connected

            stack.enter_context(connected(ray))
        pipeline = stack.enter_context(
            open_pipeline(
                settings,
                engine="now",
                pictures=PHOTOS_PER_CALL,
                tell=tell,
                library=library,
                looks=settings.analyze.looks,
            )
        )
        del library  # the library is not kept open for reading
        bar = stack.enter_context(count_bar("photos"))
        stop = threading.Event()
        look = _by_cluster(pipeline, stop) if ray else PhotoPipeline
        task = bar.add_task("analysing", total=None, rate=0.0)

        def show(progress: Progress) -> None:
            bar.update(task, completed=progress.done, total=progress.total, rate=progress.photos_per_s)
            if progress.film:
                minutes = f"{progress.film_s / 60:.1f} of {progress.films_s / 60:.1f} film minutes"
                words = f"{Path(progress.film).name}: {minutes}, {progress.film_speed:.1f} x real time"
                bar.update(task, description=printable(words))

        report = analyze(
            *(photos, lib, pipeline, settings),
            upkeep=upkeep or Upkeep(),
            progress=show,
            stop=stop,
            look=look,
        )
    _tell_of_photos(report)
    library = Library.open(lib)
    tell_damage(library)
    _tell_counts(report, f"{counted(library.object_count, 'object')} in {lib}")
    if library.object_count and not report.interrupted:
        index = open_index(library, settings, tell, remember=True)
        _tell_if_small(library.object_count, settings.show.max_distance)
        if settings.describe.text:
            from rtsearch.cli.words import embed_for_words

            report.interrupted = not embed_for_words(index, settings)
    if report.found and not report.interrupted and library.failed_count == library.photo_count:
        table = library.photos()
        failed = {**dict(zip(table.path, table.reason, strict=True)), **dict(report.failed)}
        reasons = "; ".join(f"{path}: {reason}" for path, reason in sorted(failed.items())[:_REASONS])
        raise LibraryError(f"none of {counted(report.found, 'photo')} in {photos} can be read ({reasons})")
    return report, library.object_count


def _by_cluster(pipeline: Pipeline, stop: threading.Event) -> Look:
    """Return the way of looking at photos with the Ray cluster that is connected."""
    from rtsearch.jobs.cluster import ClusterPhotos

    return lambda todo, root, _pipeline, settings, _meter: ClusterPhotos(
        todo, root, pipeline, settings, stop=stop
    )


def _tell_counts(report: AnalyzeReport, result: str) -> None:
    """Print how many photos and films were analysed, and what there is now."""
    photos = report.analysed - report.films
    if report.films:
        tell(f"{counted(report.films, 'film')} of {report.film_s / 60:.1f} minutes analysed")
    kept = f"{report.kept:,} unchanged, {report.dropped:,} dropped, {len(report.failed):,} failed: {result}"
    if photos or not report.films:
        took = f" in {report.seconds:.0f} s ({photos / report.seconds:.1f}/s)" if photos else ""
        kept = f"{counted(photos, 'photo')} analysed{took}, {kept}"
    tell(kept)


def _tell_if_small(objects: int, most_distance: float) -> None:
    """Tell why things that are unlike may stand beside each other, where nothing keeps them apart."""
    from rtsearch.library.likeness import LEAST_OBJECTS

    if objects < LEAST_OBJECTS and not most_distance:
        tell(
            f"with fewer than {LEAST_OBJECTS} objects it cannot be measured what is alike: strips show the "
            "nearest, however unlike; more photos help"
        )


def _tell_of_photos(report: AnalyzeReport) -> None:
    """Print the problems of single photos, and the files that were not analysed."""
    from rtsearch.library.left_out import in_words
    from rtsearch.library.photos import excluded_in_words, links_in_words

    tell_some([f"damaged: {problem}" for problem in report.damaged], "red")
    tell_some([f"left out {path}: {reason}" for path, reason in report.failed])
    tell_some([f"left out {path}: {reason}" for path, reason in report.refused])
    tell_some([f"{path} {note}; it was taken" for path, note in report.incomplete])
    lost = "which is empty or missing: mount it, or drop them with --drop"
    tell_some([f"kept {counted(count, 'photo')} of {folder}, {lost}" for folder, count in report.missing])
    if any(each.way_out for each in report.left_out):
        tell(f"left out: {in_words(report.left_out)}", "yellow")
    if report.excluded:
        tell(f"left out by analyze.exclude: {excluded_in_words(report.excluded)}")
    if report.links:
        tell(links_in_words(report.links))
