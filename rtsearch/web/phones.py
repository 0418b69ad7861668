"""Take pictures of visitors' phones as sources: each with tracks of its own, one picture in flight.

    phone: JPEG -> decode -> detect + describe -> track + search -> hub, for all viewers
      ^                                                 │
      └──────────── objects of this picture <───────────┘

A phone sends its next picture when it has the answer to the last, so a slow network or a busy server makes it
send fewer, and none wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time

from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from rtsearch._util.metrics import Meter
from rtsearch.errors import PhotoError
from rtsearch.images.decode import decode_photo, header_of, quiet_decoders
from rtsearch.live.choosing_side import ChoosingSide
from rtsearch.live.live_frame import LiveFrame
from rtsearch.live.privacy import Privacy
from rtsearch.live.search_side import SearchSide
from rtsearch.types import Frame, Scene, U8Array, class_name
from rtsearch.web.access import Role, needs
from rtsearch.web.site import FIRST_PHONE, Site
from rtsearch.web.wire import scene_line

__all__ = ["Phones"]

_MOST_MP = 2.1  # 1920 x 1080 and a little; the page sends 640 x 480
_MOST_BAD = 5  # pictures in a row that are none, before a phone is sent away
_SILENT_S = 30.0  # without a picture, after which its place is another's
_UNREADABLE = 1003  # close code: the server does not take such data
_TRY_AGAIN = 1013  # close code


class Phones:
    """Endpoint of phones as sources.

    Args:
        site: is served.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._places: set[int] = set()
        self._frames = 0

    @property
    def route(self) -> WebSocketRoute:
        """Route of the endpoint."""
        return WebSocketRoute("/ws/source", needs(Role.PHONE)(self._source))

    @property
    def connected(self) -> int:
        """Number of phones that send pictures."""
        return len(self._places)

    @property
    def frames(self) -> int:
        """Number of pictures taken so far."""
        return self._frames

    async def _source(self, socket: WebSocket) -> None:
        if len(self._places) >= self._site.settings.web.phones:
            refusal = JSONResponse({"error": "as many phones as can be followed are here already"}, 429)
            await socket.send_denial_response(refusal)
            return
        place = next(n for n in itertools.count(FIRST_PHONE) if n not in self._places)
        phone = _Phone(self._site, place)
        self._places.add(place)
        bad, end = 0, _UNREADABLE
        try:
            await socket.accept()
            while bad < _MOST_BAD:
                data = await asyncio.wait_for(socket.receive_bytes(), _SILENT_S)
                try:
                    await socket.send_json(await run_in_threadpool(phone.look, data))
                    bad, self._frames = 0, self._frames + 1
                except PhotoError as error:
                    bad += 1
                    await socket.send_json({"error": f"the picture cannot be read: {error}"})
        except TimeoutError:
            end = _TRY_AGAIN
        except (WebSocketDisconnect, KeyError, RuntimeError):  # text came, or the phone has gone
            pass
        finally:
            self._places.discard(place)
            self._site.hub.leave(place)
            with contextlib.suppress(RuntimeError):
                await socket.close(end)


class _Phone:
    """One phone; its pictures come one after the other."""

    def __init__(self, site: Site, place: int) -> None:
        self._site = site
        self._place = place
        self._choosing = ChoosingSide()
        self._search = SearchSide(site.live_index, site.settings.search, live=False)
        self._meter = Meter()
        self._frame_id = 0
        kind = site.settings.show.privacy
        self._privacy = None if kind == "none" else Privacy(kind, tuple(site.names))

    def look(self, jpeg: bytes) -> dict[str, object]:
        """Return the objects of a picture and their neighbours as JSON values, and show them to viewers.

        Raises:
            PhotoError: it is no JPEG, or too large.
        """
        site, now = self._site, self._site.controls.now
        bgr = _decoded(jpeg)
        frame = Frame(self._frame_id, time.monotonic(), None, bgr)
        self._frame_id += 1
        index = site.searched
        asked = now.detect if self._privacy is None else Privacy.asked(now.detect)
        found = site.pipeline.backend.infer([bgr], asked, self._meter, index.projection)[0]
        if self._privacy is not None:
            frame = self._privacy.frame(frame, found)
            found = self._privacy.wanted(found, now.detect)
        detected = LiveFrame(self._place, 0, frame, index=index, detections=found)
        chosen = self._choosing.chosen(detected, now.chooser)
        objects = self._search.search(chosen, now, own=False).objects
        every = objects.detections
        scene = Scene(
            frame=frame,
            detections=every,
            names=tuple(now.show.word(class_name(site.names, label)) for label in every.label.tolist()),
            neighbours=objects.neighbours,
            thumb_height=0,
            thumbs=((),) * len(every),
            strips=objects.strips,
            held=objects.held,
            rows=objects.rows,
            dims=now.chooser is not None,
            library=index.library.state,
        )
        site.hub.show(self._place, scene)
        line = scene_line(scene, site.names, 0.0)
        head = {"place": self._place, "library": scene.library, "words": site.words}
        return {**head, "strips": scene.rows, "faint": [], **line}


def _decoded(jpeg: bytes) -> U8Array:
    header = header_of(jpeg, _MOST_MP)
    if header.kind != "JPEG":
        raise PhotoError(f"expected a JPEG, got {header.kind}")
    with quiet_decoders():
        return decode_photo(jpeg, header).bgr
