"""Read bodies and numbers of requests within bounds, and answer what cannot be served with a line of JSON.

A number is parsed once; the value that was checked is the one that is used.
"""

from __future__ import annotations

import json
import re
import time
from collections import OrderedDict
from typing import Any

from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from rtsearch.errors import RtsearchError

__all__ = [
    "RateLimit",
    "RequestError",
    "answer_problem",
    "read_body",
    "read_json",
    "whole_number",
    "whole_numbers",
]

_MOST_JSON_BYTES = 1 << 16
_MOST_CLIENTS = 1024  # addresses that a limit remembers
_WHOLE = "[0-9]{1,9}"


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


class _Whole(Convertor[int]):
    """Part of a path: ``{row:whole}``; longer numbers and other texts are of no path that there is."""

    regex = _WHOLE

    def convert(self, value: str) -> int:
        return int(value)

    def to_string(self, value: int) -> str:
        return str(value)


register_url_convertor("whole", _Whole())


def whole_number(request: Request, name: str, least: int, most: int, default: int | None = None) -> int:
    """Return a parameter of a request's query.

    Args:
        request: is served.
        name: of the parameter.
        least, most: its range.
        default: where the request does not have it; None if it must.

    Raises:
        RequestError: 422, it is no whole number, or out of its range.
    """
    text = request.query_params.get(name)
    if text is None and default is not None:
        return default
    value = _parsed(text or "")
    if value is None or not least <= value <= most:
        raise RequestError(422, f"{name}: expected a whole number from {least} to {most}")
    return value


def whole_numbers(request: Request, name: str, most: int) -> list[int]:
    """Return a parameter of a request's query that is a list of whole numbers, at most ``most``.

    Raises:
        RequestError: 422, it is none, or too long.
    """
    values = [_parsed(text) for text in request.query_params.get(name, "").split(",")[: most + 1]]
    found = [value for value in values if value is not None]
    if len(found) != len(values) or len(found) > most:
        raise RequestError(422, f"{name}: expected at most {most} whole numbers, with commas between them")
    return found


def _parsed(text: str) -> int | None:
    return int(text) if re.fullmatch(_WHOLE, text) else None


async def read_body(request: Request, most_bytes: int) -> bytes:
    """Read the body of a request.

    Raises:
        RequestError: 413, it is larger than allowed; what comes after that is not read.
    """
    too_large = RequestError(413, f"the body is larger than {most_bytes:,} bytes")
    promised = _parsed(request.headers.get("content-length", "0"))
    if promised is None or promised > most_bytes:
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
