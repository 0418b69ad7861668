"""rtsearch run: a source, live."""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rtsearch._util.masking import masked
from rtsearch._util.paths import path_of
from rtsearch.cli.common import (
    ConfigFile,
    JsonFlag,
    Offline,
    Overrides,
    OverwriteFlag,
    count_bar,
    counted,
    frames_at,
    keep_apart,
    print_json,
    tell,
)
from rtsearch.cli.model import fetch_missing
from rtsearch.cli.opening import (
    LibraryIfAny,
    RememberOption,
    library_if_any,
    open_library,
    open_searched,
)
from rtsearch.cli.playing import (
    Clock,
    FindOption,
    OutStyle,
    OutStyleOption,
    Playing,
    SendOption,
    SplitOption,
    length_s,
    outlet_addresses,
    tell_outlets,
    with_find,
)
from rtsearch.cli.serving import PORT, Serving, TokenOption
from rtsearch.cli.words import live_words
from rtsearch.config import Settings
from rtsearch.errors import DisplayError, SourceError

if TYPE_CHECKING:
    from rtsearch.library import Library
    from rtsearch.library.index import SearchIndex
    from rtsearch.live import Controls, Display, LiveReport
    from rtsearch.memory.live_memory import MemoryReport
    from rtsearch.sources import Source

__all__ = ["no_window", "open_library", "open_window", "play_sources", "run"]


_NAMED = 4  # sources in a hint; a shell makes hundreds of *.mp4
_LOOKED_FOR = 20  # photos, before the library's are said to have moved


def run(
    ctx: typer.Context,
    lib: LibraryIfAny = None,
    source: Annotated[
        list[str] | None,
        typer.Option(
            "--source",
            "-s",
            metavar="SOURCE",
            help="Camera number, video file, http/rtsp/udp URL, photo, folder, [bold]random[/bold] (photos "
            "of the library) or [bold]screen[/bold]; default: live.source, a camera. May be repeated: "
            "several are shown side by side.",
        ),
    ] = None,
    headless: Annotated[bool, typer.Option("--headless", help="Open no window.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="OUT.mp4", help="Save the picture as a video.")
    ] = None,
    out_style: OutStyleOption = OutStyle.PICTURE,
    split: SplitOption = None,
    record: Annotated[
        list[Path] | None,
        typer.Option(
            "--record",
            metavar="OUT.jsonl",
            help="Save objects and neighbours: one line per frame (.jsonl), one row per neighbour (.csv) or "
            "per object (.parquet). May be repeated; of one source only.",
        ),
    ] = None,
    send: SendOption = None,
    clock: Annotated[
        Clock | None,
        typer.Option(
            help="[bold]wall[/bold] plays a file at its own speed and drops frames that come too late, "
            "[bold]every[/bold] sees every frame, however long it takes. Default: wall where a file is only "
            "watched in a window or sent, else every.",
        ),
    ] = None,
    realtime: Annotated[bool, typer.Option("--realtime", help="The same as --clock wall.")] = False,
    patient: Annotated[
        bool, typer.Option("--patient", help="Wait for a camera or stream that is not there yet.")
    ] = False,
    loop: Annotated[bool, typer.Option("--loop", help="Play files and folders over and over.")] = False,
    find: FindOption = None,
    photos: Annotated[
        Path | None,
        typer.Option(
            "--photos", metavar="FOLDER", help="Where the library's photos are, if they have moved."
        ),
    ] = None,
    remember: RememberOption = None,
    serve: Annotated[
        bool,
        typer.Option(
            "--serve", help=f"Serve the page of [bold]rtsearch serve[/bold] too, at http://127.0.0.1:{PORT}."
        ),
    ] = False,
    token: TokenOption = None,
    overwrite: OverwriteFlag = False,
    offline: Offline = False,
    as_json: JsonFlag = False,
    config: ConfigFile = None,
    override: Overrides = None,
) -> None:
    """Play a camera, video or stream and show what the library holds that looks like it.

    Keys in the window: q or Esc quit, space pause, . and , one frame on and back, left and right 5 s, up and
    down objects that do not fit, l loop, m mirror, n narrow the search or not, t text, f full screen, s save
    the picture, c controls, h help.

    [bold]Examples:[/bold]

    rtsearch run pictures.lib

    rtsearch run pictures.lib --source clip.mp4 --headless --out seen.mp4 --record seen.jsonl

    rtsearch run pictures.lib --find "red cup"

    rtsearch run pictures.lib --remember seen.memory

    rtsearch run pictures.lib -s 0 -s rtsp://door.local/live --set show.fullscreen=true
    """
    if ctx.args:  # a second name in the place of the library's
        ctx.fail(_with_source([str(lib), *ctx.args], source or []))
    library, settings = library_if_any(lib, remember, config, with_find(override, find), photos)
    if realtime and clock is Clock.EVERY:
        raise typer.BadParameter("--realtime is --clock wall; give one of the two")
    playing = Playing(
        headless=headless,
        out=out,
        records=tuple(record or ()),
        clock=Clock.WALL if realtime else clock,
        loop=loop or settings.live.loop,
        overwrite=overwrite,
        style=out_style,
        split_s=length_s(split),
        send=outlet_addresses(send, settings, as_json=as_json),
        patient=patient,
        remember=remember,
        settings_file=config,
    )
    serving = Serving.begin(("127.0.0.1", PORT), token, (None, None)) if serve else None
    with serving.listening if serving is not None else contextlib.nullcontext():
        fetch_missing(settings.model.name, offline=offline)
        report = play_sources(library, source or [settings.live.source], settings, playing, serving)
    if as_json:
        print_json(dataclasses.asdict(report))
    else:
        _tell_report(report, settings.live.find)
        tell_outlets(report.outlets)
        if report.memory is not None:
            _tell_memory(report.memory)
        if report.frames_shown and playing.written:
            playing.tell_written()


def _with_source(given: list[str], sources: list[str]) -> str:
    """Return the command that was meant by several names without an option."""
    from rtsearch.library.files import MANIFEST_NAME

    lib = next((name for name in given if (Path(name) / MANIFEST_NAME).is_file()), given[0])
    given.remove(lib)
    played = [f"--source {shlex.quote(masked(name))}" for name in (sources + given)[:_NAMED]]
    more = " and so on" if len(sources) + len(given) > _NAMED else ""
    command = f"rtsearch run {shlex.quote(masked(lib))} {' '.join(played)}{more}"
    return f"run takes the library, and sources with --source: {command}"


def play_sources(
    library: Library | None,
    specs: Sequence[str],
    settings: Settings,
    playing: Playing,
    serving: Serving | None = None,
) -> LiveReport:
    """Open everything, play, close everything."""
    from rtsearch.live import Areas, Controls, follow_library, play
    from rtsearch.sources import require_one

    words, find = live_words(library, settings), settings.live.find
    controls = Controls(
        settings.detect,
        settings.show,
        loop=playing.loop,
        mirror=settings.live.mirror,
        search=settings.search,
        areas=Areas.of(settings.live),
        sources=len(specs),
        chooser=words.chooser(find, library.space.class_names) if library is not None else None,
    )
    with (
        words,
        open_searched(library, settings, playing.remember, sources=len(specs)) as searched,
        contextlib.ExitStack() as stack,
    ):
        pipeline, index, memory = searched.pipeline, searched.index, searched.memory
        if library is None:
            controls.change(chooser=words.chooser(find, pipeline.class_names))
        _keep_apart(library, specs, playing)
        alone = len(specs) == 1
        opened = [
            _open(spec, index, settings, stack, several=not alone, patient=playing.patient) for spec in specs
        ]
        if not playing.patient:
            require_one(opened)
        if playing.from_s is not None:
            opened[0].seek(playing.from_s)
            controls.step()
        problem = no_window(playing, fullscreen=settings.show.fullscreen)
        if problem and "random" in specs:
            tell("random goes on until you stop it with Ctrl-C")
        players = [_paced(source, playing, window=not problem) for source in opened]
        screen = stack.enter_context(open_window(controls, playing.settings_file)) if not problem else None
        bar = stack.enter_context(count_bar("frames"))
        total = None if any(source.frames is None for source in opened) else _sum_of_frames(opened)
        task = bar.add_task("playing", total=total, rate=0.0, visible=screen is None)

        def show(shown: int) -> None:
            bar.update(task, completed=shown, rate=bar.tasks[0].speed or 0.0)

        scenes, finds = None, pipeline
        if serving is not None:  # the page watches the library
            scenes, finds = stack.enter_context(
                serving.page(settings, pipeline, index, controls, words, memory)
            )
        elif library is not None:
            stack.enter_context(follow_library(index, settings, controls, tell))
        outputs = playing.outputs(screen, settings, scenes)
        return play(players, finds, index, settings, outputs, controls=controls, progress=show, memory=memory)


def _open(
    spec: str,
    index: SearchIndex,
    settings: Settings,
    stack: contextlib.ExitStack,
    *,
    several: bool,
    patient: bool,
) -> Source:
    from rtsearch.images.decode import read_photo
    from rtsearch.library.photos import find_photos
    from rtsearch.live import library_photos
    from rtsearch.sources import open_source
    from rtsearch.sources.slideshow import photos_under

    if spec == "random":
        _expect_photos(index.library, list(islice(library_photos(index), _LOOKED_FOR)))
    try:
        source = open_source(
            spec,
            settings.live,
            photos=library_photos(index) if spec == "random" else (),
            read=lambda path: read_photo(path, settings.analyze.max_photo_mp),
            several=several,
            patient=patient,
            exclude=settings.analyze.exclude,
        )
    except SourceError:
        folder = path_of(spec)
        if folder.is_dir() and not photos_under(folder, settings.analyze.exclude):
            find_photos(folder, exclude=settings.analyze.exclude)  # its error says what is there instead
        raise
    stack.callback(source.close)
    return source


def _expect_photos(library: Library, some: list[Path]) -> None:
    """Refuse a library of films only, or one whose photos have moved; ``some`` of its photos tell."""
    if not some:
        raise SourceError(
            f"{library.folder} holds objects of films only, and random shows photos; play a film: "
            "--source FILM"
        )
    if not any(path.exists() for path in some):
        raise SourceError(
            f"the photos of {library.folder} are not in {library.photo_root}; where have they moved? "
            "--photos FOLDER"
        )


def _paced(source: Source, playing: Playing, *, window: bool) -> Source:
    """Play a file by the wall clock, where its frames are to wait for it."""
    from rtsearch.sources import Paced

    watched = (window or playing.send) and playing.out is None and not playing.records
    clock = playing.clock or (Clock.WALL if watched or (window and source.slides) else Clock.EVERY)
    return Paced(source) if clock is Clock.WALL and not source.live else source


def _sum_of_frames(sources: Sequence[Source]) -> int:
    return sum(source.frames or 0 for source in sources)


def no_window(playing: Playing, *, fullscreen: bool) -> str:
    """Return the reason why no window can open, or ""; print it if a window was wanted.

    Args:
        playing: what is wanted and written.
        fullscreen: it was asked for; an installation must not go on with a dark screen.

    Raises:
        DisplayError: no window can open, and the run would show and write nothing, or was to fill the screen.
    """
    if playing.headless:
        return "not wanted"
    from rtsearch.ui.display import display_problem, far_display, toolkit_problem

    problem = display_problem() or toolkit_problem()
    if not problem and (far := far_display()):
        tell(
            f"the display {far} is of another machine, which gets each picture whole; if that is slow: "
            "rtsearch serve, or --serve, shows it in a browser"
        )
    if problem and fullscreen:
        raise DisplayError(f"{problem}, and show.fullscreen asks for one; --headless runs without")
    if problem and not playing.written and not playing.send:
        raise DisplayError(f"{problem}, and nothing is written; give --out OUT.mp4, or --headless")
    if problem:
        tell(f"{problem}: running without a window")
    return problem


def _keep_apart(library: Library | None, specs: Sequence[str], playing: Playing) -> None:
    """Refuse to write over a file that is played, is written twice or was written before."""
    if len(specs) > 1 and playing.records:
        raise typer.BadParameter("a record is of one source; run rtsearch once for each of them")
    if len(specs) > 1 and not all(address.is_picture for address in playing.send):
        raise typer.BadParameter("--send sends the objects of one source; run rtsearch once for each of them")
    if len(specs) > 1 and playing.style is OutStyle.FRAME:
        raise typer.BadParameter("--out-style frame is of one source; run rtsearch once for each of them")
    written = playing.written
    for path in written:
        if written.count(path) > 1:
            raise typer.BadParameter(f"{path} would be written twice; choose another name")
        keep_apart(path, *map(path_of, specs), library=library)
    playing.keep_older()


@contextlib.contextmanager
def open_window(controls: Controls, settings_file: Path | None = None) -> Iterator[Display]:
    """Open a window; parts of the picture that count are saved to a settings file, or to one of its own."""
    from rtsearch.ui.window import Window

    window = Window("rtsearch", controls, Path.cwd(), settings_file)
    try:
        yield window
    finally:
        window.close()


def _tell_memory(memory: MemoryReport) -> None:
    problem = f"; {memory.problem}" if memory.problem else ""
    tell(f"remembered: {counted(memory.entries, 'object')}, {memory.dropped:,} dropped{problem}")


def _tell_report(report: LiveReport, find: str) -> None:
    stages = "  ".join(f"{name} {ms['p50']:.1f}" for name, ms in report.stage_ms.items())
    latency = report.latency_ms
    tell(
        f"{frames_at(report.frames_shown, report.fps)}, {report.dropped:,} dropped, "
        f"{counted(report.objects, 'object')}, {counted(report.neighbours, 'neighbour')}; "
        f"latency {latency['p50']:.0f} ms (p99 {latency['p99']:.0f}); median ms per frame: {stages}"
    )
    if find and not report.objects:
        tell(f'nothing was seen that "{find}" describes')
