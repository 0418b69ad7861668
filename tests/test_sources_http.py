"""JPEG pictures over HTTP: dialects of MJPEG, slow cameras, snapshots, passwords."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler

import cv2
import numpy as np
import pytest
from clips import paint, read_number
from hypothesis import given
from hypothesis import strategies as st
from servers import WebServer, jpeg, part, send
from test_sources_live import eventually, take

from rtsearch.config import LiveSettings
from rtsearch.errors import SourceError
from rtsearch.sources import live_capture as stream
from rtsearch.sources import open_source
from rtsearch.sources.jpegs import Jpegs, decode_picture
from rtsearch.types import U8Array

LIVE = LiveSettings()
pytestmark = pytest.mark.usefixtures("no_thread_is_left")


@pytest.fixture(autouse=True)
def _losses_are_found_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "READ_TIMEOUT_S", 1.0)


ZEROS, COMMENT = bytes(100), bytes.fromhex("FFFE000641424344")
DIALECTS: dict[str, Callable[[bytes], bytes]] = {
    "plain": part,
    "zeros": lambda body: part(body + ZEROS),
    "comment": lambda body: part(body + COMMENT),
    "no end": lambda body: part(body[:-2]),
    "no end, zeros": lambda body: part(body[:-2] + ZEROS),
    "no length": lambda body: b"--frame\r\nContent-Type: image/jpeg\r\n\r\n%b\r\n" % body,
    "no end, no length": lambda body: b"--frame\r\n\r\n%b\r\n" % body[:-2],
    "wrong length": lambda body: b"--frame\r\nContent-length: 17\r\n\r\n%b\r\n" % body,
    "other boundary": lambda body: b"\n----xyz\nContent-Type: image/jpeg\n\n%b" % body,
    "nothing between": lambda body: body,
    "garbage": lambda body: b"--frame\r\n\r\n" + bytes(range(255)) + b"\r\n--frame\r\n\r\n%b\r\n" % body,
}


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("kind", ["multipart/x-mixed-replace; boundary=frame", "application/octet-stream"])
def test_every_dialect_of_mjpeg_is_understood(dialect: str, kind: str) -> None:
    if kind != "multipart/x-mixed-replace; boundary=frame" and dialect == "other boundary":
        pytest.skip("nothing tells it apart")

    def answer(handler: BaseHTTPRequestHandler) -> None:
        send(handler, kind, length=False)
        with contextlib.suppress(OSError):
            for number in itertools.count():
                handler.wfile.write(DIALECTS[dialect](jpeg(number)))
                if web.halt.wait(0.03):
                    return

    with WebServer(answer) as web, open_source(f"{web.address}/stream", LIVE) as source:
        frames = take(source, 8)
        numbers = [read_number(frame.bgr) for frame in frames]
        assert numbers == sorted(numbers)
        assert web.paths == ["/stream"]  # some cameras take one connection only
        for frame, number in zip(frames, numbers, strict=True):
            assert np.abs(frame.bgr.astype(int) - paint(number)).mean() < 3


@given(
    st.lists(
        st.binary(max_size=40) | st.sampled_from([b"\xff\xd8\xff\xda\0\2", b"\xff\xd9", b"\xff", jpeg(1)])
    )
)
def test_any_bytes_are_taken(parts: list[bytes]) -> None:
    jpegs = Jpegs()
    for one in (one for data in parts for one in jpegs.feed(data)):
        assert one.startswith(b"\xff\xd8")
        assert one.endswith(b"\xff\xd9")


@pytest.mark.parametrize("step", [1, 7, 1000, 10**6])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_pictures_are_found_however_the_bytes_come(dialect: str, step: int) -> None:
    data = (
        b"".join(DIALECTS[dialect](jpeg(number)) for number in range(3)) + b"\r\n--frame\r\n\r\n\xff\xd8\xff"
    )
    jpegs = Jpegs()
    found = [one for i in range(0, len(data), step) for one in jpegs.feed(data[i : i + step])]
    pictures = [bgr for one in found if (bgr := decode_picture(one)) is not None]
    assert [read_number(bgr) for bgr in pictures] == [0, 1, 2]


@pytest.mark.parametrize("start", [b"\xff\xd8", b"\xff\xd8\xff\xda\0\2"], ids=["header", "scan"])
@pytest.mark.slow
def test_a_camera_that_sends_nothing_but_the_first_byte_of_markers(start: bytes) -> None:
    jpegs = Jpegs()
    for sent in (start, *[b"\xff" * 65536] * 64):  # took hours while each of these bytes was looked at anew
        assert list(jpegs.feed(sent)) == []


def test_a_picture_without_end_takes_no_more_memory_than_a_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures begin inside of it, and none of them ends."""
    monkeypatch.setattr("rtsearch.sources.jpegs._MOST_BYTES", 1 << 20)
    begins = b"\xff\xd8\xff\xe1\xff\xff"
    segment = begins[2:] + (begins * (0xFFFF // len(begins))).ljust(0xFFFF - 2, b"\0")
    jpegs = Jpegs()
    for sent in (begins[:2], *[segment] * 64):
        assert list(jpegs.feed(sent)) == []
        assert len(jpegs._data) <= 1 << 20
    assert list(jpegs.feed(b"\0" * (2 << 20))) == []
    assert list(jpegs.feed(jpeg(1))) == [jpeg(1)]


def test_a_picture_inside_of_a_picture_is_not_taken_for_one() -> None:
    small = jpeg(9, (64, 48))
    whole = jpeg(1)
    exif = b"\xff\xe1" + (len(small) + 2).to_bytes(2, "big") + small
    assert list(Jpegs().feed(whole[:2] + exif + whole[2:])) == [whole[:2] + exif + whole[2:]]


def claiming(width: int, height: int) -> bytes:
    data = bytearray(jpeg(1))
    place = data.find(b"\xff\xc0") + 5
    data[place : place + 4] = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return bytes(data)


BROKEN = {
    "empty": b"",
    "half": jpeg(1)[: len(jpeg(1)) // 2],
    "half with an end": jpeg(1)[: len(jpeg(1)) // 2] + b"\xff\xd9",
    "header only": jpeg(1)[:200] + b"\xff\xd9",
    "beyond reason": claiming(32767, 32767),
    "no picture": b"<html>",
}


@pytest.mark.parametrize("name", BROKEN)
def test_pictures_that_decode_short_are_refused(name: str) -> None:
    assert decode_picture(BROKEN[name]) is None


def test_a_picture_whose_last_row_has_one_colour_is_whole() -> None:
    flat: U8Array = np.full((48, 64, 3), 90, np.uint8)
    assert decode_picture(cv2.imencode(".jpg", flat)[1].tobytes()) is not None


def test_a_slow_camera_is_a_camera() -> None:
    """A picture every 1.5 s, where one that is silent for a second is lost otherwise."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        send(handler, "multipart/x-mixed-replace; boundary=frame", length=False)
        with contextlib.suppress(OSError):
            for number in itertools.count():
                handler.wfile.write(part(jpeg(number)))
                if web.halt.wait(1.5):
                    return

    with WebServer(answer) as web, open_source(f"{web.address}/", LIVE) as source:
        assert [read_number(frame.bgr) for frame in take(source, 4)] == [0, 1, 2, 3]
        assert source.status == "ok"
    assert len(web.paths) == 1


def test_a_snapshot_is_fetched_again_and_again() -> None:
    numbers = itertools.count()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        send(handler, "image/jpeg", jpeg(next(numbers)))

    settings = LiveSettings(snapshot_s=0.2)
    with WebServer(answer) as web, open_source(f"{web.address}/snap?u=1", settings) as source:
        frames = take(source, 5)
        assert (source.live, source.fps) == (True, 5.0)
    assert [read_number(frame.bgr) for frame in frames] == [0, 1, 2, 3, 4]
    assert frames[4].captured_s - frames[0].captured_s > 0.7
    assert set(web.paths) == {"/snap?u=1"}


def test_a_snapshot_that_fails_and_returns_goes_on() -> None:
    broken = threading.Event()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if broken.is_set():
            handler.send_error(503)
        else:
            send(handler, "image/png", cv2.imencode(".png", paint(len(web.paths)))[1].tobytes())

    with WebServer(answer) as web, open_source(f"{web.address}/", LiveSettings(snapshot_s=0.1)) as source:
        take(source, 1)
        broken.set()
        eventually(5, lambda: source.status == "reconnecting")
        broken.clear()
        eventually(5, lambda: source.status == "ok")


@pytest.mark.parametrize("scheme", ["Basic", "Digest"])
def test_the_password_of_an_address_is_sent_when_asked_for(scheme: str) -> None:
    asked = {"Basic": 'Basic realm="cam"', "Digest": 'Digest realm="cam", nonce="1", qop="auth"'}[scheme]
    given: list[str] = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        header = handler.headers.get("Authorization", "")
        if header.startswith(scheme):
            given.append(header)
            send(handler, "image/jpeg", jpeg(5))
        else:
            handler.send_response(401)
            handler.send_header("WWW-Authenticate", asked)
            handler.end_headers()

    with WebServer(answer) as web:
        url = web.address.replace("//", "//ann:b%23c@")
        with open_source(f"{url}/snap.jpg", LIVE) as source:
            assert read_number(take(source, 1)[0].bgr) == 5
            assert "b%23c" not in source.name
        with pytest.raises(SourceError, match="cannot be opened: the server says 401"):
            open_source(f"{web.address}/snap.jpg", LIVE)
    assert "YW5uOmIjYw==" in given[0] or 'username="ann"' in given[0]


def test_the_shape_of_pictures_that_do_not_say_it() -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        send(handler, "image/jpeg", jpeg(5))

    with WebServer(answer) as web, open_source(web.address, LiveSettings(aspect="16:9")) as source:
        assert source.wh == (427, 240)
