"""Open what a command searches: a library with its network, and the memory of a run beside it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rtsearch.cli.common import keep_apart, library_and_settings, settings_of, tell, tell_damage, tell_if_slow
from rtsearch.config import Settings

if TYPE_CHECKING:
    from rtsearch.library import Library
    from rtsearch.library.index import SearchIndex
    from rtsearch.memory.live_memory import LiveMemory
    from rtsearch.pipeline import Pipeline

__all__ = [
    "LibraryIfAny",
    "RememberOption",
    "Searched",
    "library_if_any",
    "open_library",
    "open_searched",
]

LibraryIfAny = Annotated[
    Path | None,
    typer.Argument(
        metavar="LIB",
        help="Folder of the library, its address, http://HOST:PORT of rtsearch serve, or ray://HOST/NAME of "
        "rtsearch cluster serve; none is needed with --remember.",
    ),
]
RememberOption = Annotated[
    Path | None,
    typer.Option(
        "--remember",
        metavar="FOLDER",
        help="Keep what is seen in this folder, and find it again beside the library; see memory.classes.",
    ),
]


@dataclass(frozen=True, slots=True)
class Searched:
    """Everything that a run looks with, and looks in; ``memory`` is None where nothing is remembered."""

    pipeline: Pipeline
    index: SearchIndex
    memory: LiveMemory | None


def library_if_any(
    lib: Path | None,
    remember: Path | None,
    config: Path | None,
    overrides: list[str] | None,
    photos: Path | None = None,
) -> tuple[Library | None, Settings]:
    """Open a library and load the settings of a run; without a library they are those of the memory.

    Raises:
        BadParameter: neither a library nor a memory is given.
        RecordError: the memory lies in the folder of the library.
    """
    if lib is not None:
        library, settings = library_and_settings(lib, config, overrides, photos)
        if remember is not None and library.elsewhere is not None:
            raise typer.BadParameter("--remember needs the folder of the library itself, not a server of it")
        keep_apart(remember, library=library)
        return library, settings
    if remember is None:
        raise typer.BadParameter(
            "give the folder of a library, or --remember FOLDER to find what was seen before"
        )
    from rtsearch.library.files import MANIFEST_NAME
    from rtsearch.memory.folder import MemoryFolder

    known = MemoryFolder.open(remember).library if (remember / MANIFEST_NAME).is_file() else None
    return None, settings_of(config, overrides, known)


@contextlib.contextmanager
def open_searched(
    library: Library | None, settings: Settings, remember: Path | None, *, sources: int
) -> Iterator[Searched]:
    """Open a library, or none, and the memory of a run beside it."""
    if remember is None:
        assert library is not None
        with open_library(library, settings, sources=sources) as opened:
            yield Searched(*opened, None)
        return
    from rtsearch.library import FeatureSpace
    from rtsearch.memory.live_memory import LiveMemory

    with contextlib.ExitStack() as stack:
        index: SearchIndex | None = None
        if library is not None:
            pipeline, index = stack.enter_context(open_library(library, settings, sources=sources))
        else:
            pipeline = stack.enter_context(_open_network(settings, sources))
            pipeline.warm_up()
        recipe, names = dict(pipeline.feature_space), pipeline.class_names
        space = FeatureSpace(recipe=recipe, class_names=names, dim=pipeline.backend.dim)
        projection = None if index is None else index.projection
        memory = stack.enter_context(LiveMemory.open(remember, space, projection, settings))
        if index is None:
            index = memory.empty_index()
        yield Searched(pipeline, index, memory)


@contextlib.contextmanager
def open_library(
    library: Library, settings: Settings, *, sources: int = 0
) -> Iterator[tuple[Pipeline, SearchIndex]]:
    """Open a library's pipeline and index, checked against each other and warmed up.

    Args:
        library: opened.
        settings: of the command.
        sources: that will be played; none for a single photo.
    """
    from rtsearch.library.index import open_index
    from rtsearch.library.narrowing import narrow

    tell_damage(library)
    with _open_network(settings, sources, library) as pipeline:
        library.require(pipeline.feature_space)
        with tell_if_slow("getting ready"):
            index = open_index(library, settings, tell)
            index = narrow(index, settings.search, distinct=settings.show.distinct)
            pipeline.warm_up()
            index.warm_up(settings.show.results)
        yield pipeline, index


def _open_network(settings: Settings, sources: int, library: Library | None = None) -> Pipeline:
    from rtsearch.pipeline import EngineWhen, open_pipeline

    live = sources > 0
    if live:  # what follows objects takes a second to import, meanwhile the network and the index are opened
        threading.Thread(target=_preload_early, name="import", daemon=True).start()
    engine: EngineWhen = "later" if live else "there"
    return open_pipeline(
        settings, cut_padding=live, engine=engine, pictures=max(1, sources), tell=tell, library=library
    )


def _preload_early() -> None:
    from rtsearch.live.tracker import preload

    with contextlib.suppress(Exception):  # raised again where it is needed
        preload()
