"""Define the command ``rtsearch replay``."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rtsearch.cli.common import (
    ConfigFile,
    JsonFlag,
    LibraryFolder,
    Overrides,
    OverwriteFlag,
    count_bar,
    counted,
    frames_at,
    keep_apart,
    library_and_settings,
    print_json,
    tell,
)
from rtsearch.cli.playing import (
    OutStyle,
    OutStyleOption,
    Playing,
    SendOption,
    SplitOption,
    length_s,
    outlet_addresses,
    tell_outlets,
)
from rtsearch.cli.run import no_window, open_window
from rtsearch.config import Settings

if TYPE_CHECKING:
    from rtsearch.jobs.replay import ReplayReport
    from rtsearch.library import Library

__all__ = ["replay"]


def replay(
    video: Annotated[Path, typer.Argument(metavar="VIDEO", help="Video file that was played.")],
    record: Annotated[
        Path, typer.Argument(metavar="RECORD.jsonl", help="Record of it by rtsearch run --record.")
    ],
    lib: LibraryFolder,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="OUT.mp4", help="Save the picture as a video.")
    ] = None,
    out_style: OutStyleOption = OutStyle.PICTURE,
    split: SplitOption = None,
    send: SendOption = None,
    headless: Annotated[bool, typer.Option("--headless", help="Open no window.")] = False,
    overwrite: OverwriteFlag = False,
    as_json: JsonFlag = False,
    config: ConfigFile = None,
    override: Overrides = None,
) -> None:
    """Show a recorded run again, without detection and search, so that any machine is fast enough.

    A window plays it at the video's own speed, with the keys of run; --out draws every frame.

    [bold]Example:[/bold]

    rtsearch replay clip.mp4 seen.jsonl pictures.lib --out again.mp4
    """
    library, settings = library_and_settings(lib, config, override)
    keep_apart(out, video, record, library=library)
    playing = Playing(
        headless=headless,
        out=out,
        overwrite=overwrite,
        style=out_style,
        split_s=length_s(split),
        send=outlet_addresses(send, settings, as_json=as_json),
    )
    playing.keep_older()
    report = _show(video, record, library, settings, playing)
    if as_json:
        print_json(dataclasses.asdict(report))
    else:
        tell(
            f"{frames_at(report.frames_shown, report.fps)}, {report.dropped:,} dropped, "
            f"{report.bare:,} without a record, {counted(report.objects, 'object')}"
        )
        tell_outlets(report.outlets)
        if report.frames_shown and out is not None:
            playing.tell_written()


def _show(video: Path, record: Path, library: Library, settings: Settings, playing: Playing) -> ReplayReport:
    from rtsearch.jobs.replay import replay as show_recording
    from rtsearch.library.index import open_index
    from rtsearch.live import Controls
    from rtsearch.recording import Recording
    from rtsearch.sources import Paced, open_source

    controls = Controls(settings.detect, settings.show, detects=False)
    with contextlib.ExitStack() as stack:
        recording = stack.enter_context(Recording(record))
        # An absolute path is never taken for a camera.
        source = stack.enter_context(open_source(str(video.absolute()), settings.live))
        index = open_index(library, settings, tell)
        problem = no_window(playing, fullscreen=settings.show.fullscreen)
        screen = None if problem else stack.enter_context(open_window(controls))
        watched = (screen is not None or playing.send) and playing.out is None
        player = Paced(source) if watched else source
        bar = stack.enter_context(count_bar("frames"))
        task = bar.add_task("playing", total=source.frames, rate=0.0, visible=screen is None)

        def show(shown: int) -> None:
            bar.update(task, completed=shown, rate=bar.tasks[0].speed or 0.0)

        outputs = playing.outputs(screen, settings)
        return show_recording(player, recording, index, settings, outputs, controls=controls, progress=show)
