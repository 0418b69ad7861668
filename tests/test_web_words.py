"""Words on the page and in its API: what is lit live, and what is found in the library."""

from __future__ import annotations

import json
from urllib.parse import quote

import numpy as np
import pytest
from page import next_scene, next_state, served
from test_web import API
from test_web_access import TOKEN, bearer

from rtsearch.config import SearchSettings
from rtsearch.library.narrowing import narrow
from rtsearch.web import Access


@pytest.fixture(scope="module")
def live(barcode_index):
    with served(barcode_index, frames=100_000) as server:
        yield server


@pytest.fixture(scope="module")
def quiet(barcode_index):
    with served(barcode_index) as server:
        yield server


def look_for(server, words: str):
    return server.ask("/api/settings", "PATCH", {"live": {"find": words}})


def find(server, words: str, query: str = ""):
    return server.ask(f"/api/find?words={quote(words)}{query}")


def scene_that(viewer, fits):
    """The next scene that fits; settings are read once a frame, so earlier ones may come first."""
    for _ in range(200):
        scene, _ = next_scene(viewer)
        if fits(scene):
            return scene
    raise AssertionError("no such scene came")


def test_words_light_what_they_describe(live):
    with live.watch() as viewer:
        assert next_state(viewer)["find"] == ""
        assert next_scene(viewer)[0]["dims"] is False
        assert look_for(live, "blue").json["live"]["find"] == "blue"  # the thing is red
        scene_that(viewer, lambda scene: scene["dims"] and not scene["objects"])
        with live.watch() as late:
            assert next_state(late)["find"] == "blue"
        look_for(live, "a red red")
        scene_that(viewer, lambda scene: scene["dims"] and scene["objects"])
        look_for(live, " ")
        scene_that(viewer, lambda scene: not scene["dims"] and scene["objects"])
        assert live.site.controls.now.chooser is None


def test_words_that_are_not_known_change_nothing(live):
    look_for(live, "red")
    answer = live.ask("/api/settings", "PATCH", {"live": {"find": "striped"}, "detect": {"threshold": 0.9}})
    assert answer.status == 422
    assert '"striped" is not known' in answer.json["error"]
    now = live.ask("/api/settings").json
    assert now["live"]["find"] == "red"
    assert now["detect"]["threshold"] != 0.9
    look_for(live, "")


def test_words_of_the_settings_are_in_force_from_the_start(barcode_index):
    with served(barcode_index, ["live.find=red"]) as server:
        assert server.ask("/api/settings").json["live"]["find"] == "red"
        server.ask("/api/settings", "PATCH", {"live": {"loop": True}})
        assert server.site.controls.now.chooser is not None


def test_a_phone_sees_what_is_looked_for(quiet):
    import barcode
    from test_web import jpeg

    def seen() -> list[str]:
        with quiet.watch("/ws/source") as phone:
            phone.send(jpeg(barcode.picture(3)))
            return [item["label"] for item in json.loads(phone.recv(timeout=20))["objects"]]

    assert seen() == ["red"]
    look_for(quiet, "green")
    assert seen() == []
    look_for(quiet, "")
    assert seen() == ["red"]


def test_objects_of_the_library_are_found_by_words(quiet, barcode_index):
    answer = find(quiet, "blue things", "&k=3")
    assert answer.status == 422
    found = find(quiet, "some blue", "&k=3").json
    assert found["looked_for"] == "blue"
    assert found["library"] == barcode_index.library.state
    assert [item["label"] for item in found["objects"]] == ["blue"] * 3
    assert all(item["photo"].endswith(".png") for item in found["objects"])
    every = find(quiet, "blue").json["objects"]
    blue = barcode_index.library.space.class_names.index("blue")
    given = narrow(barcode_index, SearchSettings(), distinct=True).given
    assert (
        sorted(item["row"] for item in every)
        == np.flatnonzero(given & (barcode_index.labels == blue)).tolist()
    )
    by_colour = find(quiet, "a red red").json
    assert by_colour["looked_for"] == "red in red"
    shares = [item["share"] for item in by_colour["objects"]]
    assert shares == sorted(shares, reverse=True)
    assert min(shares) > 0.5


def test_a_search_by_words_is_as_the_file_of_the_api_says(quiet):
    jsonschema = pytest.importorskip("jsonschema")
    said = API["paths"]["/api/find"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    schema = {**said, "components": API["components"]}
    for words in ("red", "a red red", "two reds"):
        jsonschema.Draft202012Validator(schema).validate(find(quiet, words).json)


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("", "expected 1 to 24 words"),
        ("?words=", "expected 1 to 24 words"),
        ("?words=%20%F0%9F%90%95", "expected 1 to 24 words"),
        ("?words=blau", '"blau" is not known'),
        ("?words=" + "red+" * 25, "got 25"),
        ("?words=" + "r" * 1001, "at most 1000 characters"),
        ("?words=red&k=0", "from 1 to 200"),
        ("?words=red&k=201", "from 1 to 200"),
        ("?words=red&k=x", "from 1 to 200"),
    ],
)
def test_words_that_cannot_be_searched_with(quiet, query, says):
    answer = quiet.ask(f"/api/find{query}")
    assert answer.status == 422
    assert says in answer.json["error"]


def test_many_searches_by_words_are_refused(barcode_index):
    with served(barcode_index) as server:
        statuses = {find(server, "red").status for _ in range(60)}
    assert statuses == {200, 429}


def test_who_may_only_look_finds_without_paths(barcode_index):
    with served(barcode_index, access=Access(TOKEN, public=True)) as server:
        assert {item["photo"] for item in find(server, "red").json["objects"]} == {""}
        assert server.ask("/api/settings", "PATCH", {"live": {"find": "red"}}).status == 401
        operator = server.ask("/api/find?words=red", **bearer()).json["objects"]
        assert all(item["photo"] for item in operator)
    with served(barcode_index, access=Access(TOKEN, loopback=False)) as locked:
        assert find(locked, "red").status == 401


def test_a_narrowed_search_finds_its_classes_only(barcode_index):
    with served(barcode_index, ["search.classes=red"]) as server:
        assert find(server, "blue").json["objects"] == []
        assert find(server, "red").json["objects"]


def test_a_pair_of_networks_that_is_not_here_is_told_once(barcode_index):
    told: list[str] = []
    with served(barcode_index, ["describe.text=none-such"]) as server:
        server.site.tell = told.append
        assert [find(server, "red").status for _ in range(3)] == [200] * 3
    assert len(told) == 1
    assert "none-such" in told[0]
    assert "classes and colours" in told[0]


def test_a_library_of_no_objects_has_none(barcode_index):
    from rtsearch.library.index_files import empty_table
    from rtsearch.library.search_index import SearchIndex
    from rtsearch.search import KDTree
    from rtsearch.words import find_words, parse_request

    tree = KDTree.build(np.zeros((0, barcode_index.projection.dim), np.float32))
    table = empty_table(0) | {"leader": np.zeros(0, np.int32)}
    empty = SearchIndex(barcode_index.library, barcode_index.projection, tree, table, barcode_index.paths)
    names = barcode_index.library.space.class_names
    for words in ("red", "two reds", "a red red with a blue"):
        assert find_words(empty, parse_request(words, names)) == []
