"""Serve the library as a wall: every object in a cell of a grid, similar ones beside each other, as tiles.

rows of a class -> order along two main axes (at once) -> arranged in a thread (``render.grid_sort``)
cell size -> tile of 512 px, made of the crops it shows, when it is asked for

100,000 objects are ordered in 0.1 s of CPU and arranged in 15 s; meanwhile the page shows the order. Of the
objects in adjacent cells 9 % are among the nearest 400 before, 58 % after. A crop in a tile takes 0.07 ms.
"""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass
from typing import NamedTuple, cast

import anyio
import cv2
import numpy as np
from cachetools import LRUCache
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rtsearch.library.index import SearchIndex
from rtsearch.library.thumbnails import ThumbCache
from rtsearch.render.grid_sort import arrange, first_order, grid_shape
from rtsearch.types import F32Array, I32Array, I64Array, U8Array
from rtsearch.web.access import Role, needs
from rtsearch.web.lookup import FOR_EVER
from rtsearch.web.problems import RequestError
from rtsearch.web.site import Site

__all__ = ["SIZES_PX", "LibraryWall"]

SIZES_PX = (4, 8, 16, 32, 64, 128)
"""Sides of a cell that there are tiles for, px."""

_TILE_PX = 512
_DIMENSIONS = 8  # of the vectors that are arranged: ten times as fast as 64, and hardly another picture
_SMALL_PX = 8  # crops of this size are kept for all objects, 192 bytes each
_GROUND = 15
_TILE_CACHE_BYTES = 48 << 20
_MOST_WALLS = 16
_AT_ONCE = 2  # tiles that are made at the same time
_YIELDS_S = 0.01  # of each round, in which the live picture has Python's lock


@dataclass(frozen=True, slots=True)
class _Wall:
    """Arrangement of some rows.

    Attributes:
        key: names it in addresses.
        grid: (lines, columns) int32, row of each cell, -1 for none.
        crops: of these rows.
        ready: it is final.
    """

    key: str
    grid: I32Array
    crops: _SmallCrops
    ready: bool


class _Which(NamedTuple):
    """Objects that are arranged: of a state of the library, in a projection, of a class ("" for all)."""

    state: str
    meaning: float
    label: str


class LibraryWall:
    """Endpoints of the wall.

    Args:
        site: is served.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._lock = threading.Lock()
        self._walls: LRUCache[_Which, _Wall] = LRUCache(_MOST_WALLS)
        self._by_key: LRUCache[str, _Wall] = LRUCache(2 * _MOST_WALLS)
        self._tiles: LRUCache[tuple[str, int, int, int], bytes] = LRUCache(_TILE_CACHE_BYTES, getsizeof=len)
        self._crops: LRUCache[str, _SmallCrops] = LRUCache(2)  # by state of the library
        self._turns: anyio.CapacityLimiter | None = None

    @property
    def routes(self) -> list[Route]:
        """Routes of the endpoints."""
        return [
            Route("/api/wall", needs(Role.VIEWER)(self._wall)),
            Route("/api/wall/{key}/at", needs(Role.VIEWER)(self._at)),
            Route("/api/wall/{key}/cells", needs(Role.VIEWER)(self._cells)),
            Route("/wall/{key}/{size:int}/{x:int}/{y:int}.jpg", needs(Role.VIEWER)(self._tile)),
        ]

    async def _wall(self, request: Request) -> Response:
        label = request.query_params.get("label", "")
        wall = await anyio.to_thread.run_sync(self._arranged, label)
        lines, columns = wall.grid.shape
        counts = await anyio.to_thread.run_sync(self._site.class_counts)
        return JSONResponse(
            {
                "key": wall.key,
                "columns": columns,
                "rows": lines,
                "objects": int((wall.grid >= 0).sum()),
                "labels": counts,
                "ready": wall.ready,
            }
        )

    def _arranged(self, label: str) -> _Wall:
        """Return the arrangement of a class, a quick one while the final one is made."""
        index = self._site.searched
        which = _Which(index.library.state, self._site.now.describe.meaning, label)
        with self._lock:
            if which in self._walls:
                return self._walls[which]
        crops = self._crops_of(which.state)
        rows = self._rows(index, label)
        points = _reduced(index.points(rows))
        shape = grid_shape(len(rows))
        quick = _grid(rows, first_order(points, shape), shape)
        with self._lock:
            if which not in self._walls:
                self._keep(which, _Wall(self._key(which, 0), quick, crops, ready=False))
                work = threading.Thread(
                    target=self._arrange, args=(which, rows, points, crops), name="wall", daemon=True
                )
                work.start()
            return self._walls[which]

    def _crops_of(self, state: str) -> _SmallCrops:
        served = self._site.library_of(state)
        if served is None:
            raise RequestError(404, "the library has changed meanwhile; load the page again")
        with self._lock:
            if state not in self._crops:
                self._crops[state] = _SmallCrops(served.thumbs, len(served.index))
            return self._crops[state]

    def _arrange(self, which: _Which, rows: I32Array, points: F32Array, crops: _SmallCrops) -> None:
        grid = arrange(points, grid_shape(len(rows)), progress=lambda _: time.sleep(_YIELDS_S))
        final = np.where(grid >= 0, rows[grid], -1).astype(np.int32)
        with self._lock:
            self._keep(which, _Wall(self._key(which, 1), final, crops, ready=True))

    def _keep(self, which: _Which, wall: _Wall) -> None:
        self._walls[which] = self._by_key[wall.key] = wall

    def _key(self, which: _Which, generation: int) -> str:
        """Return a name without text of a client: a class by its number."""
        names = list(self._site.names)
        label = names.index(which.label) if which.label in names else "all"
        return f"{which.state}-{round(which.meaning * 1000)}-{label}-{generation}"

    def _rows(self, index: SearchIndex, label: str) -> I32Array:
        names = self._site.names
        if label and label not in names:
            raise RequestError(404, "the network has no such class")
        every = np.arange(len(index), dtype=np.int32)
        rows = every[index.labels == names.index(label)] if label else every
        if not len(rows):
            raise RequestError(404, f"the library holds no {label}")
        return rows

    def _known(self, request: Request) -> _Wall:
        with self._lock:
            wall = self._by_key.get(request.path_params["key"])
        if wall is None:
            raise RequestError(404, "there is no such arrangement any more; load the page again")
        return wall

    async def _at(self, request: Request) -> Response:
        wall = self._known(request)
        lines, columns = wall.grid.shape
        x, y = (request.query_params.get(name, "") for name in "xy")
        if not (x.isdecimal() and y.isdecimal()) or int(x[:9]) >= columns or int(y[:9]) >= lines:
            return JSONResponse({"row": None})
        row = int(wall.grid[int(y), int(x)])
        return JSONResponse({"row": row if row >= 0 else None})

    async def _cells(self, request: Request) -> Response:
        wall = self._known(request)
        wanted = [text for text in request.query_params.get("rows", "").split(",")[:500] if text.isdecimal()]
        places = np.argwhere(np.isin(wall.grid, np.array([int(text[:9]) for text in wanted], np.int64)))
        cells = [[int(wall.grid[y, x]), int(x), int(y)] for y, x in places.tolist()]
        return JSONResponse({"cells": cells})

    async def _tile(self, request: Request) -> Response:
        wall = self._known(request)
        size, x, y = (int(request.path_params[name]) for name in ("size", "x", "y"))
        per_side = _TILE_PX // size if size in SIZES_PX else 0
        lines, columns = wall.grid.shape
        if not per_side or x * per_side >= columns or y * per_side >= lines:
            raise RequestError(404, "there is no such tile")
        place = wall.key, size, x, y
        with self._lock:
            jpeg = self._tiles.get(place)
        if jpeg is None:
            self._turns = self._turns or anyio.CapacityLimiter(_AT_ONCE)
            cells = wall.grid[y * per_side : (y + 1) * per_side, x * per_side : (x + 1) * per_side]
            jpeg = await anyio.to_thread.run_sync(wall.crops.tile, cells, size, limiter=self._turns)
            with self._lock, contextlib.suppress(ValueError):  # larger than the cache
                self._tiles[place] = jpeg
        return Response(jpeg, media_type="image/jpeg", headers=FOR_EVER)


class _SmallCrops:
    """Square crops of few pixels; the smallest are kept for all objects that were looked at."""

    def __init__(self, thumbs: ThumbCache, rows: int) -> None:
        self._thumbs = thumbs
        self._kept: U8Array = np.zeros((rows, _SMALL_PX, _SMALL_PX, 3), np.uint8)
        self._have = np.zeros(rows, np.bool_)

    def tile(self, cells: I32Array, size: int) -> bytes:
        """Return the tile of some cells as JPEG."""
        lines, columns = cells.shape
        picture = np.full((lines * size, columns * size, 3), _GROUND, np.uint8)
        gap = 1 if size >= 32 else 0
        for (y, x), row in np.ndenumerate(cells):
            if row >= 0:
                crop = self._crop(int(row), size)
                picture[y * size : (y + 1) * size - gap, x * size : (x + 1) * size - gap] = crop[gap:, gap:]
        done, jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 82])
        assert done
        return bytes(np.asarray(jpeg).data)

    def _crop(self, row: int, size: int) -> U8Array:
        if size <= _SMALL_PX:
            if not self._have[row]:
                self._kept[row] = self._decoded(row, _SMALL_PX)
                self._have[row] = True
            kept: U8Array = self._kept[row]
            return kept if size == _SMALL_PX else _resized(kept, size)
        return self._decoded(row, size)

    def _decoded(self, row: int, size: int) -> U8Array:
        jpeg = self._thumbs.jpeg(row)
        flag = cv2.IMREAD_COLOR if size > 48 else cv2.IMREAD_REDUCED_COLOR_2
        flag = cv2.IMREAD_REDUCED_COLOR_4 if size <= 24 else flag
        picture = None if jpeg is None else cv2.imdecode(np.frombuffer(jpeg, np.uint8), flag)
        if picture is None:
            return np.full((size, size, 3), 2 * _GROUND, np.uint8)
        height, width = picture.shape[:2]
        side = min(height, width)
        top, left = (height - side) // 3, (width - side) // 2  # faces are above the middle
        return _resized(cast(U8Array, picture[top : top + side, left : left + side]), size)


def _resized(picture: U8Array, size: int) -> U8Array:
    shrinks = picture.shape[0] > size
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return cast(U8Array, cv2.resize(picture, (size, size), interpolation=method))


def _reduced(points: F32Array) -> F32Array:
    """Return (n, d) vectors in their main dimensions, (n, at most 8) float32."""
    centred = points - points.mean(0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    reduced: F32Array = np.ascontiguousarray(centred @ axes[:, -_DIMENSIONS:], np.float32)
    return reduced


def _grid(rows: I32Array, order: I64Array, shape: tuple[int, int]) -> I32Array:
    grid = np.full(shape[0] * shape[1], -1, np.int32)
    grid[: len(order)] = rows[order]
    return grid.reshape(shape)
