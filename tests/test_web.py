"""The page over real sockets: scenes, frames, searches that change."""

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

from rtsearch.config import Settings
from rtsearch.library.narrowing import narrow
from rtsearch.sources import Paced, open_source

STATIC = Path(__file__).resolve().parents[1] / "rtsearch" / "web" / "static"
API = json.loads((STATIC / "openapi.json").read_text(encoding="utf-8"))


def jpeg(bgr: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


@pytest.fixture(scope="module")
def live(barcode_index):
    with served(barcode_index, frames=100_000) as server:
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


def test_figures_in_the_format_of_prometheus(live):
    with live.watch() as viewer:
        next_scene(viewer)
        lines = live.ask("/metrics").body.decode().splitlines()
    samples = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    assert float(samples['rtsearch_shown_total{source="0"}']) > 0
    assert float(samples["rtsearch_viewers"]) == 1
    assert float(samples['rtsearch_stage_seconds{stage="latency",quantile="0.5"}']) > 0
    assert all(re.fullmatch(r'rtsearch_\w+(\{\w+="[\w&+ ]+"(,\w+="[\d.]+")?\})?', name) for name in samples)


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


def test_pages_are_whole_and_load_nothing_from_elsewhere(live):
    for path in ("/", "/kiosk", "/library", "/phone"):
        html = live.ask(path).body.decode()
        for address in re.findall(r'(?:src|href)="([^"#]+)"', html):
            assert address.startswith("/")
            assert live.ask(address).status == 200, address
        assert not re.search(r"<script(?![^>]*src=)|style=|\son\w+=", html)
    for script in STATIC.glob("*.js"):
        text = script.read_text(encoding="utf-8")
        assert re.findall(r"https?://", text) == []
        assert re.findall(r'from "(?!\./)[^"]+"', text) == []
        assert [
            name for name in re.findall(r'from "\./(\w+\.js)"', text) if not (STATIC / name).is_file()
        ] == []
