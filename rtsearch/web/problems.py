"""Answer a request that cannot be served with one line of JSON, and keep bodies and rates within bounds."""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from rtsearch.errors import RtsearchError

__all__ = ["RateLimit", "RequestError", "answer_problem", "read_body", "read_json"]

_MOST_JSON_BYTES = 1 << 16
_MOST_CLIENTS = 1024  # addresses that a limit remembers


class RequestError(RtsearchError):
    """A request that cannot be served.

    Args:
        status: HTTP status of the answer.
        message: says what is wrong and what to do.
        detail: further facts for programs, as JSON.
    """

    def __init__(self, status: int, message: str, detail: Any = None) -> None:
        super().__init__(message)
        self.status = status
        self.detail = detail


def answer_problem(request: Request, error: Exception) -> Response:
    """Return the answer to a RequestError, or to another error that rtsearch raises on purpose."""
    status = error.status if isinstance(error, RequestError) else 422
    content: dict[str, Any] = {"error": str(error)}
    if isinstance(error, RequestError) and error.detail is not None:
        content["detail"] = error.detail
    return JSONResponse(content, status, {"connection": "close"} if status == 413 else None)


async def read_body(request: Request, most_bytes: int) -> bytes:
    """Read the body of a request.

    Raises:
        RequestError: 413, it is larger than allowed; what comes after that is not read.
    """
    too_large = RequestError(413, f"the body is larger than {most_bytes:,} bytes")
    promised = request.headers.get("content-length", "0")
    if not promised.isdecimal() or int(promised) > most_bytes:
        raise too_large
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > most_bytes:
            raise too_large
    return bytes(body)


async def read_json(request: Request) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        RequestError: 400, it is none; 413, it is too large.
    """
    try:
        value = json.loads(await read_body(request, _MOST_JSON_BYTES))
    except (ValueError, RecursionError):
        raise RequestError(400, "the body is not JSON") from None
    if not isinstance(value, dict):
        raise RequestError(400, "expected a JSON object")
    return value


class RateLimit:
    """Limit on the requests of each client.

    Args:
        per_s: requests a second in the long run.
        burst: requests at once.
    """

    def __init__(self, per_s: float, burst: int) -> None:
        self._per_s = per_s
        self._burst = burst
        self._left: OrderedDict[str, tuple[float, float]] = (
            OrderedDict()
        )  # by client: requests left, and when

    def take(self, request: Request) -> None:
        """Count a request.

        Raises:
            RequestError: 429, there were too many lately.
        """
        client = request.client.host if request.client is not None else ""
        now_s = time.monotonic()
        left, then_s = self._left.pop(client, (float(self._burst), now_s))
        left = min(self._burst, left + (now_s - then_s) * self._per_s)
        if len(self._left) >= _MOST_CLIENTS:
            self._left.popitem(last=False)
        self._left[client] = (left - 1 if left >= 1 else left), now_s
        if left < 1:
            raise RequestError(429, f"too many requests; at most {self._per_s:g} a second")
