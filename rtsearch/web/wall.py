"""Serve the library as a wall: every object in a cell of a grid, similar ones beside each other, as tiles.

rows of a class -> order along two main axes (at once) -> arranged in a thread (``render.grid_sort``)
cell size -> tile of 512 px, made of the crops it shows, when it is asked for

100,000 objects are ordered in 0.1 s of CPU and arranged in 15 s; meanwhile the page shows the order. Of the
objects in adjacent cells 9 % are among the nearest 400 before, 58 % after. A crop in a tile takes 0.07 ms.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import threading
import time
from dataclasses import dataclass
from typing import cast

import anyio
import cv2
import numpy as np
from cachetools import LRUCache
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rtsearch.images.encode import encode_jpeg
from rtsearch.library.index import SearchIndex
from rtsearch.library.thumbnails import ThumbCache
from rtsearch.render.grid_sort import arrange, first_order, grid_shape
from rtsearch.types import WHOLE_IMAGE_LABEL, WHOLE_IMAGE_NAME, F32Array, I32Array, I64Array, U8Array
from rtsearch.web.access import Role, needs
from rtsearch.web.lookup import FOR_EVER
from rtsearch.web.problems import RequestError, whole_number, whole_numbers
from rtsearch.web.served import ServedLibrary
from rtsearch.web.site import Site

__all__ = ["SIZES_PX", "LibraryWall"]

_log = logging.getLogger(__name__)

SIZES_PX = (4, 8, 16, 32, 64, 128)
"""Sides of a cell that there are tiles for, px."""

_TILE_PX = 512
_DIMENSIONS = 8  # of the vectors that are arranged: ten times as fast as 64, and hardly another picture
_SAMPLE = 10_000  # vectors that their main dimensions are taken from, about
_SMALL_PX = 8  # crops of this size are kept for all objects, 192 bytes each
_GROUND = 15
_TILE_CACHE_BYTES = 48 << 20
_MOST_WALLS = 16
_STATES = 2  # of a library that grows, whose small crops are kept
_MOST_CELLS = 500  # that are asked for at once
_MOST_COORDINATE = 999_999_999
_AT_ONCE = 2  # tiles that are made at the same time
_YIELDS_S = 0.01  # of each round, in which the live picture has Python's lock
_TILE_QUALITY = 82
_PATIENCE_S = 0.15  # that a tile of small crops takes; one that is not whole by then is asked for again
_STEPS = (16, 8, 4, 2, 1)
_FLAGS = (  # how crops are decoded for cells of at most so many px
    (24, cv2.IMREAD_REDUCED_COLOR_4),
    (48, cv2.IMREAD_REDUCED_COLOR_2),
    (max(SIZES_PX), cv2.IMREAD_COLOR),
)
_FOR_NOW = {"cache-control": "no-store"}


@dataclass(frozen=True, slots=True)
class _Which:
    """Objects that are arranged, and the index whose points they lie at; "" for all classes."""

    index: SearchIndex
    label: str


@dataclass(frozen=True, slots=True)
class _Wall:
    """Arrangement of some rows.

    Attributes:
        key: names it in addresses, by what it shows.
        grid: (lines, columns) int32, row of each cell, -1 for none.
        ready: it is final.
        served: state of the library that the rows are of.
    """

    key: str
    grid: I32Array
    ready: bool
    served: ServedLibrary


class LibraryWall:
    """Endpoints of the wall.

    Args:
        site: is served.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._lock = threading.Lock()  # of what is kept; never held for long
        self._first_look = threading.Lock()  # one viewer has a class ordered, others wait for it
        self._arranging = threading.Lock()  # one class at a time
        self._walls: LRUCache[_Which, _Wall] = LRUCache(_MOST_WALLS)
        self._by_key: LRUCache[str, _Wall] = LRUCache(2 * _MOST_WALLS)
        self._tiles: LRUCache[tuple[str, int, int, int], bytes] = LRUCache(_TILE_CACHE_BYTES, getsizeof=len)
        self._crops: LRUCache[str, _SmallCrops] = LRUCache(_STATES)
        self._turns: anyio.CapacityLimiter | None = None

    @property
    def routes(self) -> list[Route]:
        """Routes of the endpoints."""
        return [
            Route("/api/wall", needs(Role.VIEWER)(self._wall)),
            Route("/api/wall/{key}/at", needs(Role.VIEWER)(self._at)),
            Route("/api/wall/{key}/cells", needs(Role.VIEWER)(self._cells)),
            Route("/wall/{key}/{size:whole}/{x:whole}/{y:whole}.jpg", needs(Role.VIEWER)(self._tile)),
        ]

    async def _wall(self, request: Request) -> Response:
        label = request.query_params.get("label", "")

        def look() -> tuple[_Wall, dict[str, int]]:
            arranged = self._arranged(label)
            return arranged, arranged.served.class_counts

        wall, counts = await anyio.to_thread.run_sync(look)
        lines, columns = wall.grid.shape
        return JSONResponse(
            {
                "key": wall.key,
                "library": wall.served.index.library.state,
                "columns": columns,
                "rows": lines,
                "objects": int((wall.grid >= 0).sum()),
                "labels": counts,
                "words": self._site.words,
                "ready": wall.ready,
            }
        )

    def _arranged(self, label: str) -> _Wall:
        """Return the arrangement of a class, a quick one while the final one is made."""
        which = _Which(self._site.index, label)
        with self._first_look:
            with self._lock:
                wall = self._walls.get(which)
            return wall or self._begin(which)

    def _begin(self, which: _Which) -> _Wall:
        served = self._site.library_of(which.index.library.state)
        if served is None:
            raise RequestError(404, "the library has changed; load the page again")
        rows = _rows(which)
        points = _reduced(which.index.points(rows))
        shape = grid_shape(len(rows))
        wall = self._keep(which, _grid(rows, first_order(points, shape), shape), served, ready=False)
        args = which, rows, points, wall
        threading.Thread(target=self._arrange, args=args, name="wall", daemon=True).start()
        return wall

    def _arrange(self, which: _Which, rows: I32Array, points: F32Array, quick: _Wall) -> None:
        final = quick.grid
        with self._arranging:
            if which not in self._walls:  # so many others were asked for meanwhile
                return
            try:
                grid = arrange(points, quick.grid.shape, progress=lambda _: time.sleep(_YIELDS_S))
                final = np.where(grid >= 0, rows[grid], -1).astype(np.int32)
            except Exception:
                _log.warning("the wall stays in its first order", exc_info=True)
        self._keep(which, final, quick.served, ready=True)

    def _keep(self, which: _Which, grid: I32Array, served: ServedLibrary, *, ready: bool) -> _Wall:
        shown = hashlib.sha256(grid.tobytes()).hexdigest()[:16]
        wall = _Wall(f"{served.index.library.state}-{shown}", grid, ready, served)
        with self._lock:
            self._walls[which] = self._by_key[wall.key] = wall
        return wall

    def _known(self, request: Request) -> _Wall:
        with self._lock:
            wall = self._by_key.get(request.path_params["key"])
        if wall is None:
            raise RequestError(404, "there is no such arrangement any more; load the page again")
        return wall

    def _crops_of(self, served: ServedLibrary) -> _SmallCrops:
        state = served.index.library.state
        with self._lock:
            if state not in self._crops:
                self._crops[state] = _SmallCrops(served.thumbs, len(served.index))
            return self._crops[state]

    async def _at(self, request: Request) -> Response:
        wall = self._known(request)
        x, y = (whole_number(request, name, 0, _MOST_COORDINATE) for name in "xy")
        lines, columns = wall.grid.shape
        row = int(wall.grid[y, x]) if x < columns and y < lines else -1
        return JSONResponse({"row": row if row >= 0 else None})

    async def _cells(self, request: Request) -> Response:
        grid = self._known(request).grid
        wanted = whole_numbers(request, "rows", _MOST_CELLS)
        places = await anyio.to_thread.run_sync(lambda: np.argwhere(np.isin(grid, wanted)))
        return JSONResponse({"cells": [[int(grid[y, x]), x, y] for y, x in places.tolist()]})

    async def _tile(self, request: Request) -> Response:
        wall = self._known(request)
        size, x, y = (request.path_params[name] for name in ("size", "x", "y"))
        per_side = _TILE_PX // size if size in SIZES_PX else 0
        lines, columns = wall.grid.shape
        if not per_side or x * per_side >= columns or y * per_side >= lines:
            raise RequestError(404, "there is no such tile")
        place = wall.key, size, x, y
        with self._lock:
            kept = self._tiles.get(place)
        if kept is not None:
            return Response(kept, media_type="image/jpeg", headers=FOR_EVER)
        self._turns = self._turns or anyio.CapacityLimiter(_AT_ONCE)
        cells = wall.grid[y * per_side : (y + 1) * per_side, x * per_side : (x + 1) * per_side]
        crops = self._crops_of(wall.served)
        jpeg, whole = await anyio.to_thread.run_sync(crops.tile, cells, size, limiter=self._turns)
        if whole:
            with self._lock, contextlib.suppress(ValueError):  # larger than the cache
                self._tiles[place] = jpeg
        return Response(jpeg, media_type="image/jpeg", headers=FOR_EVER if whole else _FOR_NOW)


def _rows(which: _Which) -> I32Array:
    index = which.index
    if index.library.elsewhere is not None:
        index.library.elsewhere.refuse()
    every = np.arange(len(index), dtype=np.int32)
    if not which.label:
        return every
    numbers = {name: number for number, name in enumerate(index.library.space.class_names)}
    numbers[WHOLE_IMAGE_NAME] = WHOLE_IMAGE_LABEL
    if which.label not in numbers:
        raise RequestError(404, "the network has no such class")
    rows: I32Array = every[index.labels == numbers[which.label]]
    if not len(rows):
        raise RequestError(404, f"the library holds no {which.label}")
    return rows


class _SmallCrops:
    """Square crops of few pixels; the smallest are kept for all objects that were looked at."""

    def __init__(self, thumbs: ThumbCache, rows: int) -> None:
        self._thumbs = thumbs
        self._kept: U8Array = np.zeros((rows, _SMALL_PX, _SMALL_PX, 3), np.uint8)
        self._have = np.zeros(rows, np.bool_)

    def tile(self, cells: I32Array, size: int) -> tuple[bytes, bool]:
        """Return the tile of some cells as JPEG, and whether each cell shows its own crop."""
        if size > _SMALL_PX:
            return encode_jpeg(self._large(cells, size), _TILE_QUALITY), True
        whole = self._get(cells, time.monotonic() + _PATIENCE_S)
        return encode_jpeg(self._small(cells, size), _TILE_QUALITY), whole

    def _get(self, cells: I32Array, until_s: float) -> bool:
        """Get small crops in ever finer grids until the time is over; tell whether all are there.

        The coarsest grid is got in any case, so that no tile has holes.
        """
        for step in _STEPS:
            some = cells[::step, ::step]
            for row in some[(some >= 0) & ~self._have[some]].tolist():
                self._kept[row] = self._decoded(row, _SMALL_PX)
                self._have[row] = True
                if step < _STEPS[0] and time.monotonic() > until_s:
                    return bool(self._have[cells[cells >= 0]].all())
        return True

    def _coarse(self, cells: I32Array) -> I32Array:
        """Return the cells with the crop of a finest grid that has one; similar ones are side by side."""
        y, x = np.ogrid[: cells.shape[0], : cells.shape[1]]
        shown = cells
        for step in reversed(_STEPS):
            shown = np.where(self._have[shown], shown, cells[y // step * step, x // step * step])
        return np.where((cells >= 0) & self._have[shown], shown, -1)

    def _small(self, cells: I32Array, size: int) -> U8Array:
        """Return the picture of some cells; a crop that is not there yet is the colour of one like it."""
        lines, columns = cells.shape
        shown = self._coarse(cells)
        crops = self._kept[shown]
        others = shown != cells
        crops[others] = crops[others].mean((1, 2), keepdims=True)
        crops[shown < 0] = _GROUND
        picture = crops.swapaxes(1, 2).reshape(lines * _SMALL_PX, columns * _SMALL_PX, 3)
        if size == _SMALL_PX:
            return picture
        return cast(
            U8Array, cv2.resize(picture, (columns * size, lines * size), interpolation=cv2.INTER_AREA)
        )

    def _large(self, cells: I32Array, size: int) -> U8Array:
        lines, columns = cells.shape
        picture = np.full((lines * size, columns * size, 3), _GROUND, np.uint8)
        gap = 1 if size >= 32 else 0
        for (y, x), row in np.ndenumerate(cells):
            if row >= 0:
                crop = self._decoded(int(row), size)
                picture[y * size : (y + 1) * size - gap, x * size : (x + 1) * size - gap] = crop[gap:, gap:]
        return picture

    def _decoded(self, row: int, size: int) -> U8Array:
        jpeg = self._thumbs.jpeg(row)
        flag = next(flag for most, flag in _FLAGS if size <= most)
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
    middle = points.mean(0)
    some = points[:: 1 + len(points) // _SAMPLE] - middle
    _, axes = np.linalg.eigh(some.T @ some)
    reduced: F32Array = np.ascontiguousarray((points - middle) @ axes[:, -_DIMENSIONS:], np.float32)
    return reduced


def _grid(rows: I32Array, order: I64Array, shape: tuple[int, int]) -> I32Array:
    grid = np.full(shape[0] * shape[1], -1, np.int32)
    grid[: len(order)] = rows[order]
    return grid.reshape(shape)
