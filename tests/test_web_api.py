"""The API of the page: searches, objects, crops, settings, commands, phones.

test_web_access.py says who may do what.
"""

from __future__ import annotations

import json
import socket as sockets
import threading

import barcode
import cv2
import numpy as np
import page
import pytest
from page import decoded, next_scene, next_state, served
from websockets.exceptions import ConnectionClosed, InvalidStatus

from rtsearch.errors import ServerError
from rtsearch.web import Address, bind
from rtsearch.web.site import FIRST_PHONE


def jpeg(bgr: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


LARGE = cv2.imencode(".png", np.zeros((7500, 7500), np.uint8), [cv2.IMWRITE_PNG_BILEVEL, 1])[1].tobytes()


@pytest.fixture(scope="module")
def quiet(barcode_index):
    with served(barcode_index) as server:
        yield server


def test_changes_at_once_all_take_effect(quiet):
    before = quiet.ask("/api/settings").json
    changes = [{"show": {"results": 30}}, {"detect": {"threshold": 0.45}}, {"live": {"loop": True}}] * 5
    threads = [threading.Thread(target=quiet.ask, args=("/api/settings", "PATCH", each)) for each in changes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    now = quiet.ask("/api/settings").json
    assert (now["show"]["results"], now["detect"]["threshold"], now["live"]["loop"]) == (30, 0.45, True)
    quiet.site.change({name: before[name] for name in ("show", "detect")} | {"live": {"loop": False}})


def test_a_library_without_sources(quiet):
    assert quiet.ask("/api/scene").status == 404
    with quiet.watch() as viewer:
        state = next_state(viewer)
    assert (state["sources"], state["objects"]) == ([], len(quiet.site.index))
    assert quiet.ask("/healthz").json == {"status": "ok", "sources": 0, "lost": 0}


def test_search_by_photo_answers_as_query_does(quiet):
    found = quiet.ask("/api/search?k=3&name=a.jpg", "POST", jpeg(page.square()))
    assert found.status == 200
    assert (found.json["photo"], found.json["wh"]) == ("a.jpg", list(barcode.WH))
    (item,) = found.json["objects"]
    assert item["label"] == "red"
    assert all(hit["photo"].endswith(".png") for hit in item["neighbours"])
    assert len(item["neighbours"]) == 3


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"", 400, "no photo"),
        (b"this is no photo", 422, "cannot be read"),
        (b"\xff\xd8\xff\xe0" + bytes(100), 422, "cannot be read"),
        (LARGE, 413, "megapixels"),
    ],
)
def test_photos_that_are_none(quiet, body, status, words):
    answer = quiet.ask("/api/search", "POST", body)
    assert (answer.status, words in answer.json["error"]) == (status, True), answer.body
    assert "/tmp" not in answer.json["error"]


def test_a_body_that_is_too_large_is_refused_before_it_is_read(quiet):
    with sockets.create_connection(("127.0.0.1", quiet.port), 20) as client:
        client.sendall(b"POST /api/search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 104857600\r\n\r\n")
        assert client.recv(1000).startswith(b"HTTP/1.1 413 ")
    with sockets.create_connection(("127.0.0.1", quiet.port), 20) as client:  # of no promised length
        client.sendall(
            b"PATCH /api/settings HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        client.sendall(b"20000\r\n" + bytes(0x20000) + b"\r\n")
        assert client.recv(1000).startswith(b"HTTP/1.1 413 ")


def test_more_searches_than_a_client_may_make(barcode_index):
    with served(barcode_index) as server:
        assert {server.ask("/api/search", "POST", b"").status for _ in range(60)} == {400, 429}


def test_objects_of_the_library(quiet):
    first = quiet.ask("/api/objects/0").json
    assert first["row"] == 0
    assert first["photo"]
    near = quiet.ask("/api/objects/0/similar?k=4").json["neighbours"]
    assert len(near) == 4
    assert 0 not in [hit["row"] for hit in near]
    assert [hit["distance"] for hit in near] == sorted(hit["distance"] for hit in near)
    for row in (len(quiet.site.index), 10**30, "9" * 5000):
        assert quiet.ask(f"/api/objects/{row}").status == 404
    for path in ("/api/objects/-1", "/api/objects/x", "/api/objects/1.5"):
        assert quiet.ask(path).status == 404
    for bad in ("0", "-1", "201", "x", "1e9", "000000005000", "%D9%A3", "9" * 5000, ""):
        assert quiet.ask(f"/api/objects/0/similar?k={bad}").status == 422


def test_crops_never_change_under_their_address(quiet):
    path = f"/thumb/{quiet.site.fingerprint}/3.jpg"
    crop = quiet.ask(path)
    assert crop.body == quiet.site.thumbs.jpeg(3)
    assert "immutable" in crop.headers["cache-control"]
    tall = decoded(quiet.ask(f"{path}?h=64").body)
    assert tall.shape[0] == 64
    assert quiet.ask("/thumb/0000/3.jpg").status == 404
    assert quiet.ask(f"{path}?h=100000").status == 422


def test_photos_are_shown_only_where_that_is_wanted(quiet, barcode_index):
    assert quiet.ask("/photo/0.jpg").status == 404
    assert quiet.ask("/api/objects/0").json["has_photo"] is False
    with served(barcode_index, ["web.photos=true"]) as open_one:
        photo = open_one.ask("/photo/0.jpg")
        assert photo.headers["x-photo-size"] == "160x120"
        assert decoded(photo.body).shape == (120, 160, 3)
        assert open_one.ask("/api/objects/0").json["has_photo"] is True


def test_settings_are_changed_all_or_none(quiet):
    ok = quiet.ask("/api/settings", "PATCH", {"detect": {"threshold": 0.4}, "show": {"results": 9}})
    assert (ok.json["detect"]["threshold"], ok.json["show"]["results"]) == (0.4, 9)
    bad = quiet.ask("/api/settings", "PATCH", {"detect": {"threshold": 0.5}, "show": {"results": 1}})
    assert bad.status == 422
    assert bad.json["detail"][0]["loc"] == ["show", "results"]
    assert bad.json["detail"][0]["type"] == "greater_than_equal"
    assert quiet.ask("/api/settings").json["detect"]["threshold"] == 0.4


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"detect": {"thresold": 0.5}}, "thresold"),
        ({"nothing": {"x": 1}}, "nothing"),
        ({"model": {"name": "other"}}, "model.name cannot be changed"),
        ({"live": {"source": "1"}}, "live.source cannot be changed"),
        ({"web": {"public": True}}, "web.public cannot be changed"),
        ({"describe": {"embedder": "x.onnx"}}, "describe.embedder cannot be changed"),
        ({"describe": {"meaning": 2}}, "describe.meaning"),
        ({"detect": {"classes": ["unicorn"]}}, "no class unicorn"),
        ({"show": {"font": "/etc/passwd"}}, "show.font"),
        ({"show": {"privacy": "faces"}}, "show.privacy cannot be changed"),
        ({"detect": 3}, "detect"),
    ],
)
def test_settings_that_are_refused(quiet, changes, words):
    answer = quiet.ask("/api/settings", "PATCH", changes)
    assert (answer.status, words in answer.json["error"]) == (422, True), answer.body


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"3", b"[" * 100_000])
def test_bodies_that_are_no_object(quiet, body):
    assert quiet.ask("/api/settings", "PATCH", body).status in (400, 413)


@pytest.mark.parametrize(
    "order",
    [
        {},
        {"do": "format"},
        {"do": "seek"},
        {"do": "seek", "to_s": "x"},
        {"do": "seek", "to_s": 10**400},
        {"do": "skip", "by_s": True},
        {"do": "skip", "by_s": 2e6},
    ],
)
def test_commands_that_there_are_not(quiet, order):
    assert quiet.ask("/api/control", "POST", order).status == 422


def test_a_phone_is_a_source_with_tracks_of_its_own(quiet):
    with quiet.watch() as viewer, quiet.watch("/ws/source") as phone, quiet.watch("/ws/source") as other:
        tracks = set()
        for number in range(4):
            phone.send(jpeg(barcode.picture(number)))
            scene = json.loads(phone.recv(timeout=20))
            (item,) = scene["objects"]
            tracks.add(item["track"])
            assert scene["shown"][0]["rows"]
            assert scene["library"] == quiet.site.fingerprint
        assert len(tracks) == 1
        assert next_scene(viewer)[0]["place"] == FIRST_PHONE
        other.send(jpeg(barcode.picture(3)))
        assert json.loads(other.recv(timeout=20))["place"] == FIRST_PHONE + 1
    with quiet.watch() as viewer:
        while next_state(viewer)["phones"]:  # both have gone
            pass


def test_nobody_is_recognised_in_the_picture_of_a_phone(barcode_index, monkeypatch):
    monkeypatch.setattr("rtsearch.live.privacy._PERSON", "red")  # what the network takes bar codes for
    options = ["show.privacy=persons", "detect.threshold=0"]
    sent = barcode.picture(3)
    with (
        served(barcode_index, options) as server,
        server.watch() as viewer,
        server.watch("/ws/source") as phone,
    ):
        phone.send(jpeg(sent))
        (item,) = json.loads(phone.recv(timeout=20))["objects"]
        assert item["label"] == "red"
        x1, y1, x2, y2 = map(int, item["xyxy"])
        _, shown = next_scene(viewer)
        differs = np.abs(decoded(shown).astype(int) - sent).max(2) > 60
        assert differs[y1:y2, x1:x2].mean() > 0.2
        assert differs[: y1 // 2].mean() < 0.01


def test_pictures_of_a_phone_that_are_none(quiet):
    with quiet.watch("/ws/source") as phone:
        phone.send(b"garbage")
        assert "cannot be read" in json.loads(phone.recv(timeout=20))["error"]
        phone.send(jpeg(page.square()))
        assert json.loads(phone.recv(timeout=20))["objects"]  # one that is bad does no harm
        for _ in range(5):
            phone.send(jpeg(page.square())[:50])
            phone.recv(timeout=20)
        with pytest.raises(ConnectionClosed) as closed:
            phone.recv(timeout=20)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1003
    with quiet.watch("/ws/source") as phone:
        phone.send(jpeg(np.zeros((4000, 4000, 3), np.uint8)))
        assert "too large" in json.loads(phone.recv(timeout=20))["error"]
    with quiet.watch("/ws/source") as phone, pytest.raises(ConnectionClosed):  # noqa: PT012
        phone.send(bytes(3 << 20))
        phone.recv(timeout=20)


def test_a_phone_that_is_silent_leaves_its_place_to_another(barcode_index, monkeypatch):
    monkeypatch.setattr("rtsearch.web.phones._SILENT_S", 0.2)
    with served(barcode_index, ["web.phones=1"]) as server:
        with server.watch("/ws/source") as silent, pytest.raises(ConnectionClosed) as closed:
            silent.recv(timeout=20)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1013
        with server.watch("/ws/source") as other:
            other.send(jpeg(page.square()))
            assert json.loads(other.recv(timeout=20))["objects"]


def test_no_more_clients_than_are_allowed(barcode_index):
    with served(barcode_index, ["web.clients=2", "web.phones=1"]) as server:
        with server.watch(), server.watch(), server.watch("/ws/source"):
            for path in ("/ws", "/ws/source"):
                with pytest.raises(InvalidStatus) as refused:
                    server.watch(path)
                assert refused.value.response.status_code == 429
        for path in ("/ws", "/ws/source"):
            with server.watch(path):  # there is room again
                pass


def test_the_wall_shows_every_object_once(quiet):
    wall = quiet.ask("/api/wall").json
    assert wall["objects"] == len(quiet.site.index)
    while not wall["ready"]:
        wall = quiet.ask("/api/wall").json
    cells = [(x, y) for y in range(wall["rows"]) for x in range(wall["columns"])]
    rows = [quiet.ask(f"/api/wall/{wall['key']}/at?x={x}&y={y}").json["row"] for x, y in cells]
    assert sorted(row for row in rows if row is not None) == list(range(len(quiet.site.index)))
    found = quiet.ask(f"/api/wall/{wall['key']}/cells?rows=3,5,999999999").json["cells"]
    assert sorted(cell[0] for cell in found) == [3, 5]
    assert all(rows[y * wall["columns"] + x] == row for row, x, y in found)
    tile = quiet.ask(f"/wall/{wall['key']}/32/0/0.jpg")
    picture = decoded(tile.body)
    assert picture.shape[:2] == (32 * wall["rows"], 32 * wall["columns"])
    for bad in ("33/0/0", "32/1/0", "32/0/9999999999"):
        assert quiet.ask(f"/wall/{wall['key']}/{bad}.jpg").status == 404
    for bad in ("at?x=0&y=0000000001", "at?x=0", "at?x=-1&y=0", "cells?rows=3,x", "cells?rows=99999999999"):
        assert quiet.ask(f"/api/wall/{wall['key']}/{bad}").status == 422
    assert quiet.ask(f"/api/wall/{wall['key']}/at?x=999999999&y=0").json["row"] is None
    assert quiet.ask("/wall/../32/0/0.jpg").status == 404
    assert quiet.ask("/api/wall?label=unicorn").status == 404
    reds = quiet.ask("/api/wall?label=red").json
    assert reds["objects"] == quiet.site.class_counts["red"] < wall["objects"]


@pytest.mark.parametrize(
    "path",
    [
        "/static/../site.py",
        "/static/..%2fsite.py",
        "/static/%2e%2e/site.py",
        "/static//etc/passwd",
        "/thumb/../0.jpg",
    ],
)
def test_no_text_of_a_client_becomes_a_path(quiet, path):
    assert quiet.ask(path).status == 404


def test_addresses_that_cannot_be_answered_at(tmp_path):
    with bind(Address("127.0.0.1", 0)) as taken:
        taken.listen()
        with pytest.raises(ServerError, match="is taken already; choose another: --port"):
            bind(Address("127.0.0.1", taken.getsockname()[1]))
    with pytest.raises(ServerError, match=r"192\.0\.2\.1"):
        bind(Address("192.0.2.1", 0))
    with pytest.raises(ServerError, match="no such file"):
        bind(Address(cert=tmp_path / "none.pem"))
    (tmp_path / "wrong.pem").write_text("not a certificate")
    with pytest.raises(ServerError, match="no certificate with its key"):
        bind(Address(cert=tmp_path / "wrong.pem"))
