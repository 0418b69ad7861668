"""Decide who may do what: Host and Origin checks, token, cookie, roles and security headers.

Loopback alone does not keep other web sites out: a page of any site can open a WebSocket to 127.0.0.1, and a
name that its owner points at 127.0.0.1 gets around the rule of same origin. So the Host header must name this
server, and the Origin of a WebSocket or of a request that changes something must be this server's own.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import socket
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any
from urllib.parse import urlsplit

from cachetools import LRUCache
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from rtsearch.web.problems import RequestError

__all__ = ["LEAST_TOKEN", "Access", "Guard", "Role", "needs"]

LEAST_TOKEN = 8
"""Least number of characters of a token."""
_COOKIE = "rtsearch"
_KEPT_S = 365 * 86_400
_WRONG_TOKENS = 20  # wrong tokens a minute, of all clients together, before no other is looked at
_MOST_REFUSED = 4096  # wrong tokens that are remembered
_MINUTE_S = 60.0
_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; font-src 'self'; "
    "connect-src 'self'; media-src 'self' blob:; manifest-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": _CSP,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(self), screen-wake-lock=(self), microphone=(), geolocation=()",
}

_SECURE_ONLY = "cross-origin-opener-policy"


class Role(IntEnum):
    """Rights of a client, each with those before it."""

    NONE = 0
    VIEWER = 1
    PHONE = 2
    OPERATOR = 3


def _derived(token: str, use: str) -> str:
    """Return a secret made of the token that does not give it away."""
    return hmac.new(token.encode(), f"rtsearch {use}".encode(), hashlib.sha256).hexdigest()[:32]


@dataclass(frozen=True)
class Access:
    """Rules of one server.

    Attributes:
        token: secret of operators; "" lets every client of this machine operate.
        public: clients without a token may look.
        hosts: further names that the Host header may have, beside addresses and this machine's name.
        loopback: the server answers this machine only, so only its own names are allowed.
    """

    token: str = ""
    public: bool = False
    hosts: Collection[str] = ()
    loopback: bool = True
    _wrong_s: deque[float] = field(default_factory=lambda: deque(maxlen=_WRONG_TOKENS))
    _refused: LRUCache[bytes, bool] = field(default_factory=lambda: LRUCache(_MOST_REFUSED))

    @property
    def phone_token(self) -> str:
        """Secret of visitors' phones, which may send pictures and change nothing; "" where none is needed."""
        return _derived(self.token, "phone")[:20] if self.token else ""

    def allows_host(self, host: str) -> bool:
        """Return True if a Host header names this server."""
        name = _host_name(host)
        if name is None:
            return False
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            here = {"localhost"} if self.loopback else {"localhost", *_machine_names()}
            return name in here or name in {known.lower() for known in self.hosts}
        return address.is_loopback or not self.loopback

    def role_of(self, connection: HTTPConnection) -> Role:
        """Return the role of a client.

        A browser sends the cookie of a former token, or of another server of this machine, with each
        request. So a token that was refused is no new guess when it comes again: it is passed over. The
        secrets of cookies, which cannot be guessed, are taken after any number of wrong tokens: a stranger
        shuts no browser out that has been let in.

        Raises:
            RequestError: 429 after many wrong tokens.
        """
        if not self.token:
            return Role.OPERATOR
        given = [text for text in _given_tokens(connection) if _digest(text) not in self._refused]
        if given:
            now_s = time.monotonic()
            full = len(self._wrong_s) == _WRONG_TOKENS and now_s - self._wrong_s[0] < _MINUTE_S
            roles = [self._role_with(text, cookies_alone=full) for text in given]
            if full and not any(roles):
                raise RequestError(429, "too many wrong tokens; wait a minute")
            for text, role in zip(given, roles, strict=True):
                if role is Role.NONE and not full:  # a phone that guesses is counted, too
                    self._refused[_digest(text)] = True
                    self._wrong_s.append(now_s)
            if any(roles):
                return max(roles)
        return Role.VIEWER if self.public else Role.NONE

    def _role_with(self, text: str, *, cookies_alone: bool) -> Role:
        """Return the role that a token or the secret of a cookie gives, NONE for a wrong one."""
        cookies = (
            (Role.OPERATOR, _derived(self.token, "cookie")),
            (Role.PHONE, _derived(self.token, "phone cookie")),
        )
        tokens = ((Role.OPERATOR, self.token), (Role.PHONE, self.phone_token))
        known = cookies if cookies_alone else cookies + tokens
        return max(role if _same(text, secret) else Role.NONE for role, secret in known)

    def cookie(self, role: Role, *, secure: bool) -> str:
        """Return the Set-Cookie header that keeps a role."""
        value = _derived(self.token, "cookie" if role is Role.OPERATOR else "phone cookie")
        flags = "; Secure" if secure else ""
        return f"{_COOKIE}={value}; Max-Age={_KEPT_S}; Path=/; HttpOnly; SameSite=Strict{flags}"


def _same(given: str, secret: str) -> bool:
    """Compare in a time that does not depend on where two texts differ, nor on their lengths."""
    return hmac.compare_digest(_digest(given), _digest(secret))


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _given_tokens(connection: HTTPConnection) -> list[str]:
    scheme, _, bearer = connection.headers.get("authorization", "").partition(" ")
    given = [bearer.strip()] if scheme.lower() == "bearer" else []
    given += [connection.query_params.get("token", ""), connection.cookies.get(_COOKIE, "")]
    return [text for text in given if text]


def _host_name(host: str) -> str | None:
    """Return the name of a Host header in lower case, without its port; None of one that is malformed."""
    match = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([\w.-]+))(?::\d{1,5})?", host)
    return None if match is None else (match[1] or match[2]).lower().rstrip(".")


def _machine_names() -> set[str]:
    name = socket.gethostname().lower()
    return {name, name.partition(".")[0], f"{name.partition('.')[0]}.local"}


class Guard:
    """ASGI middleware that refuses requests of strangers and adds the security headers.

    Args:
        app: is served.
        access: the rules.
    """

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or WebSocket."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = dict(_HEADERS)
        if scope["scheme"] in ("http", "ws") and not self._access.loopback:
            del headers[_SECURE_ONLY]  # browsers complain of it on pages by http

        async def with_headers(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                MutableHeaders(scope=message).update(headers)
            await send(message)

        try:
            scope["role"] = self._check(scope, headers)
        except RequestError as problem:
            refusal = JSONResponse({"error": str(problem)}, problem.status)
            if scope["type"] == "websocket":
                await WebSocket(scope, receive, with_headers).send_denial_response(refusal)
            else:
                await refusal(scope, receive, with_headers)
            return
        await self._app(scope, receive, with_headers)

    def _check(self, scope: Scope, headers: dict[str, str]) -> Role:
        given = Headers(scope=scope)
        host = given.get("host", "")
        if not self._access.allows_host(host):
            raise RequestError(421, "this server has another name; web.hosts adds names")
        changes = scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD")
        origin = given.get("origin")
        if changes and origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            raise RequestError(403, "requests of other sites are refused")
        connection = HTTPConnection(scope)
        role = self._access.role_of(connection)
        by_link = scope["type"] == "http" and connection.query_params.get("token")
        if by_link and self._access.token and role >= Role.PHONE:
            headers["set-cookie"] = self._access.cookie(role, secure=scope["scheme"] == "https")
        return role


def needs(role: Role) -> Callable[[Callable[..., Awaitable[Any]]], Callable[..., Awaitable[Any]]]:
    """Return a decorator of endpoints that lets only clients with a role in."""

    def decorate(endpoint: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def guarded(connection: HTTPConnection) -> Any:
            if connection.scope["role"] >= role:
                return await endpoint(connection)
            refusal = JSONResponse({"error": "a token is needed: open the address that was printed"}, 401)
            if isinstance(connection, WebSocket):
                await connection.send_denial_response(refusal)
                return None
            return refusal

        guarded.__name__ = getattr(endpoint, "__name__", "endpoint")
        return guarded

    return decorate
