"""Serve the library: objects, similar ones, search by photo, crops and photos.

No text of a client ever becomes a path: objects are named by their row, a whole number.
"""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import cv2
import numpy as np
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rtsearch._util.metrics import Meter
from rtsearch.errors import PhotoError
from rtsearch.images.decode import decode_photo, photo_header, quiet_decoders, read_photo
from rtsearch.library.index import SearchIndex
from rtsearch.recording import object_records
from rtsearch.types import U8Array
from rtsearch.web.access import Role, needs
from rtsearch.web.problems import RateLimit, RequestError, read_body
from rtsearch.web.site import Site

__all__ = ["FOR_EVER", "LibraryLookup"]

FOR_EVER = {"cache-control": "private, max-age=31536000, immutable"}
"""Headers of what never changes under its address."""

_MOST_NEIGHBOURS = 200
_MOST_WAITING = 4  # searches by photo that run or wait
_MOST_UPLOAD_MP = 50.0
_SEARCHES_PER_S = 2.0
_PHOTO_SIDE_PX = 1600
_MOST_CROP_PX = 512


class LibraryLookup:
    """Endpoints of the library.

    Args:
        site: is served.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._searches = threading.BoundedSemaphore(_MOST_WAITING)
        self._photos = threading.BoundedSemaphore(_MOST_WAITING)
        self._rate = RateLimit(_SEARCHES_PER_S, burst=20)

    @property
    def routes(self) -> list[Route]:
        """Routes of the endpoints."""
        return [
            Route("/api/search", needs(Role.PHONE)(self._search), methods=["POST"]),
            Route("/api/objects/{row:int}", needs(Role.VIEWER)(self._object)),
            Route("/api/objects/{row:int}/similar", needs(Role.VIEWER)(self._similar)),
            Route("/thumb/{fingerprint}/{row:int}.jpg", needs(Role.VIEWER)(self._thumb)),
            Route("/photo/{row:int}.jpg", needs(Role.OPERATOR)(self._photo)),
        ]

    def _row(self, request: Request) -> int:
        return _row(request, self._site.index)

    def _facts(self, request: Request, rows: list[int]) -> list[dict[str, Any]]:
        """Return what is known of rows; without paths for those who may only look."""
        hits = self._site.index.hits(np.array(rows, np.int32))
        shows = request.scope["role"] >= Role.OPERATOR
        return [
            {"row": row, **hit, "photo": hit["photo"] if shows else ""}
            for row, hit in zip(rows, hits, strict=True)
        ]

    async def _object(self, request: Request) -> Response:
        row = self._row(request)
        facts = self._facts(request, [row])[0]
        shows = self._site.settings.web.photos and request.scope["role"] >= Role.OPERATOR
        return JSONResponse({**facts, "has_photo": shows})

    async def _similar(self, request: Request) -> Response:
        row, k = self._row(request), _count(request, 16)
        site = self._site
        index, search = site.searched, site.settings.search

        def look() -> tuple[list[int], list[float]]:
            point = index.points(np.array([row], np.int32))
            near = index.near(point, k + 1, exact=search.exact, recall=search.recall)
            others = (near.row[0] >= 0) & (near.row[0] != row)
            return near.row[0][others][:k].tolist(), near.distance[0][others][:k].tolist()

        rows, distances = await run_in_threadpool(look)
        facts = self._facts(request, rows)
        neighbours = [{**fact, "distance": round(far, 5)} for fact, far in zip(facts, distances, strict=True)]
        return JSONResponse({"row": row, "neighbours": neighbours})

    async def _search(self, request: Request) -> Response:
        self._rate.take(request)
        k = _count(request, self._site.now.show.results)
        body = await read_body(request, self._site.settings.web.upload_mb << 20)
        if not body:
            raise RequestError(400, "no photo was sent; the body is to be the file of one")
        if not self._searches.acquire(blocking=False):
            raise RequestError(429, "too many photos are being searched; try again in a moment")
        try:
            wh, objects = await run_in_threadpool(self._find, body, k)
        finally:
            self._searches.release()
        if request.scope["role"] < Role.OPERATOR:
            for item in objects:
                item["neighbours"] = [{**near, "photo": ""} for near in item["neighbours"]]
        name = request.query_params.get("name", "")[:200]
        return JSONResponse({"photo": name, "library": self._site.fingerprint, "wh": wh, "objects": objects})

    def _find(self, data: bytes, k: int) -> tuple[list[int], list[dict[str, Any]]]:
        """Return width and height of a photo, and its objects with their neighbours."""
        site = self._site
        try:
            with quiet_decoders():
                bgr = _decoded(data, min(site.settings.analyze.max_photo_mp, _MOST_UPLOAD_MP))
        except PhotoError as error:
            raise RequestError(422, f"the photo cannot be read: {error}") from None
        index, search = site.searched, site.settings.search
        infer = site.pipeline.backend.infer
        seen = infer([bgr], site.controls.now.detect, Meter(), index.projection, pad_fully=True)[0]
        near = index.near(seen.vector, k, exact=search.exact, recall=search.recall)
        return [bgr.shape[1], bgr.shape[0]], object_records(seen, site.names, near, index)

    async def _thumb(self, request: Request) -> Response:
        served = self._site.library_of(request.path_params["fingerprint"])
        if served is None:
            raise RequestError(404, "that is a crop of another state of the library; load the page again")
        row = _row(request, served.index)
        height_px = _number(request, "h", 0, 16, _MOST_CROP_PX)
        jpeg = served.thumbs.jpeg(row)
        if jpeg is None:
            raise RequestError(404, "the crop is damaged; run rtsearch library check")
        if height_px:
            jpeg = await run_in_threadpool(_scaled, served.thumbs.get(row, height_px))
        self._site.hub.meter.count("crops")
        return Response(jpeg, media_type="image/jpeg", headers=FOR_EVER)

    async def _photo(self, request: Request) -> Response:
        row, site = self._row(request), self._site
        if not site.settings.web.photos:
            raise RequestError(404, "photos are not shown here; web.photos=true shows them")
        if not self._photos.acquire(blocking=False):
            raise RequestError(429, "too many photos are being read; try again in a moment")

        def read() -> tuple[bytes, tuple[int, int]]:
            with quiet_decoders():
                path = site.index.library.photo_path(site.index.photo(row))
                bgr = read_photo(path, site.settings.analyze.max_photo_mp)
            wh = bgr.shape[1], bgr.shape[0]
            shrinks = min(1.0, _PHOTO_SIDE_PX / max(wh))
            size = (max(1, round(wh[0] * shrinks)), max(1, round(wh[1] * shrinks)))
            return _scaled(cast(U8Array, cv2.resize(bgr, size, interpolation=cv2.INTER_AREA))), wh

        try:
            jpeg, (width, height) = await run_in_threadpool(read)
        except PhotoError:
            raise RequestError(404, "the photo cannot be read; it may have moved: --photos FOLDER") from None
        finally:
            self._photos.release()
        return Response(jpeg, media_type="image/jpeg", headers={"x-photo-size": f"{width}x{height}"})


def _row(request: Request, index: SearchIndex) -> int:
    row = int(request.path_params["row"])
    if not 0 <= row < len(index):
        raise RequestError(404, f"the library has no object {row}; its {len(index):,} are numbered from 0")
    return row


def _count(request: Request, default: int) -> int:
    return _number(request, "k", default, 1, _MOST_NEIGHBOURS)


def _number(request: Request, name: str, default: int, least: int, most: int) -> int:
    text = request.query_params.get(name, str(default))
    if text == str(default):
        return default
    if not text.isdecimal() or not least <= int(text[:9]) <= most:
        raise RequestError(422, f"{quote(name)}: expected a whole number from {least} to {most}")
    return int(text)


def _decoded(data: bytes, most_mp: float) -> U8Array:
    """Decode the bytes of a photo of any kind; the kinds that headers are read of by others need a file."""
    with tempfile.NamedTemporaryFile(prefix="rtsearch-") as file:
        file.write(data)
        file.flush()
        header = photo_header(Path(file.name), _MOST_UPLOAD_MP * 100)
        if header.width * header.height > most_mp * 1e6:
            raise RequestError(413, f"the photo has more than {most_mp:g} megapixels")
        return decode_photo(data, header).bgr


def _scaled(bgr: U8Array) -> bytes:
    done, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 85])
    assert done
    return bytes(np.asarray(jpeg).data)
