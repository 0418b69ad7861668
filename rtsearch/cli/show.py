"""Define the command ``rtsearch show``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rtsearch.cli.common import (
    ConfigFile,
    LibraryFolder,
    Offline,
    Overrides,
    OverwriteFlag,
    keep_apart,
    keep_older,
    library_and_settings,
    tell,
)
from rtsearch.cli.model import fetch_missing
from rtsearch.cli.playing import Playing
from rtsearch.cli.run import play_sources
from rtsearch.errors import UnknownRowError

if TYPE_CHECKING:
    from rtsearch.library.index import SearchIndex

__all__ = ["show"]


def show(
    lib: LibraryFolder,
    row: Annotated[int, typer.Argument(metavar="ROW", min=0, help="Number of an object of the library.")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="PICTURE.png", help="Save its picture; open no window.")
    ] = None,
    photos: Annotated[
        Path | None,
        typer.Option(
            "--photos", metavar="FOLDER", help="Where the library's photos are, if they have moved."
        ),
    ] = None,
    overwrite: OverwriteFlag = False,
    offline: Offline = False,
    config: ConfigFile = None,
    override: Overrides = None,
) -> None:
    """Open the photo of an object, or its film at the moment at which the object is seen.

    The film stands still there; space plays it. Rows are the numbers that query, find and records give.

    [bold]Examples:[/bold]

    rtsearch show films.lib 4711

    rtsearch show films.lib 4711 --out moment.png
    """
    library, settings = library_and_settings(lib, config, override, photos)
    keep_apart(out, library=library)
    keep_older([out] if out else [], overwrite=overwrite)
    from rtsearch.library.index import open_index

    index = open_index(library, settings, tell)
    if row >= len(index):
        raise UnknownRowError(f"{lib} has no object {row}; its {len(index):,} objects are numbered from 0")
    path, t_s = library.photo_path(index.photo(row)), _time_s(index, row)
    if out is not None:
        from rtsearch.jobs.show import object_picture
        from rtsearch.recording import save_picture

        save_picture(object_picture(index, row, settings), out)
        tell(f"written: {out}")
        return
    fetch_missing(settings.model.name, offline=offline)
    del index
    play_sources(library, [str(path)], settings, Playing(from_s=t_s))


def _time_s(index: SearchIndex, row: int) -> float | None:
    t_s = float(index.times_s[row, 0])
    return t_s if t_s == t_s else None  # NaN in photos
