"""Define the command ``rtsearch query``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rtsearch.cli.common import (
    ConfigFile,
    JsonFlag,
    Offline,
    Overrides,
    OverwriteFlag,
    SearchedLibrary,
    answer,
    keep_apart,
    keep_older,
    library_and_settings,
    print_json,
    tell,
)
from rtsearch.cli.model import fetch_missing
from rtsearch.cli.run import open_library

__all__ = ["query"]


def query(
    lib: SearchedLibrary,
    photo: Annotated[Path, typer.Argument(metavar="PHOTO", help="Photo to search with.")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="SHEET.png", help="Save a picture of the results.")
    ] = None,
    not_itself: Annotated[
        bool, typer.Option("--not-itself", help="Leave out the photo itself, where the library has it.")
    ] = False,
    overwrite: OverwriteFlag = False,
    offline: Offline = False,
    as_json: JsonFlag = False,
    config: ConfigFile = None,
    override: Overrides = None,
) -> None:
    """Find the objects of one photo and, for each, the most similar ones of the library.

    [bold]Examples:[/bold]

    rtsearch query pictures.lib cat.jpg --out sheet.png

    rtsearch query http://museum.local:8737 cat.jpg
    """
    library, settings = library_and_settings(lib, config, override)
    keep_apart(out, photo, *([config] if config else []), library=library)
    keep_older([out] if out else [], overwrite=overwrite)
    fetch_missing(settings.model.name, offline=offline)
    with open_library(library, settings) as (pipeline, index):
        from rtsearch.jobs.query import in_words, query_photo, sheet
        from rtsearch.recording import save_picture

        found = query_photo(photo, pipeline, index, settings, itself=not not_itself)
        if out is not None:
            save_picture(sheet(found, settings), out)
    if as_json:
        print_json({"photo": str(photo), "objects": found.objects})
        return
    if not found.objects:
        tell(f"no objects found in {photo}; try --set detect.threshold=0.1 or --set detect.whole_image=true")
    for item, empty in zip(found.objects, found.scene.empty, strict=True):
        nearest = empty or f"nearest: {in_words(item['neighbours'][0])}"
        answer(f"{item['label']} {item['score']:.2f} at {[round(v) for v in item['xyxy']]}; {nearest}")
    if out is not None:
        as_strips = "; a sheet has strips for all objects, and show.composition=wall changes nothing"
        tell(f"sheet: {out}{as_strips if settings.show.composition == 'wall' else ''}")
