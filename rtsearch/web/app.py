"""Put the endpoints of a site together as an ASGI application."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.middleware import Middleware

from rtsearch.errors import RtsearchError
from rtsearch.web.access import Guard
from rtsearch.web.control import ControlPanel
from rtsearch.web.lookup import LibraryLookup
from rtsearch.web.pages import Pages
from rtsearch.web.phones import Phones
from rtsearch.web.problems import answer_problem
from rtsearch.web.site import Site
from rtsearch.web.status import Status
from rtsearch.web.streams import LiveStreams
from rtsearch.web.wall import LibraryWall
from rtsearch.web.word_lookup import WordLookup

__all__ = ["make_app"]


def make_app(site: Site) -> Starlette:
    """Return the application that serves a site."""
    streams, phones = LiveStreams(site), Phones(site)
    return Starlette(
        routes=[
            *Pages(site).routes,
            *streams.routes,
            phones.route,
            *LibraryLookup(site).routes,
            *LibraryWall(site).routes,
            WordLookup(site).route,
            *ControlPanel(site).routes,
            *Status(site, streams, phones).routes,
        ],
        middleware=[Middleware(Guard, access=site.access)],
        exception_handlers={RtsearchError: answer_problem},
    )
