"""Run the server in a thread, beside the live loop, which owns the main thread."""

from __future__ import annotations

import errno
import ipaddress
import socket
import ssl
import threading
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from rtsearch._util.closing import Closing
from rtsearch.errors import ServerError
from rtsearch.web.app import make_app
from rtsearch.web.site import SearchSite, Site

__all__ = ["Address", "PageServer", "bind", "is_loopback"]

_MOST_MESSAGE_BYTES = 1 << 20  # of a phone's picture: 640 px take 60 kB
_MOST_CONNECTIONS = 512
_LEAVE_S = 2  # that open requests have to end
_JOIN_S = 4.0
_START_S = 10.0


@dataclass(frozen=True, slots=True)
class Address:
    """Address that a server answers at.

    Attributes:
        host, port: as in an URL; port 0 takes a free one.
        cert, key: files of a certificate and its key, for https; None for http.
    """

    host: str = "127.0.0.1"
    port: int = 8737
    cert: Path | None = None
    key: Path | None = None


def is_loopback(host: str) -> bool:
    """Return True if only programs of this machine reach a host name or address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def bind(address: Address) -> socket.socket:
    """Open the socket of a server, before anything that takes long.

    Raises:
        ServerError: the port is taken, or the address is not this machine's, or the certificate is wrong.
    """
    if address.cert is not None:
        _check_certificate(address.cert, address.key)
    host = address.host.strip("[]")
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host, address.port, type=socket.SOCK_STREAM)[0]
        opened = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ServerError(f"--host {address.host}: {error.strerror or error}") from None
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(place)
    except OSError as error:
        opened.close()
        if error.errno == errno.EADDRINUSE:
            raise ServerError(f"port {address.port} is taken already; choose another: --port") from None
        if error.errno == errno.EACCES:
            raise ServerError(f"port {address.port} needs root; choose one from 1024 on: --port") from None
        raise ServerError(f"{address.host} port {address.port}: {error.strerror}") from None
    return opened


def _check_certificate(cert: Path, key: Path | None) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password=lambda: "")
    except FileNotFoundError:
        missing = cert if not cert.exists() else key
        raise ServerError(f"{missing}: no such file") from None
    except (ssl.SSLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise ServerError(
            f"{cert} and {key or cert} are no certificate with its key, as PEM ({reason})"
        ) from None


class PageServer(Closing):
    """Server of a site in a thread of its own; it answers when the constructor returns.

    Args:
        site: is served; closed with the server.
        listening: made by ``bind``; closed with the server.
        address: says what certificate is used.

    Raises:
        ServerError: it does not start.
    """

    def __init__(self, site: Site | SearchSite, listening: socket.socket, address: Address) -> None:
        self._site = site
        self._listening = listening
        config = uvicorn.Config(
            make_app(site),
            access_log=False,  # addresses hold tokens
            log_config=None,
            log_level="critical",
            server_header=False,
            proxy_headers=False,
            lifespan="off",
            ws="websockets-sansio",
            ws_max_size=_MOST_MESSAGE_BYTES,
            ws_per_message_deflate=False,  # 1.3 instead of 0.05 ms for a message of 60 kB
            limit_concurrency=_MOST_CONNECTIONS,
            timeout_graceful_shutdown=_LEAVE_S,
            ssl_certfile=address.cert,
            ssl_keyfile=address.key,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, args=([listening],), name="server", daemon=True
        )
        self._thread.start()
        waited = threading.Event()
        for _ in range(int(_START_S / 0.01)):
            if self._server.started or not self._thread.is_alive():
                break
            waited.wait(0.01)
        if not self._server.started:
            raise ServerError("the server does not start")

    @property
    def port(self) -> int:
        """Port that it answers at."""
        return int(self._listening.getsockname()[1])

    def close(self) -> None:
        """End the server: viewers are told to come back later."""
        self._server.should_exit = True
        self._thread.join(_JOIN_S)
        self._site.close()
        self._listening.close()
