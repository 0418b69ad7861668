"""Define the app with all commands."""

from __future__ import annotations

import sys
from functools import cache
from typing import Annotated, Any

import typer

from rtsearch import __version__
from rtsearch.cli import (
    analyze,
    cluster,
    config,
    demo,
    doctor,
    engine,
    find,
    kiosk,
    library,
    memory,
    model,
    query,
    replay,
    run,
    seen,
    serve,
    show,
)
from rtsearch.cli.common import answer
from rtsearch.cli.help import Group, tidy

__all__ = ["commands", "wrong_use"]

# Base class of typer's errors about wrong arguments, which has no public name.
wrong_use: type[Exception] = typer.BadParameter.__mro__[2]

app = typer.Typer(
    name="rtsearch",
    help="Reverse object search in real time: every object a camera sees, and the most similar ones of your "
    "library below it.",
    epilog="[bold]Start with:[/bold]\n\nrtsearch analyze ~/Pictures pictures.lib\n\n"
    "rtsearch run pictures.lib\n\nWithout a command, rtsearch prints the next steps on this machine.",
    invoke_without_command=True,
    cls=Group,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
)


def _version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"rtsearch {__version__}\n")
        raise typer.Exit


@app.callback()
def _root(
    ctx: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    if ctx.invoked_subcommand is None:
        from rtsearch.cli.start import next_steps

        for line in next_steps():
            answer(line)


# Further arguments are accepted to word a message with the right command.
app.command("run", context_settings={"allow_extra_args": True})(run.run)
app.command("replay")(replay.replay)
app.command("serve")(serve.serve)
app.command("analyze")(analyze.analyze)
app.command("query")(query.query)
app.command("find")(find.find)
app.command("show")(show.show)
app.add_typer(library.app, name="library")
app.command("seen")(seen.seen)
app.add_typer(memory.app, name="memory")
app.add_typer(cluster.app, name="cluster")
app.add_typer(model.app, name="model")
app.add_typer(engine.app, name="engine")
app.add_typer(kiosk.app, name="kiosk")
app.command("config")(config.show_config)
app.command("demo")(demo.demo)
app.command("doctor")(doctor.doctor)
tidy(app)


@cache
def commands() -> Any:
    """Return the group of all commands, which typer takes 35 ms to make and has no public name for."""
    return typer.main.get_command(app)
