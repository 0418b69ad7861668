"""Cameras on the web: what answers at an http address, streams of JPEG pictures, and snapshots."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from fractions import Fraction
from typing import Any, Literal
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from rtsearch.sources.capture import NOTHING_CAME, LostError, Taken
from rtsearch.sources.converter import stretched
from rtsearch.sources.jpegs import Jpegs, decode_picture

__all__ = ["Answer", "JpegCapture", "SnapshotCapture", "ask"]

_CHUNK = 65536
_MOST_WANTED = 1 << 20
_MOST_BYTES = 64 << 20  # of a snapshot
_SAFE = "%/:=&?~+!$,;'@()*[]-._"

Kind = Literal["parts", "picture", "video"]


class Answer:
    """The open answer of a web server.

    Args:
        response: read up to its header.
        connection: that it comes from, where it is known.

    Attributes:
        kind: ``parts`` for JPEG pictures one after the other, ``picture`` for a single one, else ``video``.
    """

    def __init__(self, response: Any, connection: socket.socket | None) -> None:
        self._response = response
        self._connection = connection
        self.kind: Kind = _kind(response)

    def read(self, limit_s: float, wanted: int = 0) -> bytes:
        """Return the bytes that come next, b"" at the end.

        Args:
            limit_s: for each packet of the network.
            wanted: how many bytes to wait for; 0 takes those that are there.

        Raises:
            LostError: nothing came in time, or the connection is gone.
        """
        try:
            # Since Python 3.14 a response closes with its last byte, and then answers b"".
            if self._connection is not None and self._connection.fileno() >= 0:
                self._connection.settimeout(limit_s)
            wanted = min(wanted, _MOST_WANTED)  # as much memory is taken at once
            return bytes(self._response.read(wanted) if wanted else self._response.read1(_CHUNK))
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise LostError(_why(error)) from None

    def interrupt(self) -> None:
        """End a read in another thread."""
        if self._connection is not None:
            with contextlib.suppress(OSError, ValueError):
                self._connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Hang up."""
        with contextlib.suppress(OSError, ValueError):
            self._response.close()


def ask(url: str, limit_s: float) -> Answer:
    """Ask a web server for an address, with the user's name and password that stand in it.

    Certificates are not looked at, as most cameras have signed theirs themselves; so FFmpeg does, too.

    Raises:
        LostError: it cannot be reached or refuses; the message is the reason.
    """
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    bare = urlunsplit((parts.scheme, host, quote(parts.path, _SAFE), quote(parts.query, _SAFE), ""))
    opened: list[socket.socket] = []
    opener = urllib.request.OpenerDirector()
    handlers: list[urllib.request.BaseHandler] = [
        urllib.request.ProxyHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Handler(opened),
    ]
    if parts.username is not None:
        passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
        root = f"{parts.scheme}://{host}/"
        passwords.add_password(None, root, unquote(parts.username), unquote(parts.password or ""))
        handlers += [
            urllib.request.HTTPDigestAuthHandler(passwords),
            urllib.request.HTTPBasicAuthHandler(passwords),
        ]
    for handler in handlers:
        opener.add_handler(handler)
    try:
        request = urllib.request.Request(bare, headers={"User-Agent": "rtsearch"})
        response = opener.open(request, timeout=limit_s)
    except urllib.error.HTTPError as error:
        error.close()
        raise LostError(f"the server says {error.code} {error.reason}") from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise LostError(_why(error)) from None
    if response is None:  # a redirection to what is not the web
        raise LostError("it leads to an address that is not of the web")
    return Answer(response, opened[-1] if opened else None)


class _Handler(urllib.request.HTTPHandler, urllib.request.HTTPSHandler):
    """Opens connections, and remembers their sockets, whose time limits change later."""

    def __init__(self, opened: list[socket.socket]) -> None:
        super().__init__()
        self._opened = opened

    def http_open(self, request: urllib.request.Request) -> Any:
        return self.do_open(self._remembering(http.client.HTTPConnection), request)

    def https_open(self, request: urllib.request.Request) -> Any:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return self.do_open(self._remembering(http.client.HTTPSConnection), request, context=context)

    def _remembering(self, kind: type[http.client.HTTPConnection]) -> Any:
        opened = self._opened

        class Connection(kind):  # type: ignore[misc, valid-type]
            def connect(self) -> None:
                super().connect()
                opened.append(self.sock)

        return Connection


def _kind(response: Any) -> Kind:
    told = (response.headers.get("Content-Type") or "").partition(";")[0].strip().lower()
    if told.startswith("multipart/"):
        return "parts"
    if told.startswith("image/"):
        return "picture"
    if told in ("", "application/octet-stream", "text/plain"):
        with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
            start = bytes(response.peek(_CHUNK)).lstrip()
            if start.startswith(b"--") or start.startswith(b"\xff\xd8\xff"):
                return "parts"
    return "video"


def _why(error: Exception) -> str:
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, TimeoutError):
        return NOTHING_CAME
    if isinstance(cause, OSError):
        return cause.strerror or type(cause).__name__
    if isinstance(cause, http.client.HTTPException) and not isinstance(cause, http.client.InvalidURL):
        return "the server does not speak HTTP"
    if "support the following scheme" in str(cause):
        return "it asks for the password in a way that is not known here"
    return "the address is wrong"


class JpegCapture:
    """JPEG pictures that a web server sends one after the other.

    Args:
        answer: whose kind is ``parts``.
        aspect: width by height of the pictures, where it is another than that of their pixels.
    """

    freezes = True
    fps: float | None = None

    def __init__(self, answer: Answer, aspect: Fraction | None) -> None:
        self._answer = answer
        self._aspect = aspect
        self._jpegs = Jpegs()
        self._ready: deque[bytes] = deque()

    def read(self, limit_s: float) -> Taken:
        """See ``Capture``; of pictures that came together the last is decoded."""
        data = self._answer.read(limit_s, self._jpegs.missing)
        if not data:
            raise LostError("the stream has ended")
        self._ready.extend(self._jpegs.feed(data))
        while self._ready:
            jpeg = self._ready.popleft()
            if not self._ready:
                return Taken(stretched(decode_picture(jpeg), self._aspect))
        return Taken(None)

    def interrupt(self) -> None:
        """See ``Capture``."""
        self._answer.interrupt()

    def release(self) -> None:
        """See ``Capture``."""
        self._answer.close()


class SnapshotCapture:
    """A single picture at a web address, fetched anew again and again.

    Args:
        url: of the picture.
        every_s: time from one to the next.
        first: answer with the first one.
        aspect: width by height of the pictures, where it is another than that of their pixels.
    """

    freezes = False

    def __init__(self, url: str, every_s: float, first: Answer, aspect: Fraction | None) -> None:
        self.fps: float | None = 1 / every_s
        self._url = url
        self._every_s = every_s
        self._answer: Answer | None = first
        self._aspect = aspect
        self._due_s = time.monotonic()
        self._stop = threading.Event()

    def read(self, limit_s: float) -> Taken:
        """See ``Capture``."""
        if self._stop.wait(max(0.0, self._due_s - time.monotonic())):
            raise LostError("closed")
        self._due_s = max(self._due_s + self._every_s, time.monotonic())
        answer = self._answer = self._answer or ask(self._url, limit_s)
        data = bytearray()
        try:
            while len(data) < _MOST_BYTES and (more := answer.read(limit_s)):
                data += more
        finally:
            answer.close()
            self._answer = None
        return Taken(stretched(decode_picture(bytes(data)), self._aspect))

    def interrupt(self) -> None:
        """See ``Capture``."""
        self._stop.set()
        answer = self._answer
        if answer is not None:
            answer.interrupt()

    def release(self) -> None:
        """See ``Capture``."""
        if self._answer is not None:
            self._answer.close()
