"""Put the endpoints of a site together as an ASGI application."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import BaseRoute

from rtsearch.errors import RtsearchError
from rtsearch.web.access import Access, Guard
from rtsearch.web.control import ControlPanel
from rtsearch.web.lookup import LibraryLookup
from rtsearch.web.pages import Pages
from rtsearch.web.phones import Phones
from rtsearch.web.problems import answer_problem
from rtsearch.web.site import SearchSite, Site
from rtsearch.web.status import Status
from rtsearch.web.streams import LiveStreams
from rtsearch.web.vectors import VectorSearch
from rtsearch.web.wall import LibraryWall
from rtsearch.web.word_lookup import WordLookup

__all__ = ["make_app"]


def make_app(site: Site | SearchSite) -> Starlette:
    """Return the application that serves a site."""
    if isinstance(site, SearchSite):
        return _guarded(VectorSearch(site.answers).routes, site.access)
    streams, phones = LiveStreams(site), Phones(site)
    routes = [
        *Pages(site).routes,
        *streams.routes,
        phones.route,
        *LibraryLookup(site).routes,
        *LibraryWall(site).routes,
        WordLookup(site).route,
        *VectorSearch(site.answers).routes,
        *ControlPanel(site).routes,
        *Status(site, streams, phones).routes,
    ]
    return _guarded(routes, site.access)


def _guarded(routes: Sequence[BaseRoute], access: Access) -> Starlette:
    return Starlette(
        routes=routes,
        middleware=[Middleware(Guard, access=access)],
        exception_handlers={RtsearchError: answer_problem},
    )
