"""rtsearch run: a source, live."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rtsearch.cli.common import (
    ConfigFile,
    JsonFlag,
    LibraryFolder,
    Overrides,
    count_bar,
    print_json,
    settings_of,
    tell,
    tell_if_slow,
)
from rtsearch.config import Settings

if TYPE_CHECKING:
    from rtsearch.index import SearchIndex
    from rtsearch.live import Controls, LiveReport, Screen
    from rtsearch.pipeline import Pipeline

__all__ = ["open_library", "play_source", "run"]


def run(
    lib: LibraryFolder,
    source: Annotated[
        str | None,
        typer.Option(
            "--source",
            "-s",
            help="Camera number, video file, http/rtsp/udp URL, photo, folder, [bold]random[/bold] (photos "
            "of the library) or [bold]screen[/bold]; default: live.source, a camera.",
        ),
    ] = None,
    headless: Annotated[bool, typer.Option("--headless", help="Open no window.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="OUT.mp4", help="Save the picture as a video.")
    ] = None,
    record: Annotated[
        list[Path] | None,
        typer.Option(
            "--record",
            metavar="OUT.jsonl|OUT.csv|OUT.parquet",
            help="Save objects and neighbours: one JSON line per frame, one row per neighbour (.csv) or one "
            "per object (.parquet); may be repeated.",
        ),
    ] = None,
    realtime: Annotated[
        bool,
        typer.Option(
            "--realtime",
            help="Play a file at its own speed and drop frames that come too late. A window without --out "
            "and --record does so anyway; else every frame is seen, however long it takes.",
        ),
    ] = False,
    photos: Annotated[
        Path | None,
        typer.Option(
            "--photos", metavar="FOLDER", help="Where the library's photos are, if they have moved."
        ),
    ] = None,
    as_json: JsonFlag = False,
    config: ConfigFile = None,
    override: Overrides = None,
) -> None:
    """Play a camera, video or stream and show what the library holds that looks like it.

    Keys in the window: q or Esc quit, space pause, f full screen, s save the picture, c controls, h help.

    [bold]Examples:[/bold]

    rtsearch run pictures.lib

    rtsearch run pictures.lib --source clip.mp4 --headless --out seen.mp4 --record seen.jsonl
    """
    settings = settings_of(config, override, lib)
    report = play_source(
        lib,
        settings.live.source if source is None else source,
        settings,
        headless=headless,
        out=out,
        records=tuple(record or ()),
        realtime=realtime,
        photos=photos,
    )
    if as_json:
        print_json(dataclasses.asdict(report))
    else:
        _tell_report(report)


def play_source(
    lib: Path,
    spec: str,
    settings: Settings,
    *,
    headless: bool = False,
    out: Path | None = None,
    records: tuple[Path, ...] = (),
    realtime: bool = False,
    photos: Path | None = None,
) -> LiveReport:
    """Open everything, play, close everything."""
    from rtsearch.live import Controls, Outputs, library_photos, play
    from rtsearch.pictures import read_photo
    from rtsearch.sources import Paced, open_source

    controls = Controls(settings.detect, settings.show)
    opened_library = open_library(lib, settings, photos, live=True)
    with opened_library as (pipeline, index), contextlib.ExitStack() as stack:
        _keep_apart(spec, out, records)
        opened = open_source(
            spec,
            settings.live,
            photos=library_photos(index) if spec == "random" else (),
            read=lambda path: read_photo(path, settings.analyze.max_photo_mp),
        )
        stack.callback(opened.close)
        problem = _no_window(headless)
        if opened.slides:  # there is time to see them as the library saw its photos
            pipeline.sight.cut_padding = False
        watched = not problem and out is None and not records
        paced = not opened.live and (realtime or watched or (not problem and opened.slides))
        player = Paced(opened) if paced else opened
        screen = stack.enter_context(_window(controls)) if not problem else None
        bar = stack.enter_context(count_bar("frames"))
        task = bar.add_task("playing", total=opened.frames, rate=0.0, visible=screen is None)

        def show(shown: int) -> None:
            bar.update(task, completed=shown, rate=bar.tasks[0].speed or 0.0)

        outputs = Outputs(screen, out, records)
        return play(player, pipeline, index, settings, outputs, controls=controls, progress=show)


@contextlib.contextmanager
def open_library(
    lib: Path, settings: Settings, photos: Path | None = None, *, live: bool = False
) -> Iterator[tuple[Pipeline, SearchIndex]]:
    """A library's pipeline and index, checked against each other and warmed up."""
    from rtsearch.index import open_index
    from rtsearch.library import Library
    from rtsearch.pipeline import open_pipeline
    from rtsearch.track import Tracker

    library = Library.open(lib, photos)
    if live:  # what follows objects takes a second to import, meanwhile the network and the index are opened
        threading.Thread(target=Tracker, name="import", daemon=True).start()
    with open_pipeline(settings, cut_padding=live) as pipeline:
        library.require(pipeline.feature_space)
        with tell_if_slow("getting ready; the first run compiles the search, which takes half a minute"):
            index = open_index(library, settings, tell)
            pipeline.warm_up()
            index.warm_up(settings.show.results)
        yield pipeline, index


def _no_window(headless: bool) -> str:
    """Why there will be no window, or ""."""
    if headless:
        return "not wanted"
    from rtsearch.window import display_problem

    problem = display_problem()
    if problem:
        tell(f"{problem}: running without a window")
    return problem


def _keep_apart(spec: str, out: Path | None, records: tuple[Path, ...]) -> None:
    """A file that is played is not written over, nor one that is written twice."""
    written = [path for path in (out, *records) if path is not None]
    for path in written:
        if written.count(path) > 1:
            raise typer.BadParameter(f"{path} is to be written twice; choose another name")
        if path.exists() and Path(spec).exists() and path.samefile(spec):
            raise typer.BadParameter(f"{path} is the source; choose another name for what is written")


@contextlib.contextmanager
def _window(controls: Controls) -> Iterator[Screen]:
    from rtsearch.window import Window

    window = Window("rtsearch", controls, Path.cwd())
    try:
        yield window
    finally:
        window.close()


def _tell_report(report: LiveReport) -> None:
    stages = "  ".join(f"{name} {ms['p50']:.1f}" for name, ms in report.stage_ms.items())
    latency = report.latency_ms
    tell(
        f"{report.frames_shown:,} frames at {report.fps:.1f}/s, {report.dropped:,} dropped, "
        f"{report.objects:,} objects, {report.neighbours:,} neighbours; latency {latency['p50']:.0f} ms "
        f"(p99 {latency['p99']:.0f}); median ms per frame: {stages}"
    )
