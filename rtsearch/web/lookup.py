"""Serve the library: objects, similar ones, search by photo, crops and photos.

No text of a client ever becomes a path: objects are named by their row, a whole number. What reads files or
searches runs in threads, so that the server goes on meanwhile.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rtsearch._util.metrics import Meter
from rtsearch.errors import PhotoError, SourceError
from rtsearch.images.decode import decode_photo, header_of, quiet_decoders
from rtsearch.images.encode import encode_jpeg, shrunk
from rtsearch.library.index import SearchIndex
from rtsearch.live.object_frame import object_frame
from rtsearch.memory.recall import FIRST_ROW
from rtsearch.recording import object_records
from rtsearch.types import U8Array
from rtsearch.web.access import Role, needs
from rtsearch.web.problems import RateLimit, RequestError, read_body, whole_number
from rtsearch.web.site import Site

__all__ = ["FOR_EVER", "LibraryLookup"]

FOR_EVER = {"cache-control": "private, max-age=31536000, immutable"}
"""Headers of what never changes under its address."""

_NEVER = {"cache-control": "no-store"}  # what is remembered may be forgotten, and its rows are a run's own

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
            Route("/api/objects/{row:whole}", needs(Role.VIEWER)(self._object)),
            Route("/api/objects/{row:whole}/similar", needs(Role.VIEWER)(self._similar)),
            Route("/thumb/{fingerprint}/{row:whole}.jpg", needs(Role.VIEWER)(self._thumb)),
            Route("/photo/{row:whole}.jpg", needs(Role.OPERATOR)(self._photo)),
        ]

    def _row(self, request: Request, index: SearchIndex) -> int:
        """Return the row that is asked for: of a state of the library, or remembered."""
        memory, row = self._site.memory, int(request.path_params["row"])
        return row if memory is not None and row in memory.recall else _row(request, index)

    def _facts(self, request: Request, index: SearchIndex, rows: list[int]) -> list[dict[str, Any]]:
        """Return what is known of rows; without paths for those who may only look."""
        hits = index.hits(np.array(rows, np.int32))
        shows = request.scope["role"] >= Role.OPERATOR
        return [
            {"row": row, **hit, "photo": hit["photo"] if shows else ""}
            for row, hit in zip(rows, hits, strict=True)
        ]

    async def _object(self, request: Request) -> Response:
        index = self._site.known
        row = self._row(request, index)
        facts = await run_in_threadpool(self._facts, request, index, [row])
        shows = self._site.settings.web.photos and request.scope["role"] >= Role.OPERATOR
        return JSONResponse({**facts[0], "has_photo": shows and row < FIRST_ROW})

    async def _similar(self, request: Request) -> Response:
        k = _count(request, 16)

        def look() -> list[dict[str, Any]]:
            index, search = self._site.searched, self._site.settings.search
            row = self._row(request, index)
            near = index.others(row, k, exact=search.exact, recall=search.recall)
            facts = self._facts(request, index, near.row[0].tolist())
            distances = near.distance[0].tolist()
            return [{**fact, "distance": round(far, 5)} for fact, far in zip(facts, distances, strict=True)]

        neighbours = await run_in_threadpool(look)
        return JSONResponse({"row": request.path_params["row"], "neighbours": neighbours})

    async def _search(self, request: Request) -> Response:
        self._rate.take(request)
        k = _count(request, self._site.now.show.results)
        body = await read_body(request, self._site.settings.web.upload_mb << 20)
        if not body:
            raise RequestError(400, "no photo was sent; the body is to be the file of one")
        with _a_turn(self._searches, "searched"):
            found = await run_in_threadpool(self._find, body, k)
        if request.scope["role"] < Role.OPERATOR:
            for item in found["objects"]:
                item["neighbours"] = [{**near, "photo": ""} for near in item["neighbours"]]
        name = request.query_params.get("name", "")[:200]
        site = self._site
        return JSONResponse(
            {"photo": name, "words": site.words, **found},
        )

    def _find(self, data: bytes, k: int) -> dict[str, Any]:
        """Return width and height of a photo, and its objects with their neighbours."""
        site = self._site
        bgr = _decoded(data, min(site.settings.analyze.max_photo_mp, _MOST_UPLOAD_MP))
        index, search, most = site.searched, site.settings.search, site.most_distance
        infer = site.pipeline.backend.infer
        seen = infer([bgr], site.controls.now.detect, Meter(), index.projection, pad_fully=True)[0]
        near = index.near(seen.vector, k, exact=search.exact, recall=search.recall)
        return {
            "library": index.library.state,
            "wh": [bgr.shape[1], bgr.shape[0]],
            "max_distance": round(most, 5) if math.isfinite(most) else None,
            "objects": object_records(seen, site.names, near, index),
        }

    async def _thumb(self, request: Request) -> Response:
        served = self._site.library_of(request.path_params["fingerprint"])
        if served is None:
            raise RequestError(404, "that is a crop of another state of the library; load the page again")
        row, thumbs = self._row(request, served.index), served.thumbs
        stored = "h" not in request.query_params
        height_px = 0 if stored else whole_number(request, "h", 16, _MOST_CROP_PX)

        def crop() -> bytes | None:
            jpeg = thumbs.jpeg(row)
            return jpeg if jpeg is None or stored else encode_jpeg(thumbs.get(row, height_px))

        jpeg = await run_in_threadpool(crop)
        if jpeg is None:
            raise RequestError(404, "the crop is damaged; run rtsearch library check")
        self._site.hub.meter.count("crops")
        headers = FOR_EVER if row < FIRST_ROW else _NEVER
        return Response(jpeg, media_type="image/jpeg", headers=headers)

    async def _photo(self, request: Request) -> Response:
        site, index = self._site, self._site.index
        row = self._row(request, index)
        if row >= FIRST_ROW or not site.settings.web.photos:
            raise RequestError(404, "photos are not shown here; web.photos=true shows them")

        def read() -> tuple[bytes, str]:
            bgr = object_frame(index, row, site.settings.analyze.max_photo_mp).bgr
            return encode_jpeg(shrunk(bgr, _PHOTO_SIDE_PX)), f"{bgr.shape[1]}x{bgr.shape[0]}"

        with _a_turn(self._photos, "read"):
            try:
                jpeg, size = await run_in_threadpool(read)
            except (PhotoError, SourceError):
                problem = "the photo or film cannot be read; it may have moved: --photos FOLDER"
                raise RequestError(404, problem) from None
        return Response(jpeg, media_type="image/jpeg", headers={"x-photo-size": size})


def _row(request: Request, index: SearchIndex) -> int:
    row: int = request.path_params["row"]
    if row >= len(index):
        raise RequestError(404, f"the library has no object {row}; its {len(index):,} are numbered from 0")
    return row


def _count(request: Request, default: int) -> int:
    return whole_number(request, "k", 1, _MOST_NEIGHBOURS, default)


@contextlib.contextmanager
def _a_turn(turns: threading.BoundedSemaphore, verb: str) -> Iterator[None]:
    """Refuse what would have to wait for long."""
    if not turns.acquire(blocking=False):
        raise RequestError(429, f"too many photos are being {verb}; try again in a moment")
    try:
        yield
    finally:
        turns.release()


def _decoded(data: bytes, most_mp: float) -> U8Array:
    """Decode the bytes of a photo of any kind."""
    try:
        with quiet_decoders():
            header = header_of(data, _MOST_UPLOAD_MP * 100)
            if header.megapixels > most_mp:
                raise RequestError(413, f"the photo has more than {most_mp:g} megapixels")
            return decode_photo(data, header).bgr
    except PhotoError as error:
        raise RequestError(422, f"the photo cannot be read: {error}") from None
