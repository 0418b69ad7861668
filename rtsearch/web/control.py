"""Serve settings and commands: what the window's keys and sliders do."""

from __future__ import annotations

from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rtsearch.web.access import Role, needs
from rtsearch.web.problems import RequestError, read_json
from rtsearch.web.site import Site

__all__ = ["ControlPanel"]

_MOST_S = 1_000_000


class ControlPanel:
    """Endpoints that change what is shown.

    Args:
        site: is served.
    """

    def __init__(self, site: Site) -> None:
        self._site = site

    @property
    def routes(self) -> list[Route]:
        """Routes of the endpoints."""
        return [
            Route("/api/settings", needs(Role.OPERATOR)(self._settings)),
            Route("/api/settings", needs(Role.OPERATOR)(self._change), methods=["PATCH"]),
            Route("/api/control", needs(Role.OPERATOR)(self._control), methods=["POST"]),
            Route("/api/classes", needs(Role.OPERATOR)(self._classes)),
        ]

    async def _settings(self, request: Request) -> Response:
        return JSONResponse(self._site.settings_json())

    async def _change(self, request: Request) -> Response:
        changes = await read_json(request)
        await run_in_threadpool(self._site.change, changes)
        return JSONResponse(self._site.settings_json())

    async def _classes(self, request: Request) -> Response:
        counts = await run_in_threadpool(lambda: self._site.class_counts)
        return JSONResponse({"classes": list(self._site.names), "objects": counts})

    async def _control(self, request: Request) -> Response:
        order = await read_json(request)
        controls, do = self._site.controls, order.get("do")
        if do in ("pause", "resume"):
            controls.change(paused=do == "pause")
        elif do == "step":
            controls.step()
        elif do == "step back":
            controls.step_back()
        elif do == "seek":
            controls.seek(_seconds(order, "to_s"))
        elif do == "skip":
            controls.skip(_seconds(order, "by_s"))
        else:
            raise RequestError(422, "do: expected pause, resume, step, step back, seek or skip")
        return JSONResponse({"paused": controls.now.paused})


def _seconds(order: dict[str, Any], name: str) -> float:
    value = order.get(name)
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _MOST_S:  # no NaN is
        return float(value)
    raise RequestError(422, f"{name}: expected seconds, a number from {-_MOST_S:,} to {_MOST_S:,}")
