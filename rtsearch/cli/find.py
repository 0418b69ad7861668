"""Define the command ``rtsearch find``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rtsearch.cli.common import (
    ConfigFile,
    JsonFlag,
    LibraryFolder,
    Overrides,
    answer,
    counted,
    keep_apart,
    library_and_settings,
    print_json,
    tell,
)

__all__ = ["find"]


def find(
    lib: LibraryFolder,
    words: Annotated[
        list[str], typer.Argument(metavar="WORDS", help="Things, colours and numbers, in English.")
    ],
    results: Annotated[
        int, typer.Option("--results", metavar="N", min=1, max=10_000, help="Most objects.")
    ] = 48,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="SHEET.png", help="Save a picture of the objects.")
    ] = None,
    as_json: JsonFlag = False,
    config: ConfigFile = None,
    override: Overrides = None,
) -> None:
    """Find objects of the library by words: "red mug", "two dogs", "person in blue with a bicycle".

    The first thing is looked for; further things must be in the same photo, wherever in it. A colour puts
    the objects first that have most of it.

    [bold]Example:[/bold] rtsearch find pictures.lib "red mug" --out mugs.jpg
    """
    library, settings = library_and_settings(lib, config, override)
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
