"""Serve the search itself to other machines: nearest rows of vectors, facts about rows, crops.

Whoever has the token may search, as all that is known of a row comes with it; see ``service.protocol`` for
the bytes. Searches run in threads, so that the server goes on meanwhile.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rtsearch.config import SearchSettings
from rtsearch.library.search_index import Narrowed
from rtsearch.search.arrays import MOST_DIM
from rtsearch.service import Answers, NoShardError, StateGoneError
from rtsearch.service.protocol import (
    MOST_K,
    MOST_QUERIES,
    MOST_ROWS,
    read_points,
    read_rows,
    write_answer,
)
from rtsearch.web.access import Role, needs
from rtsearch.web.problems import RequestError, read_body, whole_number

__all__ = ["VectorSearch"]

_T = TypeVar("_T")
_MOST_NAMES = 100  # classes, or folders, that a search may be narrowed to
_MOST_NAME = 1000
_BYTES = "application/octet-stream"
_SHA256 = re.compile(r"[0-9a-f]{64}|")
_FOR_EVER = {"cache-control": "private, max-age=31536000, immutable"}


class VectorSearch:
    """Endpoints of the search.

    Args:
        answers: for the library.
    """

    def __init__(self, answers: Answers) -> None:
        self._answers = answers

    @property
    def routes(self) -> list[Route]:
        """Routes of the endpoints."""
        at = "/api/index/{state}"
        return [
            Route("/api/index", needs(Role.OPERATOR)(self._about)),
            Route(f"{at}/projection", needs(Role.OPERATOR)(self._projection)),
            Route(f"{at}/narrowed", needs(Role.OPERATOR)(self._narrowed)),
            Route(f"{at}/near", needs(Role.OPERATOR)(self._near), methods=["POST"]),
            Route(f"{at}/rows", needs(Role.OPERATOR)(self._rows), methods=["POST"]),
            Route(f"{at}/crops/{{row:whole}}.jpg", needs(Role.OPERATOR)(self._crop)),
        ]

    async def _about(self, request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(self._answers.about))

    async def _projection(self, request: Request) -> Response:
        name = _state(request)
        return Response(await _told(lambda: self._answers.projection(name)), media_type=_BYTES)

    async def _narrowed(self, request: Request) -> Response:
        name, by = _state(request), _narrowing(request)
        await _told(lambda: self._answers.index(name, by))
        return JSONResponse({})

    async def _near(self, request: Request) -> Response:
        name, by, how = _state(request), _narrowing(request), _how(request)
        k = whole_number(request, "k", 1, MOST_K)
        body = await read_body(request, 4 * MOST_DIM * MOST_QUERIES)

        def answer() -> bytes:
            index = self._answers.index(name, by)
            return write_answer(self._answers.near(index, read_points(body, index.dim), k, how))

        return Response(await _told(answer), media_type=_BYTES)

    async def _rows(self, request: Request) -> Response:
        name, by = _state(request), _narrowing(request)
        body = await read_body(request, 4 * MOST_ROWS)

        def answer() -> bytes:
            index = self._answers.index(name, by)
            return write_answer(self._answers.rows(index, read_rows(body, len(index))))

        return Response(await _told(answer), media_type=_BYTES)

    async def _crop(self, request: Request) -> Response:
        name, row = _state(request), request.path_params["row"]
        jpeg = await _told(lambda: self._answers.crop(name, row))
        if jpeg is None:
            raise RequestError(404, "there is no such crop, or it is damaged: rtsearch library check")
        return Response(jpeg, media_type="image/jpeg", headers=_FOR_EVER)


async def _told(work: Callable[[], _T]) -> _T:
    """Return what work in a thread returns; a state that is gone gets a status of its own."""
    try:
        return await run_in_threadpool(work)
    except StateGoneError as error:
        raise RequestError(410, str(error)) from None
    except NoShardError as error:
        raise RequestError(503, str(error)) from None


def _state(request: Request) -> str:
    return str(request.path_params["state"])[:200]


def _how(request: Request) -> SearchSettings:
    query = request.query_params
    try:
        return SearchSettings(exact=query.get("exact", "0") == "1", recall=float(query.get("recall", "0.98")))
    except (ValueError, ValidationError):
        raise RequestError(422, "recall: expected a number as search.recall takes it") from None


def _narrowing(request: Request) -> Narrowed:
    """Return what a search is narrowed by."""
    query = request.query_params
    names = {name: tuple(query.getlist(name)) for name in ("classes", "folders")}
    texts = {name: query.get(name, "") for name in ("since", "until", "leave_out")}
    every = [*names["classes"], *names["folders"], *texts.values()]
    if max(map(len, names.values())) > _MOST_NAMES or max(map(len, every)) > _MOST_NAME:
        raise RequestError(422, f"at most {_MOST_NAMES} classes and folders of {_MOST_NAME} characters")
    try:
        dates = SearchSettings(since=texts["since"]), SearchSettings(since=texts["until"])
    except ValidationError:
        raise RequestError(422, "since, until: expected a date, or date and time, in ISO format") from None
    if not _SHA256.fullmatch(texts["leave_out"]):
        raise RequestError(422, "leave_out: expected the SHA-256 of a file, in hex")
    return Narrowed(
        **names,
        since=dates[0].since,
        until=dates[1].since,
        distinct=query.get("distinct", "0") == "1",
        leave_out=texts["leave_out"],
    )
