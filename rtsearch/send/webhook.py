"""Post events to a web server: one request each, signed, with three tries.

The body is the JSON of ``recording.event_record``. With a secret, the header ``X-Rtsearch-Signature`` is
``sha256=`` and the HMAC-SHA-256 of the body in hexadecimal digits, as GitHub's webhooks have it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import ssl
import threading
from urllib.parse import urljoin, urlsplit

from rtsearch.errors import SendError
from rtsearch.recording import json_line, text_bytes
from rtsearch.send.address import Address
from rtsearch.send.events import EventFinder
from rtsearch.send.scene import SentScene

__all__ = ["SIGNATURE_HEADER", "WebhookPeer", "signature"]

SIGNATURE_HEADER = "X-Rtsearch-Signature"
"""Header that proves who has sent a body."""

_TRIES = 3
_TRY_AGAIN_S = 1.0  # before the second try; twice as long before the third
_ANSWER_S = 5.0
_MOST_REDIRECTS = 3
_MOST_BODY_BYTES = 65_536  # of an answer, which is read only to use the connection again
_REDIRECTS = (307, 308)  # others would turn the POST into a GET
_TRY_LATER = (408, 425, 429, *range(500, 600))


def signature(secret: str, body: bytes) -> str:
    """Return the value of ``SIGNATURE_HEADER`` for a body."""
    return f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"


class _RefusedError(SendError):
    """The server does not want the event; another try will not help."""


class WebhookPeer:
    """Web server that gets each event.

    Args:
        address: of the server, with user, password and secret.
        closing: set when the run ends; each event is then tried once.
    """

    longest_wait_s = 30.0
    known_after = 1

    def __init__(self, address: Address, closing: threading.Event) -> None:
        self._address = address
        self._closing = closing
        self._events = EventFinder()
        self._last: SentScene | None = None
        self._connection: http.client.HTTPConnection | None = None
        self._path = address.path  # where the server has redirected to, on itself

    def open(self) -> None:
        """Do nothing: the connection is made for the first event."""

    def send(self, scene: SentScene, /) -> None:
        """Post the events of a scene.

        Raises:
            OSError: the server cannot be reached, or did not take an event in three tries.
        """
        self._last = scene
        refused: _RefusedError | None = None
        for event in self._events.events(scene):
            body = text_bytes(json_line(event))
            try:
                self._try(body)
            except _RefusedError as error:  # the event counts as told: it would be refused for ever
                refused = error
        if refused is not None:
            raise refused

    def finish(self) -> None:
        """Post the end of each track."""
        if self._last is not None:
            self.send(self._last.without_objects())

    def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _try(self, body: bytes) -> None:
        wait_s = _TRY_AGAIN_S
        for tried in range(1, _TRIES + 1):
            try:
                self._post(body)
                return
            except _RefusedError:
                raise
            except (OSError, http.client.HTTPException) as error:
                self.close()
                if tried == _TRIES or self._closing.wait(wait_s):
                    raise _worded(error) from None
            wait_s *= 2

    def _post(self, body: bytes) -> None:
        """Post a body; follow redirects on the server itself."""
        for _ in range(1 + _MOST_REDIRECTS):
            status, to = self._request(body)
            if 200 <= status < 300:
                return
            if status not in _REDIRECTS:
                break
            self._path = self._redirected(to)
        kind = SendError if status in _TRY_LATER else _RefusedError
        raise kind(f"the server answers {status} {http.client.responses.get(status, '')}".rstrip())

    def _request(self, body: bytes) -> tuple[int, str]:
        """Send a request; return the status of the answer, and the address that it redirects to."""
        if self._connection is None:
            self._connection = self._new_connection()
        self._connection.request("POST", self._path, body, self._headers(body))
        with self._connection.getresponse() as answer:
            answer.read(_MOST_BODY_BYTES)
            ends = not answer.isclosed() or answer.will_close
        if ends:
            self.close()
        return answer.status, answer.headers.get("Location", "")

    def _new_connection(self) -> http.client.HTTPConnection:
        host, port = self._address.host, self._address.port
        if self._address.scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=_ANSWER_S)
        return http.client.HTTPSConnection(
            host, port, timeout=_ANSWER_S, context=ssl.create_default_context()
        )

    def _headers(self, body: bytes) -> dict[str, str]:
        headers = {"Content-Type": "application/json", "User-Agent": "rtsearch"}
        if self._address.secret:
            headers[SIGNATURE_HEADER] = signature(self._address.secret, body)
        if self._address.user or self._address.password:
            pair = f"{self._address.user}:{self._address.password}".encode()
            headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        return headers

    def _redirected(self, to: str) -> str:
        """Return the path that an answer redirects to; it must not lead to another host."""
        here = f"{self._address.scheme}://{_bracketed(self._address.host)}:{self._address.port}"
        try:
            url = urlsplit(urljoin(here + self._path, to))
            port = url.port or (443 if url.scheme == "https" else 80)
        except ValueError:
            raise _RefusedError("the server redirects to no address") from None
        if (url.scheme, url.hostname, port) != (
            self._address.scheme,
            self._address.host,
            self._address.port,
        ):
            raise _RefusedError("the server redirects to another one; give that one's address")
        return f"{url.path or '/'}{'?' if url.query else ''}{url.query}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _worded(error: OSError | http.client.HTTPException) -> OSError:
    if isinstance(error, TimeoutError):
        return SendError(f"no answer within {_ANSWER_S:.0f} s")
    if isinstance(error, OSError):
        return error
    return SendError(f"no answer that is one ({type(error).__name__})")
