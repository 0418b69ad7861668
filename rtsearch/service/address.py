"""Addresses of libraries that a server answers for: http://HOST:PORT, and https."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

from rtsearch._util.masking import masked
from rtsearch.errors import ServiceError

__all__ = ["ServiceAddress"]

_URL = re.compile(r"(https?):/{1,2}(.*)", re.DOTALL)  # a Path has folded two slashes to one
_PORTS = {"http": 80, "https": 443}


class ServiceAddress(NamedTuple):
    """Address of a server that answers for a library.

    Attributes:
        scheme: ``http`` or ``https``.
        host, port: of the server.
        token: its secret, "" where it needs none; never shown.
    """

    scheme: str
    host: str
    port: int
    token: str = ""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    @classmethod
    def parse(cls, given: str | Path, token: str = "") -> ServiceAddress | None:
        """Read an address as ``rtsearch serve`` prints it; None for what is a path.

        Args:
            given: address, or a path made of one.
            token: secret where the address has none.

        Raises:
            ServiceError: it is an address that cannot be used; the message shows no secret.
        """
        found = _URL.fullmatch(str(given))
        if found is None:
            return None
        shown = masked(f"{found[1]}://{found[2]}")
        try:
            parts = urlsplit(f"{found[1]}://{found[2]}")
            host, port = parts.hostname or "", parts.port or _PORTS[found[1]]
            asked = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
        except ValueError:
            host, port, asked = "", 0, {}
        plain = host.isascii() and re.fullmatch(r"[\w.:-]+", host) and parts.path in ("", "/")
        if not plain or parts.username is not None or set(asked) - {"token"}:
            raise ServiceError(
                f"{shown} is no address of a library: give http://HOST:PORT, as rtsearch serve prints it"
            )
        return cls(found[1], host, port, asked.get("token", token))
