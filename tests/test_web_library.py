"""The library on the page: films, near duplicates, whole images, and the wall while it is arranged."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import blobs
import cv2
import numpy as np
import pytest
from page import decoded, served
from test_films import look, write

from rtsearch.config import load_settings
from rtsearch.library import Library
from rtsearch.library.index import open_index
from rtsearch.render import grid_sort

SETTINGS = load_settings(None, ["project.dim=6"])


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """An index of a film of three scenes and of photos, one of them twice."""
    folder = tmp_path_factory.mktemp("films")
    write(folder / "photos" / "f.avi", [blobs.draw(1000 + second // 8, 2) for second in range(24)], 1)
    for number in range(20):
        cv2.imwrite(str(folder / "photos" / f"{number:02d}.png"), blobs.draw(number, 4))
    (folder / "photos" / "copy.png").write_bytes((folder / "photos" / "03.png").read_bytes())
    look(folder / "photos", folder / "lib")
    return open_index(Library.open(folder / "lib"), SETTINGS)


@pytest.fixture(scope="module")
def server(films):
    with served(films, ["web.photos=true"]) as running:
        yield running


def rows_of(index, ending: str) -> list[int]:
    return [row for row in range(len(index)) if index.photo(row).endswith(ending)]


def final_wall(server, path: str = "/api/wall"):
    """The wall, once it is arranged."""
    while not (wall := server.ask(path).json)["ready"]:
        time.sleep(0.05)
    return wall


def test_a_crop_of_a_film_shows_its_picture_at_that_time(server, films):
    for row in rows_of(films, ".avi"):
        facts = server.ask(f"/api/objects/{row}").json
        assert facts["seen_s"][0] <= facts["t_s"] <= facts["seen_s"][1]
        photo = server.ask(f"/photo/{row}.jpg")
        assert photo.headers["x-photo-size"] == "160x120"
        expected = blobs.draw(1000 + int(facts["t_s"]) // 8, 2)
        assert np.abs(decoded(photo.body).astype(int) - expected).mean() < 8
        assert facts["has_photo"]


def test_pictures_of_films_are_shown_only_where_photos_are(films):
    row = rows_of(films, ".avi")[0]
    with served(films) as server:
        assert server.ask(f"/photo/{row}.jpg").status == 404
        assert server.ask(f"/api/objects/{row}").json["has_photo"] is False


def test_a_film_that_is_gone_is_no_error_of_the_server(films, tmp_path, monkeypatch):
    monkeypatch.setattr(type(films.library), "photo_path", lambda *_: tmp_path / "gone.avi")
    with served(films, ["web.photos=true"]) as server:
        for row in (rows_of(films, ".avi")[0], rows_of(films, "07.png")[0]):
            answer = server.ask(f"/photo/{row}.jpg")
            assert answer.status == 404
            assert str(tmp_path) not in answer.body.decode()


def test_the_composed_picture_tells_the_times_of_films(films):
    from rtsearch.web.streams import _ComposedPicture

    with served(films) as server:
        row = rows_of(films, ".avi")[0]
        marked = _ComposedPicture(server.site)._crops.of(films).get(row, 96)
        plain = server.site.thumbs.get(row, 96)
    assert marked.shape == plain.shape
    assert (marked != plain).any(2)[-20:].any()  # at the lower edge
    assert not (marked != plain).any(2)[:40].any()


def test_similar_objects_are_no_copies(server, films):
    row, copies = rows_of(films, "03.png")[0], rows_of(films, "copy.png")
    assert films.leaders[row] in films.leaders[copies]
    near = server.ask(f"/api/objects/{row}/similar?k=200").json["neighbours"]
    assert films.leaders[row] not in films.leaders[[hit["row"] for hit in near]]
    assert [hit["distance"] for hit in near] == sorted(hit["distance"] for hit in near)
    server.site.change({"show": {"distinct": False}})
    every = server.ask(f"/api/objects/{row}/similar?k=200").json["neighbours"]
    server.site.change({"show": {"distinct": True}})
    assert sorted(hit["row"] for hit in every) == [other for other in range(len(films)) if other != row]


def test_the_wall_of_whole_images(tmp_path):
    for number in range(6):
        (tmp_path / "photos").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "photos" / f"{number}.png"), blobs.draw(number, 2))
    look(tmp_path / "photos", tmp_path / "lib")
    opened = open_index(Library.open(tmp_path / "lib"), SETTINGS)
    whole = np.arange(len(opened)) < 4
    opened._table["label"] = np.where(whole, np.int32(-1), opened.labels)
    with served(opened) as server:
        counts = final_wall(server)["labels"]
        assert counts["whole image"] == final_wall(server, "/api/wall?label=whole%20image")["objects"] == 4
        assert server.ask("/api/wall?label=unicorn").json["error"] == "the network has no such class"


def test_a_class_is_arranged_once_for_all_viewers(films, monkeypatch):
    calls: list[int] = []
    at_once: list[int] = []
    lock = threading.Lock()

    def arrange(points, shape, **kwargs):
        with lock:
            calls.append(len(points))
            at_once.append(1)
        try:
            assert len(at_once) == 1
            return grid_sort.arrange(points, shape, **kwargs)
        finally:
            at_once.pop()

    monkeypatch.setattr("rtsearch.web.wall.arrange", arrange)
    with served(films) as server, ThreadPoolExecutor(8) as viewers:
        asked = ["/api/wall", "/api/wall?label=red", "/api/wall?label=blue"] * 8
        walls = list(viewers.map(lambda path: server.ask(path).json, asked))
        for path in asked[:3]:
            final_wall(server, path)
    assert len(calls) == 3
    assert {wall["objects"] for wall in walls[::3]} == {len(films)}


def test_the_wall_is_that_of_the_index_that_is_searched(films, monkeypatch):
    entered, goes_on = threading.Event(), threading.Event()

    def slow(*args):
        entered.set()
        goes_on.wait(60)
        return open_index(*args)

    monkeypatch.setattr("rtsearch.web.meaning.open_index", slow)
    with served(films) as server:
        server.ask("/api/settings", "PATCH", {"describe": {"meaning": 0}})
        assert entered.wait(20)
        before = final_wall(server)["key"]  # another meaning is wanted, the old one is in force
        goes_on.set()
        while server.site.state()["opening"]:
            time.sleep(0.01)
        walls = server.site.index, films
        assert walls[0] is not walls[1]
        after = final_wall(server)["key"]
    assert before != after


def test_an_arrangement_that_fails_leaves_the_first_order(films, monkeypatch):
    monkeypatch.setattr("rtsearch.web.wall.arrange", failing)
    with served(films) as server:
        first = server.ask("/api/wall").json
        assert final_wall(server)["key"] == first["key"]


def failing(*_: object, **__: object) -> None:
    raise MemoryError


def test_a_tile_of_small_crops_comes_at_once_and_whole_in_the_end(films, monkeypatch):
    with served(films) as server:
        wall = final_wall(server)
        monkeypatch.setattr("rtsearch.web.wall._PATIENCE_S", -1.0)  # one crop each time, after the first
        path = f"/wall/{wall['key']}/8/0/0.jpg"
        tiles = [server.ask(path) for _ in range(wall["objects"] - 1)]
        assert {tile.headers["cache-control"] for tile in tiles[:-1]} == {"no-store"}
        assert "immutable" in tiles[-1].headers["cache-control"]
        first, last = decoded(tiles[0].body), decoded(tiles[-1].body)
        assert first.shape == last.shape == (8 * wall["rows"], 8 * wall["columns"], 3)
        monkeypatch.undo()
        once = decoded(server.ask(path.replace("/8/", "/16/")).body)
        half = cv2.resize(once, last.shape[1::-1], interpolation=cv2.INTER_AREA)
        assert np.abs(half.astype(int) - last).mean() < 12


def test_crops_in_a_tile_stand_where_their_cells_are(films):
    from rtsearch.web.wall import _SmallCrops

    with served(films) as server:
        crops = _SmallCrops(server.site.thumbs, len(films))
        cells = np.array([[0, 1, 2], [3, 4, -1]], np.int32)
        crops._small(cells, 8)
        assert crops._get(cells, np.inf) is True
        small = crops._small(cells, 8)
        for (y, x), row in np.ndenumerate(cells):
            cell = small[8 * y : 8 * y + 8, 8 * x : 8 * x + 8]
            expected = crops._decoded(int(row), 8) if row >= 0 else np.full((8, 8, 3), 15)
            np.testing.assert_array_equal(cell, expected)
