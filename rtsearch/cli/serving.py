"""Options of serving the page, which serve and run share, and the server that they ask for."""

from __future__ import annotations

import contextlib
import secrets
import socket
import webbrowser
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rtsearch import __version__
from rtsearch.cli.common import answer, print_json, tell
from rtsearch.config import Settings, WebSettings
from rtsearch.errors import MissingDependencyError, ServerError

if TYPE_CHECKING:
    from rtsearch.library.index import SearchIndex
    from rtsearch.live import Controls, SceneSink
    from rtsearch.memory.live_memory import LiveMemory
    from rtsearch.pipeline import Pipeline
    from rtsearch.service import Answers
    from rtsearch.web import Address
    from rtsearch.words import LiveWords

__all__ = ["PORT", "HostOption", "PortOption", "Serving", "TokenOption"]

PORT = 8737

HostOption = Annotated[
    str,
    typer.Option(
        "--host",
        metavar="ADDRESS",
        help="Address to answer at; 0.0.0.0 is every network of this machine, and needs a token.",
    ),
]
PortOption = Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes a free one.")]
TokenOption = Annotated[
    str | None,
    typer.Option(
        "--token",
        envvar="RTSEARCH_TOKEN",
        show_envvar=True,
        metavar="SECRET",
        help="Secret of whoever may change something. Without one, none is needed where only this machine is "
        "answered, and else one is made up.",
    ),
]


@dataclass(frozen=True, slots=True)
class Serving:
    """The page that is wanted, its socket open already.

    Attributes:
        address: where it answers.
        token: secret of operators, or "".
        listening: socket that it will answer at.
        opens: open the page in a browser.
        as_json: tell programs, not people, where it is.
    """

    address: Address
    token: str
    listening: socket.socket
    opens: bool = False
    as_json: bool = False

    @classmethod
    def begin(
        cls, address: tuple[str, int], token: str | None, tls: tuple[Path | None, Path | None]
    ) -> Serving:
        """Open the socket before anything that takes long.

        Args:
            address: host and port.
            token: of the options; None makes one up where others than this machine are answered.
            tls: certificate and key, or None for http.

        Raises:
            ServerError: the address cannot be answered at, or the token is too short.
            MissingDependencyError: the extra ``web`` is not installed.
        """
        try:
            from rtsearch.web import LEAST_TOKEN, Address, bind, is_loopback
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] not in ("starlette", "uvicorn", "websockets"):
                raise
            raise MissingDependencyError(
                f"the page needs {error.name}, which is not installed: pip install 'rtsearch[web]'"
            ) from None
        host, port = address
        if token is not None and len(token) < LEAST_TOKEN:
            raise ServerError(f"--token needs at least {LEAST_TOKEN} characters")
        if tls[1] is not None and tls[0] is None:
            raise ServerError("--key needs the certificate, too: --cert FILE")
        if token is None and not is_loopback(host):
            token = secrets.token_urlsafe(16)
        wanted = Address(host, port, *tls)
        return cls(wanted, token or "", bind(wanted))

    @contextlib.contextmanager
    def page(
        self,
        settings: Settings,
        pipeline: Pipeline,
        index: SearchIndex,
        controls: Controls,
        live_words: LiveWords,
        memory: LiveMemory | None = None,
    ) -> Iterator[tuple[SceneSink, Pipeline]]:
        """Serve the page until the block is left; give what shows scenes, and the pipeline to use."""
        from rtsearch.web import Access, PageServer, SharedBackend, Site, is_loopback

        shared = replace(pipeline, backend=SharedBackend(pipeline.backend))
        web = settings.web
        access = Access(self.token, web.public, web.hosts, loopback=is_loopback(self.address.host))
        network = pipeline.spec.name, pipeline.spec.licence
        site = Site(settings, shared, index, controls, access, network, live_words, tell, memory)
        with PageServer(site, self.listening, self.address) as server:
            self._tell(server.port)
            yield site.hub, shared

    @contextlib.contextmanager
    def search(self, answers: Answers, web: WebSettings) -> Iterator[str]:
        """Serve the search of a library until the block is left; give its address, with the token."""
        from rtsearch.web import Access, PageServer, SearchSite, is_loopback

        access = Access(self.token, False, web.hosts, loopback=is_loopback(self.address.host))
        with PageServer(SearchSite(answers, access), self.listening, self.address) as server:
            yield self._tell(server.port)

    def _tell(self, port: int) -> str:
        """Say where the page, or the search, is, and return it."""
        from rtsearch.web.pages import lan_address

        host, everywhere = self.address.host, self.address.host in ("0.0.0.0", "::", "[::]")
        named = (lan_address() or "localhost") if everywhere else host
        named = f"[{named}]" if ":" in named.strip("[]") else named
        scheme = "http" if self.address.cert is None else "https"
        url = f"{scheme}://{named}:{port}/"
        full = f"{url}?token={self.token}" if self.token else url
        if self.as_json:
            print_json({"url": full, "token": self.token, "version": __version__})
        else:
            answer(full)
            tell("Ctrl-C ends it")
        if self.opens and not webbrowser.open(full):
            tell("no browser could be started here; open the address in one")
        return full
