"""A library behind an address: what is found through a server is what is found in the folder."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("starlette", reason="needs the extra web")

import blobs
from page import served
from playing import PHOTOS, Given, lines
from test_library_watch import NEW, Growing, names, wait_for
from test_library_watch import SETTINGS as GROWING

import rtsearch
from rtsearch.config import SearchSettings, load_settings
from rtsearch.errors import ConfigError, ServiceError, StorageError
from rtsearch.library.index import SearchIndex, open_index, remembered_settings
from rtsearch.library.likeness import largest_distance
from rtsearch.library.narrowing import narrow
from rtsearch.library.thumbnails import ThumbCache
from rtsearch.live import Controls, Outputs, follow_library, play
from rtsearch.service import RemoteIndex, RemoteLibrary, open_remote
from rtsearch.service.address import ServiceAddress
from rtsearch.storage import is_server
from rtsearch.web import Access

SETTINGS = load_settings(None, ["project.dim=8"])
TOKEN = "a secret that is long"


@contextlib.contextmanager
def remote(address: str) -> Iterator[tuple[RemoteLibrary, RemoteIndex]]:
    library = open_remote(address)
    assert library is not None
    with contextlib.closing(library.connection):
        index = open_index(library, load_settings(None, (), remembered_settings(library)))
        assert isinstance(index, RemoteIndex)
        yield library, index


@pytest.fixture(scope="module")
def server(blob_index) -> Iterator[str]:
    with served(blob_index) as site:
        yield f"http://127.0.0.1:{site.port}"


@pytest.fixture
def far(server) -> Iterator[RemoteIndex]:
    with remote(server) as (_, index):
        yield index


def queries(index: SearchIndex, n: int = 9) -> np.ndarray:
    rng = np.random.default_rng(1)
    return index.points(np.arange(n, dtype=np.int32)) + rng.normal(0, 0.01, (n, index.dim)).astype(np.float32)


def test_the_nearest_are_those_of_the_folder(blob_index, far):
    points = queries(blob_index)
    for k in (1, 5, len(blob_index)):
        here, there = blob_index.near(points, k, exact=True), far.near(points, k, exact=True)
        np.testing.assert_array_equal(there.row, here.row)
        np.testing.assert_array_equal(there.distance, here.distance)
    assert far.near(points, 10**6).row.shape == (len(points), len(blob_index))
    assert far.near(points[:0], 5).row.shape == (0, 5)
    vectors = np.random.default_rng(2).random((3, blobs.DIM), np.float32)
    np.testing.assert_array_equal(far.projection.apply(vectors), blob_index.projection.apply(vectors))


def test_all_that_is_known_of_a_row_is_known_of_it_there(blob_index, far):
    rows = np.arange(len(blob_index), dtype=np.int32)[::-1].copy()
    for name in ("points", "photos_of", "shapes", "heights", "folded"):
        np.testing.assert_array_equal(getattr(far, name)(rows), getattr(blob_index, name)(rows), name)
    assert far.hits(rows) == blob_index.hits(rows)
    for row in (0, len(blob_index) - 1):
        for name in ("photo", "label", "time_mark"):
            assert getattr(far, name)(row) == getattr(blob_index, name)(row)
        assert math.isnan(far.time_s(row))
        np.testing.assert_array_equal(far.others(row, 5).row, blob_index.others(row, 5).row)
    assert (len(far), far.dim, far.label_counts()) == (len(blob_index), 8, blob_index.label_counts())
    assert largest_distance(far) == largest_distance(blob_index)
    assert far.library.photo_count == blob_index.library.photo_count


def test_neighbours_bring_what_is_known_of_them(far):
    near = far.near(np.zeros((1, far.dim), np.float32), 5)
    far.library.close()
    far.library.connection._away = "tested"
    assert len(far.hits(near.row[0])) == 5
    with pytest.raises(ServiceError, match="is away"):
        far.hits(np.setdiff1d(np.arange(len(far), dtype=np.int32), near.row))


@pytest.mark.parametrize("distinct", [False, True])
@pytest.mark.parametrize("search", [{}, {"classes": ["red"]}, {"since": "2001-01-01"}])
def test_a_narrowed_search(blob_index, far, search, distinct):
    settings = SearchSettings.model_validate(search)
    here, there = (narrow(index, settings, distinct=distinct) for index in (blob_index, far))
    points = queries(blob_index)
    found = there.near(points, 6, exact=True)
    np.testing.assert_array_equal(found.row, here.near(points, 6, exact=True).row)
    rows = np.unique(found.row[found.row >= 0])
    assert there.hits(rows) == here.hits(rows)
    assert len(there.findable()) == (len(far) if not search else 0)


def test_a_search_without_a_photo_itself(blob_index, far, tmp_path):
    photo = blob_index.library.photo_path(blob_index.photo(0))
    for distinct in (False, True):
        found = narrow(far, SearchSettings(), distinct=distinct, leave_out=photo).near(queries(far), len(far))
        own = [row for row in range(len(far)) if blob_index.photo(row) == blob_index.photo(0)]
        assert own
        assert not np.isin(found.row, own).any()


@pytest.mark.parametrize("search", [{"classes": ["cow"]}, {"folders": ["nowhere"]}, {"since": "2999-01-01"}])
def test_a_search_that_finds_nothing_says_so(blob_index, far, search):
    settings = SearchSettings.model_validate(search)
    with pytest.raises(ConfigError, match=f"search.{next(iter(search))}"):
        narrow(far, settings, distinct=False)


def test_crops(blob_index, far):
    here, there = (ThumbCache(index.thumb_places, 1 << 20) for index in (blob_index, far))
    there.prefetch([*range(len(far)), -1], 24)
    for row in range(len(far)):
        assert there.jpeg(row) == here.jpeg(row)
        kept = there.peek(row, 24)
        assert kept is not None
        np.testing.assert_array_equal(kept, here.get(row, 24))


def test_tables_of_all_rows_are_refused(far, tmp_path):
    for name in ("labels", "boxes", "times_s", "colours", "leaders", "given", "paths"):
        with pytest.raises(ServiceError, match=r"http.*needs the folder of the library itself"):
            getattr(far, name)
    for read in (far.library.photos, lambda: next(far.library.objects())):
        with pytest.raises(ServiceError, match="gives no tables"):
            read()
    with pytest.raises(AttributeError):
        far.nothing  # noqa: B018


def test_an_index_is_as_its_server_has_it(server):
    with remote(server) as (library, _), pytest.raises(ConfigError, match=r"describe.meaning=0.5"):
        open_index(library, load_settings(None, ["describe.meaning=0.9", "project.dim=8"]))


@pytest.mark.parametrize("public", [False, True])
def test_a_token_is_needed(blob_index, public, monkeypatch):
    with served(blob_index, access=Access(TOKEN, public)) as site:
        address = f"http://127.0.0.1:{site.port}"
        for given in (address, f"{address}?token=wrong-secret"):
            with pytest.raises(ServiceError, match="needs a token") as refused:
                open_remote(given)
            assert "secret" not in str(refused.value)
        with remote(f"{address}/?token={TOKEN.replace(' ', '%20')}") as (library, index):
            assert len(index.near(queries(index), 3).row) == 9
            assert TOKEN not in str(library.folder)
        monkeypatch.setenv("RTSEARCH_TOKEN", TOKEN)
        with remote(address) as (_, index):
            assert index.photo(0) == blob_index.photo(0)


def test_what_is_asked_is_checked(blob_index):
    with served(blob_index) as site:
        about = site.ask("/api/index").json
        at, point = f"/api/index/{about['state']}", np.zeros(8, "<f4").tobytes()
        assert site.ask(f"{at}/near?k=3", "POST", point).status == 200
        refused = {
            f"{at}/near?k=0": point,
            f"{at}/near?k=9999": point,
            f"{at}/near": point,
            f"{at}/near?k=3&recall=2": point,
            f"{at}/near?k=3&recall=nan": point,
            f"{at}/near?k=3&since=yesterday": point,
            f"{at}/near?k=3&leave_out=../x": point,
            f"{at}/near?k=3&classes=cow": point,
            f"{at}/near?k=3&" + "&".join(["classes=red"] * 101): point,
            f"{at}/near?k=4": b"",
            f"{at}/near?k=5": point[:-1],
            f"{at}/near?k=6": np.full(8, np.nan, "<f4").tobytes(),
            f"{at}/rows": np.array([len(blob_index)], "<i4").tobytes(),
            f"{at}/rows?": np.array([-1], "<i4").tobytes(),
            f"{at}/rows?x": b"abc",
        }
        for path, body in refused.items():
            answer = site.ask(path, "POST", body)
            assert (answer.status, bool(answer.json["error"])) == (422, True), path
        assert site.ask(f"{at}/near?k=3", "POST", point * 257).status == 422
        assert site.ask("/api/index/0-0/near?k=3", "POST", point).status == 410
        assert site.ask("/api/index/0-0/crops/0.jpg").status == 410
        assert site.ask(f"{at}/crops/{len(blob_index)}.jpg").status == 404
        other = {"origin": "http://elsewhere.example"}
        assert site.ask(f"{at}/near?k=3", "POST", point, **other).status == 403


@pytest.mark.parametrize(
    ("text", "host", "port", "token"),
    [
        ("http://here:8737", "here", 8737, ""),
        ("http:/here:8737", "here", 8737, ""),
        ("https://museum.example/", "museum.example", 443, ""),
        ("http://[::1]:80/?token=abc", "::1", 80, "abc"),
    ],
)
def test_addresses(text, host, port, token):
    address = ServiceAddress.parse(Path(text) if "[" in text else text)
    assert address is not None
    assert address[1:] == (host, port, token)
    assert "abc" not in str(address)


@pytest.mark.parametrize(
    "text", ["http://", "http://a b:1", "http://h:99999", "http://h:1/lib", "http://h?x=1"]
)
def test_what_is_no_address_of_a_library(text):
    with pytest.raises(ServiceError, match=r"no address of a library: give http://HOST:PORT"):
        ServiceAddress.parse(text)


@pytest.mark.parametrize(
    "text", ["ray://", "ray://h", "ray://h/", "ray://h:99999/lib", "ray:/h/a/b", "ray://a b/c"]
)
def test_what_names_no_library_in_a_cluster(text):
    assert is_server(text)
    with pytest.raises(ServiceError, match=r"no address of a library: give ray://HOST/NAME"):
        open_remote(text)


def test_secrets_of_an_address_are_not_told():
    for text in ("http://user:hunter2@h:1", "http://h:1/x?token=hunter2"):
        with pytest.raises(ServiceError, match=r"\*\*\*") as refused:
            ServiceAddress.parse(text)
        assert "hunter2" not in str(refused.value)
    assert ServiceAddress.parse("pictures.lib") is ServiceAddress.parse("s3://bucket/lib") is None


@pytest.mark.usefixtures("no_thread_is_left")
def test_a_server_that_goes_away_and_comes_back(blob_index, caplog):
    points = queries(blob_index)
    with served(blob_index) as site:
        port = site.port
        library = open_remote(f"http://127.0.0.1:{port}")
        assert library is not None
        index = open_index(library, load_settings(None, (), remembered_settings(library)))
        crops = ThumbCache(index.thumb_places, 1 << 20)
        before = index.near(points, 5)
    with contextlib.closing(library.connection):
        for _ in range(3):
            with pytest.raises(ServiceError, match=r"does not answer|is away"):
                index.near(points, 5)
        assert crops.get(0).shape == (64, 64, 3)  # grey, and not kept
        assert crops.peek(0) is None
        assert index.shapes(np.array([10**6], np.int32)).tolist() == pytest.approx([1 / 3])  # drawing goes on
        with served(blob_index, port=port):
            wait_for(lambda: not library.connection._away)
            np.testing.assert_array_equal(index.near(points, 5).row, before.row)
            assert crops.get(0).shape != (64, 64, 3)
    told = [record.getMessage() for record in caplog.records]
    assert [("does not answer" in line, "answers again" in line) for line in told] == [
        (True, False),
        (False, True),
    ]


def test_no_server_is_there(caplog):
    with pytest.raises(
        ServiceError, match=r"127.0.0.1:9 does not answer: .*; is rtsearch serve running there"
    ):
        open_remote("http://127.0.0.1:9")
    assert caplog.records == []  # what never answered is not looked for


@pytest.mark.usefixtures("no_thread_is_left")
def test_frames_go_on_while_the_server_is_away(blob_index, tmp_path):
    """Strips stay as they are, records say that nothing is known, and it is known again afterwards."""
    settings = load_settings(None, ["project.dim=8", "show.results=5"])
    record = tmp_path / "seen.jsonl"
    with contextlib.ExitStack() as up:
        port = up.enter_context(served(blob_index)).port
        with remote(f"http://127.0.0.1:{port}") as (library, index):

            def before(number: int) -> None:
                frame = number // PHOTOS
                if frame == 20:
                    up.close()
                if frame == 40:
                    wait_for(lambda: library.connection._away != "")
                    up.enter_context(served(blob_index, port=port))
                    wait_for(lambda: not library.connection._away)

            source = Given([3 + PHOTOS * frame for frame in range(60)], before=before)  # one picture
            play(source, blobs.as_pipeline(), index, settings, Outputs(records=(record,)))
    seen = lines(record)
    assert len(seen) == 60
    known = [all(item["neighbours"] for item in line["objects"]) for line in seen]
    away = [frame for frame, is_known in enumerate(known) if not is_known]
    assert away
    assert known[5]
    assert known[59]
    rows = [[strip["rows"] for strip in line["shown"]] for line in seen]
    assert all(rows[10])
    assert {str(rows[frame]) for frame in away} == {str(rows[10])}


@pytest.mark.usefixtures("no_thread_is_left")
def test_a_library_that_grows_behind_its_server(tmp_path):
    growing = Growing(tmp_path)
    overrides = [f"project.dim={GROWING.project.dim}", "show.distinct=false"]
    controls = Controls(GROWING.detect, GROWING.show)
    told: list[str] = []
    with (
        served(growing.index, overrides) as site,
        remote(f"http://127.0.0.1:{site.port}") as (library, index),
    ):
        with follow_library(index, GROWING, controls, told.append):
            assert library.newest() is library
            growing.analyze(NEW)
            growing.build()
            wait_for(lambda: controls.now.index is not None)
        newer = controls.now.index
        assert isinstance(newer, RemoteIndex)
        rows = np.arange(len(newer), dtype=np.int32)
        assert {newer.photo(row) for row in rows.tolist()} == names(NEW)
        assert len(told) == 1
        assert "the library now holds" in told[0]
        # Frames on their way show the state before.
        assert index.photo(0) == growing.index.photo(0)
        assert index.near(index.points(rows[:2]), 3).row.shape == (2, 3)


@pytest.mark.slow
def test_commands_take_an_address(cli, model, library, index, photos, tmp_path):
    photo = photos / "skimage-coffee.png"
    here = cli("query", library, photo, "--json")
    assert here.code == 0, here.err
    with served(index, ["project.dim=64"]) as site:
        address = f"http://127.0.0.1:{site.port}"
        there = cli("query", address, photo, "--json", "--out", tmp_path / "sheet.png")
        assert (there.code, there.out) == (0, here.out), there.err
        assert (tmp_path / "sheet.png").stat().st_size > 10_000
        record = tmp_path / "seen.jsonl"
        done = cli("run", address, "--source", photo, "--headless", "--record", record)
        assert done.code == 0, done.err
        assert lines(record)[0]["objects"][0]["neighbours"]
        for refused in (
            ("find", address, "red cup"),
            ("library", "info", address),
            ("analyze", photos, address),
        ):
            assert f"{address} is a server of a library" in cli(*refused).complaint
        assert "needs the folder" in cli("run", address, "--remember", tmp_path / "memory").err
        assert (
            "needs the folder of the library" in cli("run", address, "-s", "random", "--headless").complaint
        )
    assert f"{address} does not answer" in cli("query", address, photo).complaint


def test_a_page_of_a_library_elsewhere(blob_index, far):
    """A page searches and shows what its server knows; the wall needs all rows, and says so."""
    with served(far) as site:
        assert site.ask("/api/classes").json["objects"] == {
            name: sum(hit["label"] == name for hit in blob_index.hits(np.arange(len(far), dtype=np.int32)))
            for name in site.ask("/api/classes").json["objects"]
        }
        thumb = site.ask(f"/thumb/{far.library.state}/3.jpg")
        assert thumb.body == ThumbCache(blob_index.thumb_places, 1 << 20).jpeg(3)
        similar = site.ask("/api/objects/3/similar?k=4").json["neighbours"]
        assert [near["row"] for near in similar] == blob_index.others(3, 4).row[0].tolist()
        assert "needs the folder" in site.ask("/api/wall").json["error"]
        about = site.ask("/api/index").json
        point = np.zeros(far.dim, "<f4").tobytes()
        refused = site.ask(f"/api/index/{about['state']}/near?k=1", "POST", point)
        assert "needs the folder" in refused.json["error"]


def test_the_front_door_takes_an_address(model, library, index, photos):
    with served(index, ["project.dim=64"]) as site, rtsearch.open_library(library) as here:
        with rtsearch.open_library(f"http://127.0.0.1:{site.port}") as there:
            assert len(there) == len(here)
            photo = photos / "skimage-coffee.png"
            assert there.search(photo, k=5) == here.search(photo, k=5)
            assert there.similar(0, k=3) == here.similar(0, k=3)
            np.testing.assert_array_equal(there.crop(0), here.crop(0))
            with pytest.raises(ServiceError, match="gives no tables"):
                there.photos()
        with pytest.raises(StorageError, match="is a server of a library"):
            rtsearch.Library.open(Path(f"http://127.0.0.1:{site.port}"))
