"""Ask a server over HTTP; connections are kept, and one that was lost is looked for in the background."""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import queue
import socket
import ssl
import threading

from rtsearch._util.closing import Closing
from rtsearch._util.wording import one_line
from rtsearch.errors import ServiceError
from rtsearch.service.address import ServiceAddress

__all__ = ["Connection", "RefusedError"]

_log = logging.getLogger(__name__)

_ANSWER_S = 2.0  # for one answer, after which frames go on without it
_AGAIN_S = 1.0  # between two looks for a server that went away
_JOIN_S = 3.0
_KEPT = 16  # idle connections
_MOST_ERROR_BYTES = 1 << 16
_LOST = (OSError, http.client.HTTPException)


class Connection(Closing):
    """Connection to a server, for any number of threads.

    Args:
        address: of the server.
    """

    def __init__(self, address: ServiceAddress) -> None:
        self.address = address
        self._idle: queue.LifoQueue[http.client.HTTPConnection] = queue.LifoQueue(_KEPT)
        self._lock = threading.Lock()
        self._has_answered = False  # a server that never did is not looked for
        self._away = ""  # reason why it is looked for
        self._closed = threading.Event()
        self._looking: threading.Thread | None = None

    def get(self, path: str, most_bytes: int, timeout_s: float = _ANSWER_S) -> bytes:
        """Return the body of an answer; see ``post``."""
        return self._ask("GET", path, None, most_bytes, timeout_s)

    def post(self, path: str, body: bytes, most_bytes: int) -> bytes:
        """Send a body and return that of the answer.

        Args:
            path: with its query.
            body: of the question.
            most_bytes: longest answer that is read.

        Raises:
            ServiceError: the server is away, refuses, or answers too much.
        """
        return self._ask("POST", path, body, most_bytes, _ANSWER_S)

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):  # it was never whole
            self.close()

    def close(self) -> None:
        """End the search for the server, and its connections."""
        self._closed.set()
        if self._looking is not None:
            self._looking.join(_JOIN_S)
        with contextlib.suppress(queue.Empty):
            while True:
                self._idle.get_nowait().close()

    def _ask(self, method: str, path: str, body: bytes | None, most_bytes: int, timeout_s: float) -> bytes:
        if self._away:
            raise ServiceError(f"{self.address} is away: {self._away}")
        try:
            return self._tried(method, path, body, most_bytes, timeout_s)
        except _LOST as error:
            if isinstance(error, ServiceError):
                raise
            reason = _reason(error)
            if self._has_answered:
                self._look_for(reason)
            raise ServiceError(
                f"{self.address} does not answer: {reason}; is rtsearch serve running there?"
            ) from None

    def _tried(self, method: str, path: str, body: bytes | None, most_bytes: int, timeout_s: float) -> bytes:
        """Ask over a kept connection, and over a new one where the server has ended that meanwhile."""
        with contextlib.suppress(queue.Empty):
            kept = self._idle.get_nowait()
            try:
                return self._over(kept, method, path, body, most_bytes, timeout_s)
            except (http.client.RemoteDisconnected, ConnectionError):
                kept.close()
        return self._over(self._opened(timeout_s), method, path, body, most_bytes, timeout_s)

    def _opened(self, timeout_s: float) -> http.client.HTTPConnection:
        host, port = self.address.host, self.address.port
        if self.address.scheme == "https":
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(host, port, timeout=timeout_s, context=context)
        return http.client.HTTPConnection(host, port, timeout=timeout_s)

    def _over(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: bytes | None,
        most_bytes: int,
        timeout_s: float,
    ) -> bytes:
        headers = {"authorization": f"Bearer {self.address.token}"} if self.address.token else {}
        try:
            if connection.sock is not None:
                connection.sock.settimeout(timeout_s)
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            if answer.status != http.client.OK:
                raise self._refusal(answer)
            content = answer.read(most_bytes + 1)
            if len(content) > most_bytes:
                raise ServiceError(
                    f"{self.address} answers more than {most_bytes:,} bytes; is it rtsearch serve?"
                )
        except BaseException:
            connection.close()
            raise
        self._has_answered = True
        try:
            self._idle.put_nowait(connection)
        except queue.Full:
            connection.close()
        return content

    def _refusal(self, answer: http.client.HTTPResponse) -> ServiceError:
        """Return the error that a server tells."""
        reason = f"{answer.status} {answer.reason}"
        with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
            reason = str(json.loads(answer.read(_MOST_ERROR_BYTES))["error"])[:500]
        if answer.status == http.client.UNAUTHORIZED:
            return ServiceError(
                f"{self.address} needs a token: give the address that it printed, or RTSEARCH_TOKEN"
            )
        if answer.status == http.client.NOT_FOUND:
            reason = f"{reason}; it serves no library to others, or is of another version"
        return RefusedError(f"{self.address}: {one_line(reason)}", answer.status)

    def _look_for(self, reason: str) -> None:
        """Look for the server in a thread until it answers; meanwhile nobody waits for it."""
        with self._lock:
            if self._away or self._closed.is_set():
                return
            self._away = reason
            self._looking = threading.Thread(target=self._look, name="service", daemon=True)
            self._looking.start()
        _log.warning("%s does not answer (%s); it is looked for", self.address, reason)

    def _look(self) -> None:
        while not self._closed.wait(_AGAIN_S):
            try:
                opened = self._opened(_ANSWER_S)
                with contextlib.closing(opened):
                    opened.request("GET", "/api/index", headers={})
                    opened.getresponse()
            except _LOST as error:
                self._away = _reason(error)
            else:
                self._away = ""
                _log.warning("%s answers again", self.address)
                return


class RefusedError(ServiceError):
    """A server refuses a request.

    Attributes:
        status: of HTTP.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, socket.gaierror):
        return "its name is not known"
    if isinstance(error, http.client.HTTPException):
        return f"no answer in HTTP ({type(error).__name__})"
    return getattr(error, "strerror", None) or one_line(error)
