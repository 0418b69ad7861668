"""Define the command ``rtsearch find``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from rtsearch.cli.asked import WantedClass
from rtsearch.cli.common import (
    ConfigFile,
    JsonFlag,
    LibraryFolder,
    Offline,
    Overrides,
    OverwriteFlag,
    answer,
    counted,
    keep_apart,
    keep_older,
    library_and_settings,
    print_json,
    tell,
)
from rtsearch.cli.find_photo import AskedPhoto, Written, find_photo, iso_date
from rtsearch.cli.model import fetch_missing

__all__ = ["find"]


def find(
    lib: LibraryFolder,
    words: Annotated[
        list[str], typer.Argument(metavar="WORDS|PHOTO", help="What to find, in English; or a photo.")
    ],
    results: Annotated[
        int, typer.Option("--results", metavar="N", min=1, max=10_000, help="Most objects, of words.")
    ] = 48,
    wanted: WantedClass = "",
    since: Annotated[
        str, typer.Option("--since", metavar="DATE", help="Only what was seen since then.")
    ] = "",
    until: Annotated[
        str, typer.Option("--until", metavar="DATE", help="Only what was not seen after it.")
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
    overwrite: OverwriteFlag = False,
    offline: Offline = False,
    plain: Annotated[
        bool, typer.Option("--plain", help="Use classes, colours and numbers, even where crops have vectors.")
    ] = False,
    as_json: JsonFlag = False,
    config: ConfigFile = None,
    override: Overrides = None,
) -> None:
    """Find objects of the library by words, or every moment that shows something like the object of a photo.

    Words: "red mug", "two dogs", "person in blue with a bicycle". The first thing is looked for; further
    things must be in the same photo, wherever in it. A colour puts the objects first that have most of it.
    Where the crops have vectors of a pair of networks (library words), any words do, and the crops that they
    describe best come first.

    A photo: one line per moment of a film, and per photo, with the nearest first. The limit is said: of pairs
    of different things of that class in the library, one in a hundred lies within it.

    [bold]Examples:[/bold]

    rtsearch find pictures.lib "red mug" --out mugs.jpg

    rtsearch find films.lib bag.jpg --class backpack --cut clips
    """
    narrows = [f"search.since={json.dumps(since)}"] * bool(since)
    narrows += [f"search.folders={json.dumps(inside)}"] * bool(inside)
    library, settings = library_and_settings(lib, config, [*(override or ()), *narrows])
    photo = Path(words[0])
    if len(words) == 1 and photo.is_file():
        fetch_missing(settings.model.name, offline=offline)
        keep_apart(out, photo, library=library)
        keep_older([path for path in (out, table) if path], overwrite=overwrite)
        asked = AskedPhoto(photo, wanted, iso_date(until), itself=not not_itself)
        find_photo(library, settings, asked, Written(out, table, cut, overwrite), as_json=as_json)
        return
    if wanted or not_itself or table or cut:
        raise typer.BadParameter(f"{photo} is no file; --class, --not-itself, --csv, --cut go with a photo")
    keep_apart(out, library=library)
    keep_older([out] if out else [], overwrite=overwrite)
    text = " ".join(words)
    from rtsearch.words import WordSearch, pair_of

    pair = None if plain else settings.describe.text or pair_of(library)
    find_in = WordSearch(library, pair).understand(text)  # refused before minutes of opening the index
    from rtsearch.library.index import open_index
    from rtsearch.library.narrowing import narrow

    index = open_index(library, settings, tell)
    index = narrow(index, settings.search, distinct=settings.show.distinct, until=iso_date(until))
    answered = find_in(index, results)
    if out is not None and answered.objects:
        from rtsearch.recording import save_picture
        from rtsearch.render.contact_sheet import crop_sheet

        save_picture(crop_sheet(index, [item["row"] for item in answered.objects]), out)
    if as_json:
        facts = {"words": text, "looked_for": answered.looked_for, "unused": answered.unused}
        print_json({**facts, "objects": answered.objects})
        return
    tell(f"looked for {answered.looked_for}: {counted(len(answered.objects), 'object')}")
    for item in answered.objects:
        box = [round(v) for v in item["xyxy"]]
        answer(f"{item['label']} {item['row']} in {item['photo']} at {box}{_why(item, answered.colour)}")
    if out is not None:
        tell(f"sheet: {out}" if answered.objects else f"nothing was found, so {out} is not written")


def _why(item: dict[str, Any], colour: str | None) -> str:
    """Return how well an object fits the words, as the end of its line."""
    if "likeness" in item:
        return f", likeness {item['likeness']:.3f}"
    return f", {item['share']:.0%} {colour}" if colour else ""
