"""Define the command ``rtsearch find``."""

from __future__ import annotations

import dataclasses
import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from rtsearch._util.wording import time_code
from rtsearch.cli.common import (
    ConfigFile,
    JsonFlag,
    LibraryFolder,
    Offline,
    Overrides,
    answer,
    counted,
    keep_apart,
    library_and_settings,
    print_json,
    tell,
)
from rtsearch.cli.model import fetch_missing
from rtsearch.cli.run import open_library

if TYPE_CHECKING:
    from rtsearch.config import Settings
    from rtsearch.jobs.moments import Found, Moment
    from rtsearch.library import Library
    from rtsearch.library.index import SearchIndex

__all__ = ["find"]


def find(
    lib: LibraryFolder,
    words: Annotated[
        list[str],
        typer.Argument(metavar="WORDS|PHOTO", help="Things, colours and numbers, in English; or a photo."),
    ],
    results: Annotated[
        int, typer.Option("--results", metavar="N", min=1, max=10_000, help="Most objects, of words.")
    ] = 48,
    wanted: Annotated[
        str, typer.Option("--class", metavar="CLASS", help="Object of the photo to look for.")
    ] = "",
    since: Annotated[
        str, typer.Option("--since", metavar="DATE", help="Only in files that were changed since then.")
    ] = "",
    until: Annotated[
        str, typer.Option("--until", metavar="DATE", help="Only in files that were not changed after it.")
    ] = "",
    inside: Annotated[
        list[str] | None, typer.Option("--in", metavar="FOLDER", help="Only in files below this folder.")
    ] = None,
    not_itself: Annotated[
        bool, typer.Option("--not-itself", help="Leave out the photo itself, where the library has it.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", "--sheet", metavar="SHEET.png", help="Save a picture of the objects."),
    ] = None,
    table: Annotated[
        Path | None, typer.Option("--csv", metavar="OUT.csv", help="Save the moments as a table.")
    ] = None,
    cut: Annotated[
        Path | None, typer.Option("--cut", metavar="FOLDER", help="Save the moments of films as clips.")
    ] = None,
    offline: Offline = False,
    as_json: JsonFlag = False,
    config: ConfigFile = None,
    override: Overrides = None,
) -> None:
    """Find objects of the library by words, or every moment that shows something like the object of a photo.

    Words: "red mug", "two dogs", "person in blue with a bicycle". The first thing is looked for; further
    things must be in the same photo, wherever in it. A colour puts the objects first that have most of it.

    A photo: one line per moment of a film, and per photo, with the nearest first. The limit is said: of pairs
    of other things of that class in the library, one in a hundred lies within it.

    [bold]Examples:[/bold]

    rtsearch find pictures.lib "red mug" --out mugs.jpg

    rtsearch find films.lib bag.jpg --class backpack --cut clips
    """
    narrows = [f"search.since={json.dumps(since)}"] * bool(since)
    narrows += [f"search.folders={json.dumps(inside)}"] * bool(inside)
    library, settings = library_and_settings(lib, config, [*(override or ()), *narrows])
    photo = Path(words[0])
    if len(words) == 1 and photo.is_file():
        for path in (out, table):
            keep_apart(path, photo, library=library)
        fetch_missing(settings.model.name, offline=offline)
        asked = _Asked(photo, wanted, _date(until), itself=not not_itself)
        found, index = _find_photo(library, settings, asked)
        clips = _write(found, index, out, table, cut)
        _tell_found(found, asked, as_json=as_json)
        for path in filter(None, [out, table, *clips]):
            tell(f"written: {path}")
        return
    if wanted or since or until or inside or not_itself or table or cut:
        raise typer.BadParameter(f"{photo} is no file; --class, --in and the like go with a photo")
    _find_words(library, settings, words, results, out, as_json=as_json)


class _Asked(NamedTuple):
    """Photo whose object is looked for: of a class, up to a date, and whether the photo itself counts."""

    photo: Path
    wanted: str
    until: str
    itself: bool


def _date(text: str) -> str:
    try:
        return datetime.fromisoformat(text).isoformat() if text else ""
    except ValueError:
        raise typer.BadParameter(f"--until {text}: expected a date, such as 2026-05-01T18:30") from None


def _find_photo(library: Library, settings: Settings, asked: _Asked) -> tuple[Found, SearchIndex]:
    with open_library(library, settings) as (pipeline, index):
        from rtsearch.jobs.moments import find_moments
        from rtsearch.library.narrowing import narrow

        distinct = settings.show.distinct
        leave_out = None if asked.itself else asked.photo
        part = narrow(index, settings.search, distinct=distinct, leave_out=leave_out, until=asked.until)
        return find_moments(asked.photo, pipeline, part, settings, asked.wanted), part


def _write(
    found: Found, index: SearchIndex, out: Path | None, table: Path | None, cut: Path | None
) -> list[Path]:
    """Write what is wanted of the moments; return the clips."""
    from rtsearch.jobs.moments import cut_moments, write_csv

    if out is not None:
        from rtsearch.recording import save_picture
        from rtsearch.render.contact_sheet import crop_sheet

        save_picture(crop_sheet(index, [moment.row for moment in found.moments]), out)
    if table is not None:
        write_csv(found.moments, table)
    return [] if cut is None else cut_moments(found.moments, index, cut)


def _tell_found(found: Found, asked: _Asked, *, as_json: bool) -> None:
    from rtsearch.jobs.moments import FALSE_HITS

    if as_json:
        facts = dataclasses.asdict(found)
        print_json({"photo": str(asked.photo), "false_hits": FALSE_HITS, **facts})
        return
    box = [round(side) for side in found.xyxy]
    others = f" (also there: {', '.join(found.others)}; choose with --class)" if found.others else ""
    tell(f"looked for the {found.label} at {box}{others}")
    kind = f"two of class {found.label}" if found.of_class else "two of any class"
    tell(
        f"{counted(len(found.moments), 'moment')} within {found.limit:.3f}: of {found.pairs:,} pairs from "
        f"different files, {kind}, {FALSE_HITS:.0%} lie as near"
    )
    for moment in found.moments:
        answer(f"{moment.distance:.3f}  {_when(moment)}  {moment.label} {moment.row}")


def _when(moment: Moment) -> str:
    if moment.t_s is None or moment.from_s is None or moment.to_s is None:
        return moment.photo
    span = f"{time_code(moment.from_s)} to {time_code(moment.to_s)}"
    return f"{moment.photo}  {span}, best at {time_code(moment.t_s)}"


def _find_words(
    library: Library,
    settings: Settings,
    words: list[str],
    results: int,
    out: Path | None,
    *,
    as_json: bool,
) -> None:
    keep_apart(out, library=library)
    import numpy as np

    from rtsearch.library.index import open_index
    from rtsearch.words import find_words, parse_request

    request = parse_request(" ".join(words), library.space.class_names)
    index = open_index(library, settings, tell)
    hits = find_words(index, request, results)
    rows = np.array([hit.row for hit in hits], np.int32)
    objects = [
        {"row": hit.row, "share": hit.share, **where}
        for hit, where in zip(hits, index.hits(rows), strict=True)
    ]
    if out is not None:
        from rtsearch.recording import save_picture
        from rtsearch.render.contact_sheet import crop_sheet

        save_picture(crop_sheet(index, rows.tolist()), out)
    if as_json:
        print_json(
            {
                "words": " ".join(words),
                "looked_for": request.meaning(library.space.class_names),
                "objects": objects,
            }
        )
        return
    tell(f"looked for {request.meaning(library.space.class_names)}: {counted(len(objects), 'object')}")
    for item in objects:
        share = "" if item["share"] is None else f", {item['share']:.0%} {request.main.colour}"
        answer(
            f"{item['label']} {item['row']} in {item['photo']} at {[round(v) for v in item['xyxy']]}{share}"
        )
    if out is not None:
        tell(f"sheet: {out}")
