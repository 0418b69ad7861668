"""``search.backend=postgres``: neighbours from a table in a real PostgreSQL, and what goes wrong there."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import blobs
import numpy as np
import pytest
from playing import PHOTOS, Given, lines
from postgres_server import postgres
from test_library_watch import NEW, Growing, names, wait_for

from rtsearch.config import SearchSettings, Settings, load_settings
from rtsearch.errors import ConfigError, MissingDependencyError, ServiceError
from rtsearch.library import postgres_table
from rtsearch.library.export_table import export_postgres
from rtsearch.library.index import open_index
from rtsearch.library.index_files import PhotoPaths, empty_table
from rtsearch.library.narrowing import narrow
from rtsearch.library.postgres_table import POSTGRES_TABLE, PostgresTable, comment_of
from rtsearch.library.postgres_tree import PostgresTree
from rtsearch.library.search_index import SearchIndex
from rtsearch.live import Outputs, follow_library, play
from rtsearch.search import KDTree
from rtsearch.search.projection import Projection

K = 5


def settings_for(database: str, *more: str) -> Settings:
    given = ["project.dim=8", "search.backend=postgres", f"search.postgres={database}", *more]
    return load_settings(None, given)


def in_table(index: SearchIndex, database: str, *more: str) -> SearchIndex:
    """Open the same index so that the database is searched."""
    return open_index(index.library, settings_for(database, *more))


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with postgres() as address:
        yield address


@pytest.fixture
def exported(blob_index, database) -> SearchIndex:
    """Searches the database, to which the library has just been written."""
    export_postgres(blob_index, database)
    return in_table(blob_index, database)


@contextlib.contextmanager
def administrator(database: str) -> Iterator[Any]:
    import psycopg

    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


def end_others(connection: Any) -> None:
    """End all connections but one, as a server does that is shut down."""
    connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE pid <> pg_backend_pid() AND application_name = 'rtsearch'"
    )


def queries(index: SearchIndex, n: int = 9) -> np.ndarray:
    rng = np.random.default_rng(1)
    return index.points(np.arange(n, dtype=np.int32)) + rng.normal(0, 0.01, (n, index.dim)).astype(np.float32)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("distinct", [False, True])
@pytest.mark.parametrize("search", [SearchSettings(), SearchSettings(classes=("red",))])
def test_the_nearest_are_those_of_the_tree(blob_index, exported, search, distinct, exact):
    own, there = (narrow(index, search, distinct=distinct) for index in (blob_index, exported))
    for points, k in ((queries(own), K), (queries(own), 100), (queries(own)[:0], K), (queries(own), 0)):
        expected, found = own.near(points, k, exact=True), there.near(points, k, exact=exact)
        assert found.row.shape == expected.row.shape
        np.testing.assert_allclose(found.distance, expected.distance, atol=1e-5)
        np.testing.assert_array_equal(found.row < 0, expected.row < 0)
    assert there.hits(found.row[:0].ravel()) == []
    row = own.others(3, K, exact=True).row
    np.testing.assert_array_equal(there.others(3, K, exact=exact).row, row)
    assert there.hits(row[0]) == own.hits(row[0])


def made_up(tmp_path: Path, n: int, dim: int) -> SearchIndex:
    """An index of vectors in groups, without photos."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(50, dim))[rng.integers(0, 50, n)] + 0.5 * rng.normal(size=(n, dim))
    table = empty_table(n)
    for column in table.values():
        column[...] = 0
    table["leader"] = np.arange(n, dtype=np.int32)
    PhotoPaths.save(tmp_path, ["made-up.jpg"])

    def objects(columns: Any, batch_rows: int) -> Iterator[dict[str, np.ndarray]]:
        for first in range(0, n, batch_rows):
            yield {"score": np.ones(min(batch_rows, n - first), np.float32)}

    library = SimpleNamespace(
        state="0" * 16, folder=tmp_path, objects=objects, space=SimpleNamespace(class_names=("thing",))
    )
    projection = Projection(np.eye(dim, dtype=np.float32), np.zeros(dim, np.float32))
    tree = KDTree.build(vectors.astype(np.float32))
    return SearchIndex(cast(Any, library), projection, tree, table, PhotoPaths.load(tmp_path, 1))


def test_the_recall_that_is_asked_for_is_reached(database, tmp_path):
    index = made_up(tmp_path, 5000, 24)
    export_postgres(index, database)
    table = PostgresTable(database, comment_of(index.library, index.projection), "made-up", len(index))
    assert isinstance(index._tree, KDTree)
    tree = PostgresTree(index._tree, table)
    rng = np.random.default_rng(2)
    points = queries(index, 200) + 0.3 * rng.normal(size=(200, index.dim)).astype(np.float32)
    half, few = (np.arange(len(index)) % every == 0 for every in (2, 40))
    with contextlib.closing(table):
        for allowed in (None, half, few):
            some = tree if allowed is None else tree.only(allowed)
            for k in (16, 64):
                true = index.narrowed(allowed).near(points, k, exact=True)
                for recall in (0.9, 0.98):
                    distance, row = some.query(points, k, recall=recall)
                    assert allowed is None or allowed[row].all()
                    assert (np.diff(distance) >= 0).all()
                    assert np.mean(distance <= true.distance[:, -1:] + 1e-4) >= recall - 0.02
                distance, row = some.query(points[:20], k, exact=True)
                np.testing.assert_allclose(distance, true.distance[:20], atol=1e-4)


def test_a_table_that_is_not_of_this_library_is_refused(blob_index, exported, database):
    points = queries(exported)
    with pytest.raises(ServiceError, match="is of another library, an older state or other settings"):
        in_table(blob_index, database, "describe.meaning=0.9").near(points, K)
    with administrator(database) as connection:
        connection.execute(f"COMMENT ON TABLE {POSTGRES_TABLE} IS '{postgres_table.MARK}, state 0'")
        folder = blob_index.library.folder
        with pytest.raises(ServiceError, match=f"rtsearch library export {folder} --postgres postgres"):
            in_table(blob_index, database).near(points, K)
        connection.execute(f"DROP TABLE {POSTGRES_TABLE}")
        with pytest.raises(ServiceError, match=f"has no table {POSTGRES_TABLE}; write it anew"):
            in_table(blob_index, database).near(points, K)
        connection.execute("DROP EXTENSION vector")
        with pytest.raises(ServiceError, match="lacks pgvector; write it anew"):
            in_table(blob_index, database).near(points, K)


def test_a_table_that_is_replaced_gives_no_rows_of_the_new_one(blob_index, exported, database, tmp_path):
    points = queries(exported)
    before = exported.near(points, K)
    export_postgres(made_up(tmp_path, 500, 8), database)
    with pytest.raises(ServiceError, match="has been replaced"):
        exported.near(points, K)
    export_postgres(blob_index, database)
    wait_for(lambda: answers(exported))
    np.testing.assert_array_equal(exported.near(points, K).row, before.row)


def answers(index: SearchIndex) -> bool:
    with contextlib.suppress(ServiceError):
        index.near(queries(index), K)
        return True
    return False


def test_a_database_that_goes_away_and_comes_back(exported, database, caplog, monkeypatch):
    monkeypatch.setattr(postgres_table, "_AGAIN_S", 0.05)
    points = queries(exported)
    before = exported.near(points, K)
    with administrator(database) as connection:
        connection.execute(f"ALTER TABLE {POSTGRES_TABLE} RENAME TO kept")
        end_others(connection)
        for _ in range(20):
            with pytest.raises(ServiceError):
                exported.near(points, K)
            time.sleep(0.01)
        connection.execute(f"ALTER TABLE kept RENAME TO {POSTGRES_TABLE}")
    wait_for(lambda: answers(exported))
    np.testing.assert_array_equal(exported.near(points, K).row, before.row)
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [("it is looked for" in line, "answers again" in line) for line in told] == [
        (True, False),
        (False, True),
    ]


def test_a_database_that_gives_no_answer_is_not_waited_for(exported, database, monkeypatch):
    monkeypatch.setattr(postgres_table, "_ANSWER_S", 0.2)
    exported.near(queries(exported), K)
    with administrator(database) as connection, connection.transaction():
        connection.execute(f"LOCK TABLE {POSTGRES_TABLE} IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(ServiceError, match="does not answer"):
            exported.near(queries(exported), K)


def test_no_database_is_there(cli, blob_index):
    pytest.importorskip("psycopg", reason="needs the extra postgres")
    there = (
        "--set",
        "search.backend=postgres",
        "--set",
        "search.postgres=postgresql://me@127.0.0.1:9/pictures",
    )
    sheet = ("library", "sheet", blob_index.library.folder, "--out", "sheet.png", "--set", "project.dim=8")
    complaint = cli(*sheet, *there).complaint
    assert "127.0.0.1:9/pictures cannot be searched: " in complaint


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("postgresql://u:geheim@h/x", "leave the password out"),
        ("host=h password=geheim", "leave the password out"),
        ("postgresql://u:ge/heim@h/x", "no address of a database"),
        ("host=h password=ge heim", "no address of a database"),
    ],
)
def test_a_password_is_left_to_the_environment(blob_index, address, said):
    pytest.importorskip("psycopg", reason="needs the extra postgres")
    with pytest.raises(ConfigError, match=f"search.postgres: .*{said}") as error:
        in_table(blob_index, address).near(queries(blob_index), K)
    assert "heim" not in str(error.value)


def test_the_extra_is_named(blob_index, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "psycopg", None)
    with pytest.raises(MissingDependencyError, match=r"search.backend=postgres needs .*rtsearch\[postgres\]"):
        in_table(blob_index, "postgresql://").near(queries(blob_index), K)


def test_frames_go_on_while_the_database_is_away(exported, database, tmp_path, monkeypatch):
    """Strips stay as they are, records say that nothing is known, and it is known again afterwards."""
    monkeypatch.setattr(postgres_table, "_AGAIN_S", 0.05)
    record = tmp_path / "seen.jsonl"
    with administrator(database) as connection:

        def before(number: int) -> None:
            frame = number // PHOTOS
            if frame == 20:
                connection.execute(f"ALTER TABLE {POSTGRES_TABLE} RENAME TO kept")
                end_others(connection)
            if frame == 40:
                connection.execute(f"ALTER TABLE kept RENAME TO {POSTGRES_TABLE}")
                wait_for(lambda: answers(exported))

        source = Given([3 + PHOTOS * frame for frame in range(60)], before=before)  # one picture
        settings = settings_for(database, "show.results=5")
        play(source, blobs.as_pipeline(), exported, settings, Outputs(records=(record,)))
    seen = lines(record)
    assert len(seen) == 60
    known = [all(item["neighbours"] for item in line["objects"]) for line in seen]
    assert known[5]
    assert known[59]
    assert not all(known)
    rows = [[strip["rows"] for strip in line["shown"]] for line in seen]
    assert all(rows[10])
    assert {str(rows[frame]) for frame in range(60) if not known[frame]} == {str(rows[10])}


def test_a_library_that_grows_is_searched_once_it_is_exported(database, tmp_path, caplog):
    growing = Growing(tmp_path)
    export_postgres(growing.index, database)
    settings = settings_for(database)
    growing.index = open_index(growing.index.library, settings)
    growing.controls.change(search=settings.search, show=settings.show)
    with follow_library(growing.index, settings, growing.controls, growing.told.append):
        growing.analyze(NEW)
        newer = growing.build()
        wait_for(lambda: "an older state" in caplog.text)
        assert growing.controls.now.index is None
        export_postgres(newer, database)
        wait_for(lambda: growing.controls.now.index is not None)
    searched = growing.controls.now.index
    assert searched is not None
    near = searched.near(queries(searched), K)
    assert {searched.photo(row) for row in near.row.ravel().tolist()} <= names(NEW)
    assert caplog.text.count("an older state") == 1
