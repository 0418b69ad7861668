"""Objects of a library as a Lance dataset and as a table of PostgreSQL, read by their own clients."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from postgres_server import postgres

from rtsearch.errors import ExportError, LibraryError, MissingDependencyError
from rtsearch.library.export_table import export_lance, export_postgres
from rtsearch.library.postgres_table import POSTGRES_TABLE
from rtsearch.types import class_name

K = 5
SET = ("--set", "project.dim=8")


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with postgres() as address:
        yield address


def expected(index: Any) -> list[dict[str, Any]]:
    names = index.library.space.class_names
    return [
        {
            "row": row,
            "photo": index.photo(row),
            "label": class_name(names, index.label(row)),
            "x2": float(index.boxes[row, 2]),
            "t_s": None,
            "leader": int(index.leaders[row]),
        }
        for row in range(len(index))
    ]


def test_lance(cli, blob_index, tmp_path: Path) -> None:
    lance = pytest.importorskip("lance", reason="needs the extra lance")
    out = tmp_path / "objects.lance"
    for version in (1, 2):  # written anew, it is a new version
        again = ["--overwrite"] * (version - 1)
        done = cli("library", "export", blob_index.library.folder, "--lance", out, *SET, *again)
        assert done.code == 0, done.err
        assert f"{len(blob_index)} objects in {out}" in done.err
        dataset = lance.dataset(str(out))
        assert dataset.version == version
        assert dataset.count_rows() == len(blob_index)
    table = dataset.to_table().sort_by("row")
    assert table.select(list(expected(blob_index)[0])).to_pylist() == expected(blob_index)
    vectors = np.array(table["vector"].to_pylist(), np.float32)
    np.testing.assert_array_equal(vectors, blob_index.points(np.arange(len(blob_index), dtype=np.int32)))
    query = vectors[3] + np.float32(0.01)
    found = dataset.to_table(nearest={"column": "vector", "q": query, "k": K})["row"].to_pylist()
    assert found == blob_index.near(query[None], K, exact=True).row[0].tolist()


def test_lance_replaces_nothing_else(blob_index, tmp_path: Path) -> None:
    pytest.importorskip("lance", reason="needs the extra lance")
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("kept")
    (tmp_path / "file").write_text("kept")
    for name in ("letters", "file"):
        with pytest.raises(LibraryError, match="is no Lance dataset: choose another name"):
            export_lance(blob_index, tmp_path / name)
    assert [path.name for path in (tmp_path / "letters").iterdir()] == ["dear.txt"]


@pytest.mark.slow
def test_postgres(cli, blob_index, database) -> None:
    import psycopg

    for _ in range(2):  # the second replaces the first
        done = cli("library", "export", blob_index.library.folder, "--postgres", database, *SET)
        assert done.code == 0, done.err
        assert f"{len(blob_index)} objects in the table {POSTGRES_TABLE}" in done.err
    with psycopg.connect(database) as connection:
        keys = list(expected(blob_index)[0])
        rows = connection.execute(f"SELECT {', '.join(keys)} FROM {POSTGRES_TABLE} ORDER BY row").fetchall()
        assert [dict(zip(keys, row, strict=True)) for row in rows] == expected(blob_index)
        query = blob_index.points(np.array([3], np.int32))[0] + np.float32(0.01)
        found = connection.execute(
            f"SELECT row FROM {POSTGRES_TABLE} ORDER BY vector <-> %s::vector LIMIT {K}",
            (str(query.tolist()),),
        ).fetchall()
        assert [row for (row,) in found] == blob_index.near(query[None], K, exact=True).row[0].tolist()
        indexes = connection.execute(
            "SELECT indexdef FROM pg_indexes WHERE tablename = %s", (POSTGRES_TABLE,)
        )
        assert any("hnsw" in text for (text,) in indexes.fetchall())


def test_postgres_replaces_no_other_table(cli, blob_index, database) -> None:
    import psycopg

    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"DROP TABLE IF EXISTS {POSTGRES_TABLE}")
        connection.execute(f"CREATE TABLE {POSTGRES_TABLE} (mine text)")
        done = cli("library", "export", blob_index.library.folder, "--postgres", database, *SET)
        assert f"has a table {POSTGRES_TABLE} of its own" in done.complaint
        assert connection.execute(f"SELECT mine FROM {POSTGRES_TABLE}").fetchall() == []
        connection.execute(f"DROP TABLE {POSTGRES_TABLE}")


def test_no_database_is_there(cli, blob_index) -> None:
    pytest.importorskip("psycopg", reason="needs the extra postgres")
    address = "postgresql://me:hunter2@127.0.0.1:9/pictures"
    complaint = cli("library", "export", blob_index.library.folder, "--postgres", address, *SET).complaint
    assert "127.0.0.1" in complaint
    assert "hunter2" not in complaint


def test_the_extras_are_named(blob_index, tmp_path, monkeypatch) -> None:
    for module in ("lance", "psycopg", "pgvector", "pgvector.psycopg"):
        monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(MissingDependencyError, match=r"rtsearch\[lance\]"):
        export_lance(blob_index, tmp_path / "out")
    with pytest.raises(MissingDependencyError, match=r"rtsearch\[postgres\]"):
        export_postgres(blob_index, "postgresql://nowhere")


@pytest.mark.parametrize("address", ["postgresql://u:ge/heim@h/x", "host=h password=ge heim"])
def test_a_wrong_address_of_a_database_is_not_quoted(monkeypatch, blob_index, address: str) -> None:
    """libpq's messages name the word that it does not understand; these are its own for such addresses."""

    class Error(Exception):
        pass

    def parse(given: str) -> dict[str, str]:
        if "=" in given:
            raise Error('missing "=" after "heim" in connection info string')
        return {"user": "u", "host": "u", "port": "ge"}

    def connect(*args: object, **options: object) -> None:
        raise Error('invalid integer value "ge" for connection option "port"')

    modules = {
        "psycopg": SimpleNamespace(Error=Error, connect=connect),
        "psycopg.conninfo": SimpleNamespace(conninfo_to_dict=parse),
        "pgvector": SimpleNamespace(),
        "pgvector.psycopg": SimpleNamespace(),
    }
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    with pytest.raises(ExportError, match="no address of a database") as said:
        export_postgres(blob_index, address)
    assert '"' not in str(said.value)
    assert "heim" not in str(said.value)


@pytest.mark.parametrize("name", ["s3:x.lance", "Trip:2024", "az:"])
def test_the_path_of_a_dataset_is_a_path(monkeypatch, blob_index, tmp_path: Path, name: str) -> None:
    """Lance takes ``s3:x`` for the address of a server."""
    written: list[str] = []
    lance = SimpleNamespace(write_dataset=lambda _reader, place, mode: written.append(place))
    monkeypatch.setitem(sys.modules, "lance", lance)
    monkeypatch.chdir(tmp_path)
    assert export_lance(blob_index, Path(name)) == len(blob_index)
    assert written == [str(tmp_path / name)]
    (tmp_path / name / "_versions").mkdir(parents=True)
    with pytest.raises(LibraryError, match="exists already; --overwrite adds a version to it"):
        export_lance(blob_index, Path(name))
    assert export_lance(blob_index, Path(name), overwrite=True) == len(blob_index)
