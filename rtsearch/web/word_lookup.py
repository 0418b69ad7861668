"""Find objects of the library by words."""

from __future__ import annotations

import threading
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rtsearch.errors import MissingDependencyError, ModelError, WordsError
from rtsearch.library.index import SearchIndex
from rtsearch.web.access import Role, needs
from rtsearch.web.problems import RateLimit, RequestError, whole_number
from rtsearch.web.site import Site
from rtsearch.words import WordSearch, pair_of

__all__ = ["WordLookup"]

_MOST_FOUND = 200
_MOST_TEXT = 1000  # characters
_SEARCHES_PER_S = 4.0


class WordLookup:
    """Endpoint of searches by words.

    Args:
        site: is served.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._rate = RateLimit(_SEARCHES_PER_S, burst=20)
        self._opening = threading.Lock()
        self._opened: tuple[str, WordSearch] | None = None  # by the state of its library

    @property
    def route(self) -> Route:
        """Route of the endpoint."""
        return Route("/api/find", needs(Role.VIEWER)(self._find))

    async def _find(self, request: Request) -> Response:
        self._rate.take(request)
        text = request.query_params.get("words", "")
        if len(text) > _MOST_TEXT:
            raise RequestError(422, f"words: expected at most {_MOST_TEXT} characters, got {len(text):,}")
        k = whole_number(request, "k", 1, _MOST_FOUND, 48)
        found = await run_in_threadpool(self._answer, text, k)
        if request.scope["role"] < Role.OPERATOR:
            found["objects"] = [{**item, "photo": ""} for item in found["objects"]]
        return JSONResponse(found)

    def _answer(self, text: str, k: int) -> dict[str, Any]:
        index = self._site.searched
        answer = self._search_of(index).understand(text)(index, k)
        return {
            "words": text,
            "library": index.library.state,
            "looked_for": answer.looked_for,
            "objects": answer.objects,
        }

    def _search_of(self, index: SearchIndex) -> WordSearch:
        """Return the search of a state of the library, opened when the first request asks for it."""
        with self._opening:
            state = index.library.state
            if self._opened is None or self._opened[0] != state:
                self._opened = state, self._open(index)
            return self._opened[1]

    def _open(self, index: SearchIndex) -> WordSearch:
        """Open a search with the pair that made vectors of the crops, if it is here and knows all of them."""
        library = index.library
        pair = self._site.settings.describe.text or pair_of(library)
        if pair and len(index):
            try:
                return WordSearch(library, pair)
            except (WordsError, ModelError, MissingDependencyError) as error:
                self._site.tell(f"{error}; the page looks for words by classes and colours")
        return WordSearch(library)
