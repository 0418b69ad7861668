"""The page of a library that grows: pages and crops of the state before go on until the new one is shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="needs the extra web")

from page import next_state, served
from test_library_watch import NEW, SETTINGS, Growing, names, wait_for

from rtsearch.library.thumbnails import ThumbCache
from rtsearch.search.projection import Projection

OVERRIDES = [f"project.dim={SETTINGS.project.dim}", "show.distinct=false"]


def test_pages_learn_of_the_new_state_and_may_finish_with_the_old(tmp_path: Path) -> None:
    growing = Growing(tmp_path)
    old = growing.index
    with served(old, OVERRIDES) as server, server.watch() as socket:
        assert next_state(socket)["library"] == old.library.state
        growing.analyze(NEW)
        new = growing.build()
        state = next_state(socket)
        while state["library"] == old.library.state:
            state = next_state(socket)
        assert (state["library"], state["objects"]) == (new.library.state, len(new))
        for index in (old, new):
            crops = ThumbCache(index.thumb_places, 1 << 20)
            for row in (0, len(index) - 1):
                crop = server.ask(f"/thumb/{index.library.state}/{row}.jpg")
                assert crop.body == crops.jpeg(row)
        last = json.loads(server.ask(f"/api/objects/{len(new) - 1}").body)
        assert last["photo"] == new.photo(len(new) - 1)
        assert server.ask(f"/api/objects/{len(new)}").status == 404
        found = json.loads(server.ask(f"/api/objects/0/similar?k={len(new)}").body)
        assert {near["photo"] for near in found["neighbours"]} <= names(NEW)


def test_another_meaning_of_a_library_that_has_grown(tmp_path: Path) -> None:
    growing = Growing(tmp_path)
    with served(growing.index, OVERRIDES) as server:
        site = server.site
        growing.analyze(NEW)
        growing.build()
        wait_for(lambda: site.index.library is not growing.index.library)
        before = site.index.projection
        site.change({"describe": {"meaning": 0.9}})
        wait_for(lambda: site.index.projection is not before)
        assert isinstance(site.index.projection, Projection)
        assert len(site.index) == 3 * len(NEW)


def test_the_wall_of_a_library_that_has_grown(tmp_path: Path) -> None:
    """Tiles of the wall before are those of its own crops, also such as nobody has asked for yet."""
    growing = Growing(tmp_path)
    with served(growing.index, OVERRIDES) as server:
        before = server.ask("/api/wall").json
        first = server.ask(f"/wall/{before['key']}/8/0/0.jpg")
        assert first.status == 200
        growing.analyze(NEW)
        new = growing.build()
        wait_for(lambda: server.site.index.library.state == new.library.state)
        after = server.ask("/api/wall").json
        assert (after["objects"], before["objects"]) == (len(new), len(growing.index))
        assert after["key"] != before["key"]
        tile = server.ask(f"/wall/{after['key']}/8/0/0.jpg")
        assert tile.status == 200
        assert tile.body != first.body
        assert server.ask(f"/wall/{before['key']}/8/0/0.jpg").body == first.body
        assert server.ask(f"/wall/{before['key']}/32/0/0.jpg").status == 200
