"""Serve what goes on: scenes over a WebSocket, the composed picture as MJPEG, the newest scene as JSON."""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
from collections.abc import AsyncIterator
from dataclasses import replace

import numpy as np
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from rtsearch.images.encode import encode_jpeg
from rtsearch.live.compositor import crop_height
from rtsearch.live.library_crops import LibraryCrops
from rtsearch.live.mosaic import Mosaic, cell_settings
from rtsearch.render.layout import canvas_of
from rtsearch.render.painter import Painter
from rtsearch.types import Scene
from rtsearch.web.access import Role, needs
from rtsearch.web.problems import RequestError, whole_number
from rtsearch.web.site import Site
from rtsearch.web.viewer import Viewer
from rtsearch.web.wire import VERSION, scene_line

__all__ = ["LiveStreams"]

_PICTURES_PER_S = 15.0  # of the composed picture, which is drawn for this stream alone
_BOUNDARY = "frame"
_MOST_STREAMS = 8
_MOST_PLACE = 999_999
_WIDTH = re.compile("w([0-9]{1,5})")


class LiveStreams:
    """Endpoints of the live picture.

    Args:
        site: is served.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._picture = _ComposedPicture(site)
        self._streams = 0

    @property
    def streams(self) -> int:
        """Number of clients of the composed picture."""
        return self._streams

    @property
    def routes(self) -> list[BaseRoute]:
        """Routes of the endpoints."""
        return [
            WebSocketRoute("/ws", needs(Role.VIEWER)(self._scenes)),
            Route("/api/scene", needs(Role.VIEWER)(self._scene)),
            Route("/stream.mjpg", needs(Role.VIEWER)(self._mjpeg)),
        ]

    async def _scenes(self, socket: WebSocket) -> None:
        hub = self._site.hub
        if hub.viewers >= self._site.settings.web.clients:
            await socket.send_denial_response(JSONResponse({"error": "too many clients look already"}, 429))
            return
        viewer = Viewer(confirms=socket.query_params.get("confirm") == "1")
        hub.join(viewer)
        sender = None
        try:
            await socket.accept()
            sender = asyncio.create_task(_send(socket, viewer))
            while True:
                text = await socket.receive_text()
                if text == "ok":
                    viewer.confirm()
                elif text.startswith("t") and len(text) < 40:  # a viewer measures how far away the server is
                    viewer.echo(text)
                elif (said := _WIDTH.fullmatch(text)) is not None:
                    hub.resize(viewer, int(said[1]))
        except (WebSocketDisconnect, KeyError, RuntimeError):  # bytes came, or it has gone
            pass
        finally:
            hub.part(viewer)
            if sender is not None:
                sender.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await sender

    async def _scene(self, request: Request) -> Response:
        newest = self._site.hub.newest()
        if not newest:
            raise RequestError(404, "nothing is shown yet; sources are given with --source")
        place = whole_number(request, "place", 0, _MOST_PLACE, min(newest))
        if place not in newest:
            raise RequestError(
                404, f"there is no such place; there are: {', '.join(map(str, sorted(newest)))}"
            )
        shown = newest[place]
        shows = request.scope["role"] >= Role.OPERATOR
        served = self._site.library_of(shown.scene.library) if shows else None
        library = None if served is None else served.index
        line = await run_in_threadpool(scene_line, shown.scene, self._site.names, shown.t_s, library)
        return JSONResponse({"v": VERSION, "place": place, **line})

    async def _mjpeg(self, request: Request) -> Response:
        if self._streams >= _MOST_STREAMS:
            raise RequestError(429, "too many clients take this stream already")
        kind = f"multipart/x-mixed-replace; boundary={_BOUNDARY}"
        return StreamingResponse(self._pictures(), media_type=kind, headers={"cache-control": "no-store"})

    async def _pictures(self) -> AsyncIterator[bytes]:
        self._streams += 1
        last = None
        try:
            while True:
                jpeg = await run_in_threadpool(self._picture.jpeg)
                if jpeg is not last:
                    last = jpeg
                    yield b"--%b\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%b\r\n" % (
                        _BOUNDARY.encode(),
                        len(jpeg),
                        jpeg,
                    )
                await asyncio.sleep(1 / _PICTURES_PER_S)
        finally:
            self._streams -= 1


async def _send(socket: WebSocket, viewer: Viewer) -> None:
    while True:
        data = await viewer.take()
        if isinstance(data, str):
            await socket.send_text(data)
        else:
            await socket.send_bytes(data)


class _ComposedPicture:
    """The picture that a window would show, drawn when it is asked for and once for all clients."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._lock = threading.Lock()
        self._crops = LibraryCrops(site.settings.live.cache_mb << 20, site.settings.show.font)
        self._painters: dict[int, Painter] = {}
        self._drawn: list[Scene] = []
        self._mosaic: tuple[int, Mosaic] = (0, Mosaic(1))
        self._jpeg = b""

    def jpeg(self) -> bytes:
        """Return the newest picture as JPEG."""
        newest = self._site.hub.newest()
        scenes = [newest[place].scene for place in sorted(newest)]
        with self._lock:
            same = len(scenes) == len(self._drawn) and all(map(lambda a, b: a is b, scenes, self._drawn))
            if not same or not self._jpeg:
                self._jpeg = self._compose(scenes)
                self._drawn = scenes
            return self._jpeg

    def _compose(self, scenes: list[Scene]) -> bytes:
        show = self._site.controls.now.show
        if self._mosaic[0] != len(scenes):
            self._mosaic = len(scenes), Mosaic(max(1, len(scenes)))
            self._painters = {}
        picture = np.full((show.window_wh[1], show.window_wh[0], 3), 22, np.uint8)
        for place, scene in enumerate(scenes):
            cell = cell_settings(show, place, len(scenes))
            height = crop_height(cell, scene.frame, scene.rows)
            served = self._site.library_of(scene.library)  # None: it is long gone, and so are its crops
            crops = None if served is None else self._crops.of(served.index)
            thumbs = tuple(
                tuple(None if crops is None else crops.get(row, height) for row in line if row >= 0)
                for line in scene.neighbours.row.tolist()
            )
            painter = self._painters.setdefault(place, Painter())
            drawn = painter.paint(replace(scene, thumb_height=height, thumbs=thumbs), canvas_of(cell))
            picture = self._mosaic[1].put(place, drawn, show.window_wh)
        return encode_jpeg(picture)
