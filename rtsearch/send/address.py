"""Read the addresses of outlets, such as ``osc://host:9000``, ``v4l2:/dev/video10`` or ``-``."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from rtsearch._util.masking import masked
from rtsearch.errors import SendError

__all__ = ["SCHEMES", "Address", "parse_address"]

_PORTS = {"osc": 9000, "tuio": 3333, "mqtt": 1883, "mqtts": 8883, "http": 80, "https": 443}
_PICTURES = ("v4l2", "pipe", "ndi")
SCHEMES = (*_PORTS, *_PICTURES)
"""Schemes of outlets, beside ``-`` for standard output."""

_EXAMPLES = {
    "osc": "osc://127.0.0.1:9000",
    "tuio": "tuio://127.0.0.1:3333",
    "mqtt": "mqtt://user@broker/rtsearch",
    "mqtts": "mqtts://user@broker/rtsearch",
    "http": "http://127.0.0.1:8080/hook",
    "https": "https://example.org/hook#secret=KEY",
    "v4l2": "v4l2:/dev/video10",
    "pipe": "pipe:/tmp/rtsearch.bgr",
    "ndi": "ndi:rtsearch",
}
_NAME = re.compile(r"[^\x00-\x1f/][^\x00-\x1f]{0,99}")  # of NDI sources; //HOST is none
_PREFIX = re.compile(r"[^\x00-\x1f+#$][^\x00-\x1f+#]{0,199}")  # of MQTT topics: no wildcards


@dataclass(frozen=True, slots=True)
class Address:
    """Address of an outlet.

    Attributes:
        scheme: one of ``SCHEMES``, or ``-`` for standard output.
        host: name or number of the peer; "" for files.
        port: port of the peer; 0 for files.
        path: path of a webhook with its query, prefix of MQTT topics, file, or name of an NDI source; "" for
            none.
        user: user name; "" for none.
        password: password; "" for none.
        secret: key that signs the bodies of a webhook; "" for none.
    """

    scheme: str
    host: str = ""
    port: int = 0
    path: str = field(default="", repr=False)
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    secret: str = field(default="", repr=False)

    @property
    def name(self) -> str:
        """Return the address without user, password, secret and path, which may be one, for messages."""
        if not self.host:
            return "-" if self.scheme == "-" else f"{self.scheme}:{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        prefix = f"/{self.path}" if self.scheme.startswith("mqtt") else ""
        return f"{self.scheme}://{host}:{self.port}{prefix}"

    @property
    def is_picture(self) -> bool:
        """Tell whether the outlet sends pictures rather than objects."""
        return self.scheme in _PICTURES


def parse_address(text: str) -> Address:
    """Return the address that a text names.

    Raises:
        SendError: the scheme is unknown, or a part is missing or wrong.
    """
    text = text.strip()
    if text == "-":
        return Address("-")
    scheme, colon, rest = text.partition(":")
    scheme = scheme.lower()
    if not colon or scheme not in SCHEMES:
        known = ", ".join(f"{one}:" for one in SCHEMES)
        raise SendError(f"--send {masked(text)}: expected an address that begins with {known} or is -")
    if scheme == "ndi":
        return _named(rest)
    if scheme in _PICTURES:
        return _file(scheme, rest)
    return _network(scheme, text)


def _named(name: str) -> Address:
    if not _NAME.fullmatch(name):
        raise _wrong(f"ndi:{name}", "expected a name of 1 to 100 letters", "ndi")
    return Address("ndi", path=name)


def _file(scheme: str, rest: str) -> Address:
    if not rest or rest.startswith("//"):
        raise _wrong(f"{scheme}:{rest}", "expected a path", scheme)
    return Address(scheme, path=str(Path(rest)))


def _network(scheme: str, text: str) -> Address:
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError as error:  # a port that is no number, a bracket that is not closed
        raise _wrong(text, str(error).lower(), scheme) from None
    if not url.hostname or re.search(r"[\s\x00-\x1f]", text):
        raise _wrong(text, "there is no host in it", scheme)
    if port == 0:
        raise _wrong(text, "port 0 is none", scheme)
    path, secret = _path(url, scheme, text), ""
    if url.fragment:
        secrets = parse_qs(url.fragment).get("secret", [])
        if not scheme.startswith("http") or len(secrets) != 1:
            raise _wrong(text, "nothing is known about the part after #", scheme)
        secret = secrets[0]
    user, password = unquote(url.username or ""), unquote(url.password or "")
    if scheme in ("osc", "tuio") and (user or password):
        raise _wrong(text, f"{scheme} has no users", scheme)
    return Address(scheme, url.hostname, port or _PORTS[scheme], path, user, password, secret)


def _path(url: SplitResult, scheme: str, text: str) -> str:
    if scheme.startswith("http"):
        return f"{url.path or '/'}{'?' if url.query else ''}{url.query}"
    path = unquote(url.path.strip("/"))
    if url.query:
        raise _wrong(text, "nothing is known about the part after ?", scheme)
    if scheme in ("osc", "tuio"):
        if path:
            raise _wrong(text, f"{scheme} has no path", scheme)
        return ""
    if path and not _PREFIX.fullmatch(path):
        raise _wrong(
            text, "a topic has no + or #, does not begin with $, and has at most 200 letters", scheme
        )
    return path or "rtsearch"


def _wrong(text: str, why: str, scheme: str) -> SendError:
    return SendError(f"--send {masked(text)}: {why}; for example {_EXAMPLES[scheme]}")
