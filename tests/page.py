"""A page over the bar-code pictures, served for real: a live loop in a thread, a server, plain clients."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import barcode
import blobs
import cv2
import numpy as np
from websockets.sync.client import ClientConnection, connect

from rtsearch.config import load_settings
from rtsearch.library.index import SearchIndex
from rtsearch.live import Controls, Outputs, play
from rtsearch.memory.live_memory import LiveMemory
from rtsearch.sources import Source
from rtsearch.types import U8Array
from rtsearch.web import Access, Address, PageServer, SharedBackend, Site, bind
from rtsearch.words import LiveWords

_MOST = 3000  # messages that are passed over: minutes of the camera
SETTINGS = ["project.dim=8", "show.results=5", "detect.max_objects=20"]


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Served:
    """A server, and requests to it."""

    site: Site
    port: int
    headers: dict[str, str] = field(default_factory=dict)

    def ask(
        self, path: str, method: str = "GET", body: bytes | dict[str, Any] | None = None, **headers: str
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request(method, path, data, self.headers | given)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def watch(self, path: str = "/ws", origin: str | None = None, **headers: str) -> ClientConnection:
        given = {name.replace("_", "-"): value for name, value in (self.headers | headers).items()}
        return connect(
            f"ws://127.0.0.1:{self.port}{path}",
            origin=origin,  # type: ignore[arg-type]
            additional_headers=given,
            max_size=None,
            open_timeout=20,
        )


@contextlib.contextmanager
def served(
    index: SearchIndex,
    overrides: list[str] | None = None,
    access: Access | None = None,
    *,
    frames: int = 0,
    memory: LiveMemory | None = None,
    source: Source | None = None,
    port: int = 0,
    tls: tuple[Path, Path] | None = None,
) -> Iterator[Served]:
    """Serve an index, with a source; with ``frames``, a camera that gives so many bar codes, 20 a second."""
    settings = load_settings(None, [*SETTINGS, *(overrides or [])])
    pipeline = blobs.as_pipeline()
    pipeline.backend = SharedBackend(pipeline.backend)
    controls = Controls(settings.detect, settings.show, search=settings.search)
    address = Address("127.0.0.1", port, *(tls or (None, None)))
    words = LiveWords("", print)
    network = "blobs", "AGPL-3.0"
    site = Site(settings, pipeline, index, controls, access or Access(), network, words, memory=memory)
    with PageServer(site, bind(address), address) as server, contextlib.ExitStack() as stack:
        if frames:
            source = barcode.Moving(frames, 0.05)
            source.live = False  # else boxes are moved along where a loaded machine is behind
        if source is not None:
            outputs = Outputs(scenes=site.hub)
            thread = threading.Thread(
                target=play, args=(source, pipeline, index, settings, outputs), kwargs={"controls": controls}
            )
            thread.start()
            stack.callback(thread.join)
            stack.callback(source.close)
            stack.callback(controls.change, paused=False)
        yield Served(site, server.port)


def decoded(jpeg: bytes) -> U8Array:
    """The picture of a JPEG."""
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return cast(U8Array, picture)


def unpacked(message: bytes) -> tuple[dict[str, Any], bytes]:
    """The scene and the JPEG of a message."""
    length = int.from_bytes(message[:4], "little")
    return json.loads(message[4 : 4 + length]), message[4 + length :]


def next_scene(socket: ClientConnection) -> tuple[dict[str, Any], bytes]:
    """The next scene of a viewer; states are passed over."""
    for _ in range(_MOST):
        if not isinstance(message := socket.recv(timeout=20), str):
            return unpacked(message)
    raise AssertionError("no scene came")


def next_state(socket: ClientConnection) -> dict[str, Any]:
    """The next state of a viewer; scenes are passed over."""
    for _ in range(_MOST):
        if isinstance(message := socket.recv(timeout=20), str) and message.startswith("{"):
            return json.loads(message)
    raise AssertionError("no state came")


def square() -> U8Array:
    """A bar code, as a camera of a phone might show it."""
    return barcode.picture(7)
