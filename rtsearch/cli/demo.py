"""Define the command ``rtsearch demo``."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from rtsearch._util.atomic import write_atomic
from rtsearch.cli.analyze import analyze_folder
from rtsearch.cli.common import ConfigFile, JsonFlag, Overrides, counted, print_json, settings_of, tell
from rtsearch.cli.model import pull_model
from rtsearch.cli.playing import Playing
from rtsearch.cli.run import open_library, play_sources

__all__ = ["demo"]

# The library has some 50 objects, so ten neighbours are enough, and may be drawn larger.
_LOOK = ("show.results=10", "show.thumb_height=100")


def demo(
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Folder for all output.")] = Path(
        "demo-out"
    ),
    as_json: JsonFlag = False,
    config: ConfigFile = None,
    override: Overrides = None,
) -> None:
    """Download the network, analyse photos, play a clip, and write all output to a folder.

    [bold]Example:[/bold] rtsearch demo --out demo-out
    """
    from rtsearch.jobs.demo import PLAYED, cut_clip, demo_clip, gather_photos
    from rtsearch.library import Library

    settings = settings_of(config, [*_LOOK, *(override or ())])
    clip, query = cut_clip(out)
    pull_model(settings.model.name)
    photos, lib = out / "photos", out / "library"
    tell(
        f"{counted(gather_photos(photos, demo_clip(), PLAYED), 'photo')} from installed packages in {photos}"
    )
    analyze_folder(photos, lib, settings)
    library = Library.open(lib)
    with open_library(library, settings) as (pipeline, index):
        from rtsearch.jobs.query import query_photo, sheet
        from rtsearch.recording import save_picture

        answer = query_photo(query, pipeline, index, settings)
        save_picture(sheet(answer, settings), out / "sheet.png")
        objects = len(index)
    playing = Playing(out=out / "live.mp4", records=(out / "live.jsonl",), overwrite=True)
    report = play_sources(library, [str(clip)], settings, playing)
    summary = {"library_objects": objects, **dataclasses.asdict(report)}
    write_atomic(out / "summary.json", (json.dumps(summary, indent=1) + "\n").encode())
    if as_json:
        print_json(summary)
    for name in ("sheet.png", "live.mp4", "live.jsonl", "summary.json"):
        tell(f"  {out / name}")
    tell(
        f"{counted(report.frames_shown, 'frame')} at {report.fps:.1f}/s over {counted(objects, 'object')}. "
        "For your own photos: rtsearch analyze PHOTOS LIB"
    )
