"""Define the command ``rtsearch seen``."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rtsearch._util.wording import ago, iso_time
from rtsearch.cli.asked import WantedClass, in_words, limit_in_words
from rtsearch.cli.common import (
    ConfigFile,
    JsonFlag,
    Offline,
    Overrides,
    answer,
    counted,
    print_json,
    settings_of,
    tell,
)
from rtsearch.cli.memory import MemoryArgument
from rtsearch.cli.model import fetch_missing

if TYPE_CHECKING:
    from rtsearch.jobs.seen import Answer
    from rtsearch.memory.seeing import SeenMoment

__all__ = ["seen"]


def seen(
    folder: MemoryArgument,
    photo: Annotated[Path | None, typer.Argument(metavar="PHOTO", help="Photo to look for.")] = None,
    row: Annotated[
        str, typer.Option("--row", metavar="ENTRY", help="Look for an entry of the memory instead.")
    ] = "",
    wanted: WantedClass = "",
    offline: Offline = False,
    as_json: JsonFlag = False,
    config: ConfigFile = None,
    override: Overrides = None,
) -> None:
    """Print when and where something like the object of a photo was seen, the newest first.

    The limit is said: of pairs of different things of that class that were in sight together, one in a
    hundred lies within it.

    [bold]Examples:[/bold]

    rtsearch seen seen.memory bag.jpg --class backpack

    rtsearch seen seen.memory --row door/20260501T131502.123-4711 --json
    """
    if (photo is None) == (not row):
        raise typer.BadParameter("give a photo, or --row ENTRY")
    from rtsearch.jobs.seen import like_entry, like_photo, open_seen
    from rtsearch.memory.folder import MemoryFolder

    memory = MemoryFolder.open(folder)
    settings = settings_of(config, override, memory.library)
    recall = open_seen(memory)
    if photo is None:
        found = like_entry(recall, row)
    else:
        from rtsearch.pipeline import open_pipeline

        fetch_missing(settings.model.name, offline=offline)
        with open_pipeline(settings, tell=tell, library=memory.library) as pipeline:
            memory.library.require(pipeline.feature_space)
            found = like_photo(recall, photo, pipeline, settings, wanted)
    _tell_found(found, as_json=as_json)


def _tell_found(found: Answer, *, as_json: bool) -> None:
    if as_json:
        from rtsearch.library.hit_limit import false_hits

        moments, beyond = ([_facts(moment) for moment in some] for some in (found.moments, found.beyond))
        about = {"label": found.label, "limit": round(found.limit, 5), "pairs": found.pairs}
        print_json({**about, "false_hits": false_hits(found.pairs), "seen": moments, "beyond": beyond})
        return
    tell(f"looked for {in_words(found.label, found.others)}")
    why = limit_in_words(found.label, found.pairs, "memory")
    tell(f"seen {counted(len(found.moments), 'time')} within distance {found.limit:.3f}: {why}")
    if found.beyond:
        tell("the nearest, which lie beyond it:")
    for moment in found.moments or found.beyond:
        answer(_line(moment))


def _line(moment: SeenMoment) -> str:
    begin = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment.from_ns / 1e9))
    end = time.strftime("%H:%M:%S", time.localtime(moment.to_ns / 1e9))
    age = ago(time.time() - moment.to_ns / 1e9)
    return f"{begin} to {end}  {age}  {moment.source}  {moment.label} {moment.distance:.3f}  {moment.name}"


def _facts(moment: SeenMoment) -> dict[str, Any]:
    facts = dataclasses.asdict(moment)
    facts["row"] = facts.pop("name")
    facts["from"], facts["to"] = iso_time(facts.pop("from_ns")), iso_time(facts.pop("to_ns"))
    return facts
