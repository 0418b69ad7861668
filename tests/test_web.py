"""The page over real sockets: scenes, search, settings, limits. test_web_access.py says who may do what."""

from __future__ import annotations

import contextlib
import gc
import json
import re
import socket as sockets
import threading
import time
import weakref
from pathlib import Path

import barcode
import cv2
import numpy as np
import page
import pytest
from clips import write_clip
from page import decoded, next_scene, next_state, served
from websockets.exceptions import ConnectionClosed, InvalidStatus

from rtsearch.config import Settings
from rtsearch.errors import ServerError
from rtsearch.library.narrowing import narrow
from rtsearch.sources import Paced, open_source
from rtsearch.web import Address, bind
from rtsearch.web.site import FIRST_PHONE

STATIC = Path(__file__).resolve().parents[1] / "rtsearch" / "web" / "static"
API = json.loads((STATIC / "openapi.json").read_text(encoding="utf-8"))


def jpeg(bgr: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


LARGE = cv2.imencode(".png", np.zeros((7500, 7500), np.uint8))[1].tobytes()  # 0.1 MB


@pytest.fixture(scope="module")
def live(barcode_index):
    with served(barcode_index, frames=100_000) as server:
        yield server


@pytest.fixture(scope="module")
def quiet(barcode_index):
    with served(barcode_index) as server:
        yield server


def test_frame_boxes_and_strips_of_a_message_belong_together(live):
    last = -1
    with live.watch() as viewer:
        for _ in range(15):
            scene, data = next_scene(viewer)
            number = barcode.number_of(decoded(data))
            assert number == scene["frame"] % 256
            assert scene["frame"] > last
            last = scene["frame"]
            (item,) = scene["objects"]
            assert abs(item["xyxy"][0] - (10 + 3 * (number % 80))) < 2
            assert scene["shown"][0]["track"] == item["track"]
            assert len(scene["shown"][0]["rows"]) >= 5
            assert scene["wh"] == list(barcode.WH)
            assert scene["v"] == 1
            assert scene["library"] == live.site.fingerprint


def test_a_viewer_that_confirms_gets_no_more_than_it_takes(live):
    with live.watch("/ws?confirm=1") as slow, live.watch() as quick:
        first = [next_scene(slow)[0]["frame"] for _ in range(2)]
        for _ in range(20):
            ahead = next_scene(quick)[0]["frame"]
        with pytest.raises(TimeoutError):
            slow.recv(timeout=0.05)
        slow.send("ok")
        again = next_scene(slow)[0]["frame"]
        assert again > first[-1] + 5  # the newest, not the next
        assert ahead > first[-1]


def test_a_viewer_gets_frames_as_large_as_it_shows_them(live):
    def width_of(viewer) -> int:
        return decoded(next_scene(viewer)[1]).shape[1]

    def becomes(viewer, width: int) -> bool:
        return any(width_of(viewer) == width for _ in range(100))

    with live.watch() as full, live.watch() as small, live.watch() as smaller:
        assert {width_of(viewer) for viewer in (full, small, smaller)} == {320}
        small.send("w240")
        smaller.send("w200")
        assert becomes(small, 240)
        assert becomes(smaller, 200)
        assert width_of(full) == 320
        for text in ("w", "w-3", "w123456", "w2 0", "width"):
            small.send(text)
        small.send("w0")  # as small as they are made
        assert becomes(small, 160)
        live.ask("/api/control", "POST", {"do": "pause"})
        small.send("w300")
        assert becomes(small, 300)  # a picture that stands still, too
        live.ask("/api/control", "POST", {"do": "resume"})
    scene, data = unpacked_newest(live)
    assert decoded(data).shape[1] == scene["wh"][0] == 320


def test_no_frame_is_encoded_in_more_than_four_sizes(live):
    with contextlib.ExitStack() as stack:
        viewers = [stack.enter_context(live.watch()) for _ in range(6)]
        for i, viewer in enumerate(viewers):
            viewer.send(f"w{200 + 20 * i}")
        for i, viewer in enumerate(viewers):
            wanted = max(200 + 20 * i, 240)  # the larger sizes are made
            assert any(decoded(next_scene(viewer)[1]).shape[1] == wanted for _ in range(200)), i


def unpacked_newest(live) -> tuple[dict, bytes]:
    with live.watch() as viewer:
        return next_scene(viewer)


def test_a_viewer_hears_of_changes_and_its_echo(live):
    with live.watch() as viewer:
        assert next_state(viewer)["paused"] is False
        assert live.ask("/api/control", "POST", {"do": "pause"}).json == {"paused": True}
        assert next_state(viewer)["paused"] is True
        assert live.ask("/api/control", "POST", {"do": "resume"}).json == {"paused": False}
        assert next_state(viewer)["paused"] is False
        viewer.send("t17.5")
        while (told := viewer.recv(timeout=20)) != "t17.5":
            assert not isinstance(told, str)


def test_who_comes_late_sees_the_last_picture_of_a_pause(live):
    with live.watch() as viewer:
        next_scene(viewer)
        live.ask("/api/control", "POST", {"do": "pause"})
        with live.watch() as late:
            assert next_state(late)["paused"] is True
            assert next_scene(late)[0]["objects"]
    live.ask("/api/control", "POST", {"do": "resume"})


def test_a_file_is_sought_and_stepped_through_in_a_pause(barcode_index, tmp_path):
    clip = write_clip(tmp_path / "clip.avi", range(120), wh=(96, 64))
    source = Paced(open_source(str(clip), Settings().live, loop=True))
    with served(barcode_index, source=source) as server, server.watch() as viewer:
        state = next_state(viewer)
        while not state["sources"]:
            state = next_state(viewer)
        assert state["sources"][0]["length_s"] == 4.0
        assert state["sources"][0]["name"] == "clip.avi"  # without the folders of this machine
        next_scene(viewer)
        server.ask("/api/control", "POST", {"do": "pause"})
        for order, at_s in (
            ({"do": "seek", "to_s": 2.0}, 2.0),
            ({"do": "step"}, 2.0333),
            ({"do": "skip", "by_s": -1}, 1.0333),
        ):
            server.ask("/api/control", "POST", order)
            for _ in range(100):  # pictures of before are on their way
                scene = next_scene(viewer)[0]
                if abs(scene["t_s"] - at_s) < 0.001:
                    break
            assert abs(scene["t_s"] - at_s) < 0.001, order


def test_the_newest_scene_is_the_line_of_a_record(live):
    with live.watch() as viewer:
        next_scene(viewer)
    scene = live.ask("/api/scene").json
    assert set(scene) == {"v", "place", "wh", "frame", "t_s", "objects", "shown"}
    near = scene["objects"][0]["neighbours"]
    assert set(near[0]) >= {"row", "photo", "xyxy", "label", "distance"}
    assert [hit["row"] for hit in near] == scene["shown"][0]["rows"]
    assert live.ask("/api/scene?place=9").status == 404
    assert live.ask("/api/scene?place=0000001").status == 404  # is 1, however it is written
    assert live.ask("/api/scene?place=x").status == 422


def test_the_composed_picture_as_mjpeg(live):
    with live.watch() as viewer:
        next_scene(viewer)
    with sockets.create_connection(("127.0.0.1", live.port), 20) as stream:
        stream.sendall(b"GET /stream.mjpg HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        data = b""
        while b"\xff\xd9" not in data:
            data += stream.recv(1 << 16)
    assert b"multipart/x-mixed-replace; boundary=frame" in data
    picture = decoded(data[data.index(b"\xff\xd8") :])
    assert picture.shape[:2] == (720, 1280)
    assert picture.max() > 150  # the red object of the frame


def test_another_index_is_searched_from_the_next_frame_on(live):
    """Tracks go on. On a machine under load frames are left out, and a thing that jumps is another one."""
    with live.watch() as viewer:
        kept = [keeps_its_track(live, viewer, meaning) for meaning in (0.0, 0.5, 0.0, 0.5)]
    assert any(kept)
    assert live.site.controls.now.index is not None


def keeps_its_track(live, viewer, meaning: float) -> bool:
    """Switch to the index of a meaning while the page looks; tell whether the object kept its track."""
    before = next_scene(viewer)[0]
    changed = live.ask("/api/settings", "PATCH", {"describe": {"meaning": meaning}})
    assert changed.json["describe"]["meaning"] == meaning
    while (state := next_state(viewer))["opening"] or state["meaning"] != meaning:
        pass
    after = next_scene(viewer)[0]
    assert after["frame"] > before["frame"]
    return bool(after["objects"][0]["track"] == before["objects"][0]["track"])


def test_an_index_that_cannot_be_opened_leaves_the_search_as_it_was(barcode_index, monkeypatch):
    with served(barcode_index) as server, server.watch() as viewer:
        monkeypatch.setattr("rtsearch.web.meaning.open_index", broken)
        server.ask("/api/settings", "PATCH", {"describe": {"meaning": 0.25}})
        states = [next_state(viewer)]
        while states[-1]["opening"] or len(states) < 3:
            time.sleep(0.01)
            states.append(server.site.state())
        assert states[-1]["meaning"] == server.ask("/api/settings").json["describe"]["meaning"] == 0.5
        monkeypatch.undo()
        server.ask("/api/settings", "PATCH", {"describe": {"meaning": 0.25}})
        while server.site.state()["opening"]:
            time.sleep(0.01)
        assert server.site.state()["meaning"] == 0.25
        assert server.site.index is not barcode_index


def broken(*_: object) -> None:
    raise ValueError("no such luck")


def test_few_indexes_are_kept_open(barcode_index):
    seen = []
    with served(barcode_index) as server:
        for step in range(8):
            server.ask("/api/settings", "PATCH", {"describe": {"meaning": step / 10}})
            while server.site.state()["opening"]:
                time.sleep(0.01)
            assert server.site.state()["meaning"] == step / 10
            seen.append(weakref.ref(server.site.index))
        gc.collect()
        assert sum(one() is not None for one in seen) <= 4 + 1  # and that of the start


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


def test_the_largest_distance_is_changed_while_it_runs(live):
    with live.watch() as viewer:
        while not next_scene(viewer)[0]["shown"][0]["rows"]:
            pass
        live.ask("/api/settings", "PATCH", {"show": {"max_distance": 0.001}})
        while next_scene(viewer)[0]["shown"][0]["rows"]:
            pass
        found = live.ask("/api/search", "POST", jpeg(page.square())).json
        assert found["max_distance"] == 0.001
        assert found["objects"][0]["neighbours"]  # programs get them all, the page leaves them out
        live.ask("/api/settings", "PATCH", {"show": {"max_distance": 0}})
        while not next_scene(viewer)[0]["shown"][0]["rows"]:
            pass
    assert live.ask("/api/search", "POST", jpeg(page.square())).json["max_distance"] is None


def test_viewers_get_the_words_of_classes(live):
    with live.watch() as viewer:
        live.ask("/api/settings", "PATCH", {"show": {"labels": ["red=rot", "blue="]}})
        while (state := next_state(viewer))["words"] == {}:
            pass
        assert state["words"] == {"red": "rot", "blue": ""}
        assert next_scene(viewer)[0]["objects"][0]["label"] == "red"  # as in records
        with live.watch("/ws/source") as phone:
            phone.send(jpeg(page.square()))
            assert json.loads(phone.recv(timeout=20))["words"] == {"red": "rot", "blue": ""}
        live.ask("/api/settings", "PATCH", {"show": {"labels": []}})


def test_pages_have_the_colours_of_the_settings(live):
    def said() -> dict[str, str]:
        answer = live.ask("/theme.css")
        assert answer.headers["content-type"].startswith("text/css")
        return dict(re.findall(r"([\w-]+): ([^;]+);", answer.body.decode()))

    dark = said()
    assert (dark["--ground"], dark["--accent"], dark["color-scheme"]) == ("#0e0f0f", "#ffaf50", "dark")
    assert dark["--ground-parts"] == "14 15 15"
    with live.watch() as viewer:
        assert (told := next_state(viewer))["theme"] == "dark"
        assert told["crop_size"] == 1
        change = {"show": {"theme": "#f0eee8 #1a1a1a #c25b00", "thumb_height": 152}}
        assert live.ask("/api/settings", "PATCH", change).status == 200
        while (told := next_state(viewer))["theme"] == "dark":  # one of before may still be on its way
            pass
        assert (told["theme"], told["crop_size"]) == (change["show"]["theme"], 2)
    light = said()
    assert (light["--ground"], light["--ink"], light["color-scheme"]) == ("#f0eee8", "#1a1a1a", "light")
    live.site.change({"show": {"theme": "dark", "thumb_height": 76}})


def test_the_server_goes_on_while_a_search_is_narrowed(barcode_index, monkeypatch):
    entered, goes_on = threading.Event(), threading.Event()

    def slow(*args: object, **kwargs: object) -> object:
        entered.set()
        goes_on.wait(60)
        return narrow(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr("rtsearch.live.live_index.narrow", slow)
    with served(barcode_index) as server:
        asked = threading.Thread(target=server.ask, args=("/api/objects/0/similar",))
        asked.start()
        assert entered.wait(20)
        assert server.ask("/healthz").status == 200
        goes_on.set()
        asked.join()


def test_names_of_sources_tell_no_more_than_they_must(barcode_index):
    source = barcode.Moving(1, 0.02)
    source.name = "rtsp://me:***@camera.example:554/live/KEY"
    with served(barcode_index, source=source) as server, server.watch() as viewer:
        while not (state := next_state(viewer))["sources"]:
            pass
    assert state["sources"][0]["name"] == "camera.example:554"


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


def test_figures_in_the_format_of_prometheus(live):
    with live.watch() as viewer:
        next_scene(viewer)
        lines = live.ask("/metrics").body.decode().splitlines()
    samples = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    assert float(samples['rtsearch_shown_total{source="0"}']) > 0
    assert float(samples["rtsearch_viewers"]) == 1
    assert float(samples['rtsearch_stage_seconds{stage="latency",quantile="0.5"}']) > 0
    assert all(re.fullmatch(r'rtsearch_\w+(\{\w+="[\w&+ ]+"(,\w+="[\d.]+")?\})?', name) for name in samples)


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


def test_the_api_is_as_its_file_says(live):
    validator = pytest.importorskip("openapi_spec_validator", reason="needs the extra test")
    jsonschema = pytest.importorskip("jsonschema")
    validator.validate(API)
    from starlette.routing import Route

    from rtsearch.web.app import make_app

    pages = {
        "/",
        "/kiosk",
        "/library",
        "/phone",
        "/static/{name}",
        "/openapi.json",
        "/font",
        "/theme.css",
        "/qr.svg",
    }
    routes = {
        (re.sub(r":whole", "", route.path), method.lower())
        for route in make_app(live.site).routes
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}
    }
    said = {(path, method) for path, methods in API["paths"].items() for method in methods}
    assert {route for route in routes if route[0] not in pages} == said
    with live.watch() as viewer:
        next_scene(viewer)
    for path in (
        "/api/scene",
        "/api/settings",
        "/api/classes",
        "/api/objects/1",
        "/api/objects/1/similar",
        "/api/wall",
        "/healthz",
    ):
        schema = API["paths"][path.replace("/1", "/{row}")]["get"]["responses"]["200"]
        answer = live.ask(path)
        schema = {**schema["content"]["application/json"]["schema"], "components": API["components"]}
        jsonschema.Draft202012Validator(schema).validate(answer.json)
    assert live.ask("/openapi.json").json == API


def test_pages_are_whole_and_load_nothing_from_elsewhere(quiet):
    for path in ("/", "/kiosk", "/library", "/phone"):
        html = quiet.ask(path).body.decode()
        for address in re.findall(r'(?:src|href)="([^"#]+)"', html):
            assert address.startswith("/")
            assert quiet.ask(address).status == 200, address
        assert not re.search(r"<script(?![^>]*src=)|style=|\son\w+=", html)
    for script in STATIC.glob("*.js"):
        text = script.read_text(encoding="utf-8")
        assert re.findall(r"https?://", text) == []
        assert re.findall(r'from "(?!\./)[^"]+"', text) == []
        assert [
            name for name in re.findall(r'from "\./(\w+\.js)"', text) if not (STATIC / name).is_file()
        ] == []


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
