"""rtsearch serve: the page, with or without sources."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rtsearch.cli.common import (
    ConfigFile,
    JsonFlag,
    Offline,
    Overrides,
)
from rtsearch.cli.model import fetch_missing
from rtsearch.cli.opening import LibraryIfAny, RememberOption, library_if_any, open_library
from rtsearch.cli.playing import Clock, Playing
from rtsearch.cli.run import play_sources
from rtsearch.cli.serving import PORT, HostOption, PortOption, Serving, TokenOption
from rtsearch.cli.words import live_words
from rtsearch.config import Settings

if TYPE_CHECKING:
    from rtsearch.library import Library

__all__ = ["serve"]


def serve(
    lib: LibraryIfAny = None,
    source: Annotated[
        list[str] | None,
        typer.Option(
            "--source",
            "-s",
            metavar="SOURCE",
            help="As for [bold]rtsearch run[/bold]; repeatable. Without one, only the library is served.",
        ),
    ] = None,
    host: HostOption = "127.0.0.1",
    port: PortOption = PORT,
    token: TokenOption = None,
    cert: Annotated[
        Path | None, typer.Option("--cert", metavar="CERT.pem", help="Certificate, for https.")
    ] = None,
    key: Annotated[Path | None, typer.Option("--key", metavar="KEY.pem", help="Its key.")] = None,
    opens: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    photos: Annotated[
        Path | None,
        typer.Option(
            "--photos", metavar="FOLDER", help="Where the library's photos are, if they have moved."
        ),
    ] = None,
    remember: RememberOption = None,
    offline: Offline = False,
    as_json: JsonFlag = False,
    config: ConfigFile = None,
    override: Overrides = None,
) -> None:
    """Serve the live picture, its search and its controls as a page for browsers, and an API for programs.

    [bold]Examples:[/bold]

    rtsearch serve pictures.lib --source 0 --open

    rtsearch serve pictures.lib --source clip.mp4 --host 0.0.0.0 --set web.public=true
    """
    library, settings = library_if_any(lib, remember, config, override, photos)
    if not source and (library is None or remember is not None):
        raise typer.BadParameter("--remember keeps what a source shows; give one: --source 0")
    serving = Serving.begin((host, port), token, (cert, key))
    serving = replace(serving, opens=opens, as_json=as_json)
    with serving.listening:
        fetch_missing(settings.model.name, offline=offline)
        if source:
            playing = Playing(headless=True, clock=Clock.WALL, loop=True, stays=True, remember=remember)
            play_sources(library, source, settings, playing, serving)
        elif library is not None:
            _serve_library(library, settings, serving)


def _serve_library(library: Library, settings: Settings, serving: Serving) -> None:
    """Serve a library without sources until Ctrl-C."""
    from rtsearch._util.signals import stop_on_signal
    from rtsearch.live import Controls

    words = live_words(library, settings)
    chooser = words.chooser(settings.live.find, library.space.class_names)  # of phones
    controls = Controls(settings.detect, settings.show, search=settings.search, chooser=chooser)
    ended = threading.Event()
    with words, stop_on_signal(ended), open_library(library, settings, sources=1) as (pipeline, index):
        if not ended.is_set():
            with serving.page(settings, pipeline, index, controls, words):
                ended.wait()
