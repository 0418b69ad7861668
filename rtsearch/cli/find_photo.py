"""Find the moments that show something like the object of a photo, for the command ``rtsearch find``."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import typer

from rtsearch._util.wording import time_code
from rtsearch.cli.asked import in_words, limit_in_words
from rtsearch.cli.common import answer, counted, keep_apart, print_json, tell
from rtsearch.cli.run import open_library

if TYPE_CHECKING:
    from rtsearch.config import Settings
    from rtsearch.jobs.moments import Found, Moment
    from rtsearch.library import Library
    from rtsearch.library.index import SearchIndex

__all__ = ["AskedPhoto", "Written", "find_photo", "iso_date"]


class AskedPhoto(NamedTuple):
    """Photo whose object is looked for: of a class, up to a date, and whether the photo itself counts."""

    photo: Path
    wanted: str
    until: str
    itself: bool


class Written(NamedTuple):
    """Files to write of the moments: a picture of the objects, a table, a folder of clips.

    ``overwrite`` replaces files that are there.
    """

    out: Path | None
    table: Path | None
    cut: Path | None
    overwrite: bool


def find_photo(
    library: Library, settings: Settings, asked: AskedPhoto, written: Written, *, as_json: bool
) -> None:
    """Find the moments, write what is wanted of them, and print them."""
    for path in (written.out, written.table):
        keep_apart(path, asked.photo, library=library)
    found, index = _find(library, settings, asked)
    files = _write(found, index, written)
    _tell_found(found, asked, as_json=as_json)
    for path in files:
        tell(f"written: {path}")
    for path in (written.out, written.cut):
        if path is not None and not found.moments:
            tell(f"nothing was found, so {path} is not written")


def iso_date(text: str) -> str:
    """Return the date of ``--until`` in ISO format, or ""."""
    try:
        return datetime.fromisoformat(text).isoformat() if text else ""
    except ValueError:
        raise typer.BadParameter(f"--until {text}: expected a date, such as 2026-05-01T18:30") from None


def _find(library: Library, settings: Settings, asked: AskedPhoto) -> tuple[Found, SearchIndex]:
    with open_library(library, settings) as (pipeline, index):
        from rtsearch.jobs.moments import find_moments
        from rtsearch.library.narrowing import narrow

        distinct = settings.show.distinct
        leave_out = None if asked.itself else asked.photo
        part = narrow(index, settings.search, distinct=distinct, leave_out=leave_out, until=asked.until)
        return find_moments(asked.photo, pipeline, part, settings, asked.wanted), part


def _write(found: Found, index: SearchIndex, written: Written) -> list[Path]:
    """Write what is wanted of the moments, but no picture of nothing; return the files."""
    from rtsearch.jobs.moments import cut_moments, write_csv

    files = []
    if written.out is not None and found.moments:
        from rtsearch.recording import save_picture
        from rtsearch.render.contact_sheet import crop_sheet

        save_picture(crop_sheet(index, [moment.row for moment in found.moments]), written.out)
        files.append(written.out)
    if written.table is not None:
        write_csv(found.moments, written.table)
        files.append(written.table)
    if written.cut is not None:
        files += cut_moments(found.moments, index, written.cut, overwrite=written.overwrite)
    return files


def _tell_found(found: Found, asked: AskedPhoto, *, as_json: bool) -> None:
    if as_json:
        from rtsearch.library.hit_limit import false_hits

        facts = dataclasses.asdict(found)
        print_json({"photo": str(asked.photo), "false_hits": false_hits(found.pairs), **facts})
        return
    box = [round(side) for side in found.xyxy]
    tell(f"looked for {in_words(f'{found.label} at {box}', found.others)}")
    why = limit_in_words(found.label, found.pairs, "library")
    tell(f"{_counts(found.moments)} within distance {found.limit:.3f}: {why}")
    if found.beyond:
        tell("the nearest, which lie beyond it:")
    for moment in found.moments or found.beyond:
        answer(f"{moment.distance:.3f}  {_when(moment)}  {moment.label} {moment.row}")


def _counts(moments: Sequence[Moment]) -> str:
    """Return how many moments of films, and how many photos, there are."""
    in_films = sum(moment.t_s is not None for moment in moments)
    in_photos = len(moments) - in_films
    counts = [counted(in_films, "moment")] * bool(in_films) + [counted(in_photos, "photo")] * bool(in_photos)
    return " and ".join(counts) or "nothing"


def _when(moment: Moment) -> str:
    if moment.t_s is None or moment.from_s is None or moment.to_s is None:
        return moment.photo
    span = f"{time_code(moment.from_s)} to {time_code(moment.to_s)}"
    clock = f" ({moment.seen})" * bool(moment.seen)
    return f"{moment.photo}  {span}, best at {time_code(moment.t_s)}{clock}"
