"""Define the commands ``rtsearch kiosk``: a screen that shows the picture and nothing else."""

from __future__ import annotations

import dataclasses
import sys
import threading
from pathlib import Path
from typing import Annotated, Any

import typer

from rtsearch.cli.common import (
    ConfigFile,
    JsonFlag,
    LibraryFolder,
    Overrides,
    answer,
    answer_facts,
    library_and_settings,
    print_json,
    tell,
)
from rtsearch.cli.help import Group
from rtsearch.cli.playing import SendOption, outlet_addresses
from rtsearch.errors import DisplayError

__all__ = ["app"]

_NO_DISPLAY = 75  # exit code: start the display and the kiosk again
_NOT_PLAYING = 1


class _KioskGroup(Group):
    """Group in which a library stands for the command ``run``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            args = ["run", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_KioskGroup,
    no_args_is_help=True,
    help="Keep a full screen going without anybody near: [bold]rtsearch kiosk LIB --config show.yaml[/bold].",
)

SourceOption = Annotated[
    list[str] | None,
    typer.Option("--source", "-s", metavar="SOURCE", help="As of rtsearch run; default: live.source."),
]


@app.command("run")
def run(
    lib: LibraryFolder,
    source: SourceOption = None,
    send: SendOption = None,
    config: ConfigFile = None,
    override: Overrides = None,
) -> None:
    """Play a library in full screen, and start again after a crash, a hang or an error.

    Cameras that are not there are waited for, and files play over and over. The command ends with exit code 0
    when the user quits or it is told to end, with 2 where it cannot begin, and with 75 where there is no
    display, or no longer: display and kiosk are to be started again.

    [bold]Examples:[/bold]

    rtsearch kiosk run pictures.lib --config show.yaml

    rtsearch kiosk pictures.lib --source 0
    """
    from rtsearch._util.signals import stop_on_signal
    from rtsearch.jobs.kiosk import StatusFile, Supervisor, status_folder
    from rtsearch.ui.display import display_problem

    # What is wrong is said here, once: a child would be started over and over.
    library, settings = library_and_settings(lib, config, override)
    outlet_addresses(send, settings, as_json=False)
    problem = display_problem()
    if problem:
        tell(f"rtsearch: {problem}; start the kiosk in a session: rtsearch kiosk install --help")
        raise typer.Exit(_NO_DISPLAY)
    stop = threading.Event()
    command = _child(library.folder, source, send, config, override)
    supervisor = Supervisor(command, library.folder, StatusFile(status_folder()), tell, display_problem)
    with stop_on_signal(stop, finish=True):
        try:
            supervisor.run(stop)
        except DisplayError as error:
            tell(f"rtsearch: {error}")
            raise typer.Exit(_NO_DISPLAY) from None


def _child(
    lib: Path,
    sources: list[str] | None,
    send: list[str] | None,
    config: Path | None,
    overrides: list[str] | None,
) -> list[str]:
    """Return the command of the run."""
    command = [sys.executable, "-P", "-m", "rtsearch", "run", str(lib), "--patient", "--loop"]
    command += ["--set", "show.fullscreen=true"]
    for option, values in (("--source", sources), ("--send", send), ("--set", overrides)):
        for value in values or ():
            command += [option, value]
    return command if config is None else [*command, "--config", str(config)]


@app.command("status")
def status(as_json: JsonFlag = False) -> None:
    """Tell how the kiosk of this user fares; the exit code is 1 unless it plays.

    [bold]Example:[/bold]

    rtsearch kiosk status
    """
    from rtsearch.jobs.kiosk import StatusFile, status_folder

    file = StatusFile(status_folder())
    known, runs = file.read(), file.is_held()
    if known is not None and not runs and known.state != "ended":
        known = dataclasses.replace(known, state="ended", child=None)  # it was killed
    if as_json:
        print_json(None if known is None else dataclasses.asdict(known))
    elif known is None:
        answer("no kiosk has run here; start one: rtsearch kiosk LIB --config show.yaml")
    else:
        answer_facts(
            {name: value for name, value in dataclasses.asdict(known).items() if value not in ("", None)}
        )
    if known is None or known.state != "playing":
        raise typer.Exit(_NOT_PLAYING)


@app.command("install")
def install(
    lib: LibraryFolder,
    config: Annotated[
        Path, typer.Option("--config", metavar="FILE", exists=True, dir_okay=False, help="File of settings.")
    ],
) -> None:
    """Write what starts the kiosk with the computer: a systemd unit, and sessions for X11 and Wayland.

    Nothing is switched on: the command names the files and the one line that starts each of them.

    [bold]Example:[/bold]

    rtsearch kiosk install pictures.lib --config show.yaml
    """
    from rtsearch.jobs.kiosk_session import write_sessions

    library, _ = library_and_settings(lib, config, None)
    command = [sys.executable, "-P", "-m", "rtsearch", "kiosk", str(library.folder.resolve()), "--config"]
    for line in write_sessions([*command, str(config.resolve())], Path.home()):
        answer(line)
