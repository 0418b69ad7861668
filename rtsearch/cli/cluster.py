"""Define the commands ``rtsearch cluster ...``."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Annotated

import typer

from rtsearch.cli.common import (
    ConfigFile,
    JsonFlag,
    LibraryFolder,
    Overrides,
    library_and_settings,
    tell,
    tell_damage,
)
from rtsearch.cli.help import Group
from rtsearch.cli.serving import PORT, HostOption, PortOption, Serving, TokenOption
from rtsearch.errors import ConfigError

__all__ = ["app"]

_MOST_SHARDS = 1024

app = typer.Typer(help="Search a library on the machines of a Ray cluster.", no_args_is_help=True, cls=Group)


@app.callback()
def _root() -> None:
    """Make ``cluster`` a group of commands, though there is one."""


@app.command()
def serve(
    lib: LibraryFolder,
    ray: Annotated[
        str,
        typer.Option(
            "--ray",
            metavar="ADDRESS",
            help="[bold]auto[/bold] is the cluster that this machine belongs to, HOST:PORT that of a head, "
            "[bold]local[/bold] this machine alone.",
        ),
    ] = "local",
    shards: Annotated[
        int, typer.Option("--shards", min=1, max=_MOST_SHARDS, help="Parts of the library.")
    ] = 4,
    replicas: Annotated[
        int, typer.Option("--replicas", min=1, max=16, help="Processes that hold the same part.")
    ] = 1,
    host: HostOption = "127.0.0.1",
    port: PortOption = PORT,
    token: TokenOption = None,
    as_json: JsonFlag = False,
    config: ConfigFile = None,
    override: Overrides = None,
) -> None:
    """Let the machines of a Ray cluster search a library, and answer for it at one address.

    Each part of the library is searched by a process of its own, or by several (--replicas), which answer for
    each other when one dies. A new version of the library is taken over while the one before is searched. The
    address goes in the place of the library: rtsearch run http://HOST:PORT, or by its name in the cluster:
    rtsearch run ray://HOST/pictures.

    [bold]Example:[/bold]

    rtsearch cluster serve pictures.lib --ray auto --shards 4 --replicas 2 --host 0.0.0.0
    """
    from rtsearch._util.signals import stop_on_signal
    from rtsearch.jobs.cluster import connected
    from rtsearch.jobs.cluster.search import ClusterSearch
    from rtsearch.jobs.cluster.shards import ClusterShards
    from rtsearch.library.index import SearchIndex, open_index
    from rtsearch.service.ray_name import announced
    from rtsearch.storage import folder_name

    library, settings = library_and_settings(lib, config, override)
    if settings.search.backend != "tree":
        raise ConfigError(
            f"search.backend={settings.search.backend}: cluster serve searches shards of its own; "
            "leave it at tree, or let rtsearch serve LIB search the database"
        )
    tell_damage(library)
    name = PurePosixPath(folder_name(library.folder)).name.removesuffix(".lib")
    serving = replace(Serving.begin((host, port), token, (None, None)), as_json=as_json)
    ended = threading.Event()
    with serving.listening, stop_on_signal(ended), connected(ray, library.object_count):
        index = open_index(library, settings, tell)

        def start(whole: SearchIndex) -> ClusterShards:
            return ClusterShards(whole, shards, replicas, tell, ended)

        with ClusterSearch(index, settings, start, tell) as search:
            if not ended.is_set():
                with serving.search(search.answers, settings.web) as url, announced(name, url) as also:
                    tell(f"known to Ray as {also}")
                    ended.wait()
