"""A library's objects as one table, with the vectors that are searched: a Lance dataset, or in PostgreSQL.

    row, photo, label, score, x1, y1, x2, y2, t_s, leader, vector

``row`` is the number of the object in the library and ``leader`` that of the one that stands for its near
duplicates, so that ``WHERE row = leader`` finds each of them once. ``t_s`` is null in photos.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from rtsearch._util.masking import masked_words
from rtsearch._util.wording import one_line
from rtsearch.errors import ExportError, LibraryError, MissingDependencyError
from rtsearch.library.postgres_table import (
    MARK,
    MOST_INDEXED,
    POSTGRES_TABLE,
    comment_of,
    is_address,
    load_postgres,
    shown_address,
)
from rtsearch.library.search_index import SearchIndex
from rtsearch.types import class_name

if TYPE_CHECKING:
    import psycopg

__all__ = ["export_lance", "export_postgres"]

_BATCH = 8192
_TYPES = {
    "row": "integer",
    "photo": "text",
    "label": "text",
    "score": "real",
    "x1": "real",
    "y1": "real",
    "x2": "real",
    "y2": "real",
    "t_s": "double precision",
    "leader": "integer",
}
_SHORT = {"integer": "int4", "real": "float4", "double precision": "float8", "text": "text"}


def export_lance(index: SearchIndex, out: Path, *, overwrite: bool = False) -> int:
    """Write a Lance dataset.

    Args:
        index: of the library; all its rows are written.
        out: folder of the dataset.
        overwrite: write a new version of a dataset that is there.

    Returns:
        Number of rows.

    Raises:
        MissingDependencyError: the extra ``lance`` is not installed.
        LibraryError: ``out`` holds something else, or a dataset that is not to be overwritten, or cannot be
            written; or the library is damaged.
    """
    try:
        import lance
    except ImportError as error:
        raise MissingDependencyError(
            f"--lance needs pylance, which does not load ({one_line(error)}): pip install 'rtsearch[lance]'"
        ) from None
    if out.exists() and not (out / "_versions").is_dir() and (out.is_file() or any(out.iterdir())):
        raise LibraryError(f"{out} is there and is no Lance dataset: choose another name")
    if (out / "_versions").is_dir() and not overwrite:
        raise LibraryError(f"{out} exists already; --overwrite adds a version to it, or choose another name")
    reader = pa.RecordBatchReader.from_batches(_schema(index.dim), _batches(index))
    try:
        lance.write_dataset(reader, str(out.absolute()), mode="overwrite")  # s3:x would be a URL
    except OSError as error:
        raise LibraryError(f"{out} cannot be written: {one_line(error)}") from None
    return len(index)


def export_postgres(index: SearchIndex, address: str) -> int:
    """Write the table ``rtsearch_objects`` with an index for nearest neighbours (pgvector, HNSW).

    The table of an earlier export is searched until the new one is whole, and is replaced at once.

    Args:
        index: of the library; all its rows are written.
        address: of the database, such as ``postgresql://user@host/name``; a password is best left to
            ``PGPASSWORD`` or a ``.pgpass`` file.

    Returns:
        Number of rows.

    Raises:
        MissingDependencyError: the extra ``postgres`` is not installed.
        ExportError: the database cannot be reached, lacks pgvector, or has another table of that name.
    """
    load_postgres("--postgres")
    import pgvector.psycopg
    import psycopg

    if not is_address(address):
        raise ExportError(
            "--postgres: this is no address of a database, such as postgresql://user@host/name; "
            "/ ? # @ : and spaces in a password must be percent-encoded"
        )
    try:
        with psycopg.connect(address, connect_timeout=10) as connection:
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
            pgvector.psycopg.register_vector(connection)
            _refuse_others(connection)
            _fill(connection, index)
    except psycopg.Error as error:
        raise ExportError(f"{shown_address(address)}: {masked_words(one_line(error))}") from None
    return len(index)


def _refuse_others(connection: psycopg.Connection[Any]) -> None:
    """Refuse to replace a table that no export has made."""
    found = connection.execute(
        "SELECT obj_description(to_regclass(%s), 'pg_class'), to_regclass(%s) IS NOT NULL",
        (POSTGRES_TABLE, POSTGRES_TABLE),
    ).fetchone()
    assert found is not None
    comment, there = found
    if there and not str(comment).startswith(MARK):
        raise ExportError(
            f"the database has a table {POSTGRES_TABLE} of its own: rename it, or take another one"
        )


def _fill(connection: psycopg.Connection[Any], index: SearchIndex) -> None:
    from psycopg import sql

    new, final = sql.Identifier(f"{POSTGRES_TABLE}_new"), sql.Identifier(POSTGRES_TABLE)
    columns = sql.SQL(", ").join(sql.SQL(f"{name} {kind}") for name, kind in _TYPES.items())
    connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(new))
    connection.execute(
        sql.SQL("CREATE TABLE {} ({}, vector vector({}))").format(new, columns, sql.Literal(index.dim))
    )
    copy_in = sql.SQL("COPY {} FROM STDIN WITH (FORMAT BINARY)").format(new)
    with connection.cursor() as cursor, cursor.copy(copy_in) as copy:
        copy.set_types([*(_SHORT[kind] for kind in _TYPES.values()), "vector"])
        for batch in _batches(index):
            plain = batch.drop_columns(["vector"]).to_pydict().values()
            vectors = batch["vector"].flatten().to_numpy().reshape(-1, index.dim)
            for values in zip(*plain, vectors, strict=True):
                copy.write_row(values)
    connection.execute(sql.SQL("ALTER TABLE {} ADD PRIMARY KEY (row)").format(new))
    if index.dim <= MOST_INDEXED:
        connection.execute(sql.SQL("CREATE INDEX ON {} USING hnsw (vector vector_l2_ops)").format(new))
    comment = sql.Literal(comment_of(index.library, index.projection))
    connection.execute(sql.SQL("COMMENT ON TABLE {} IS {}").format(new, comment))
    connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(final))
    connection.execute(sql.SQL("ALTER TABLE {} RENAME TO {}").format(new, final))


def _schema(dim: int) -> pa.Schema:
    kinds = {
        "integer": pa.int32(),
        "text": pa.string(),
        "real": pa.float32(),
        "double precision": pa.float64(),
    }
    columns = [pa.field(name, kinds[kind]) for name, kind in _TYPES.items()]
    return pa.schema([*columns, pa.field("vector", pa.list_(pa.float32(), dim))])


def _batches(index: SearchIndex) -> Iterator[pa.RecordBatch]:
    """Yield the table in batches, in the order of its rows."""
    schema, names = _schema(index.dim), index.library.space.class_names
    at = 0
    for batch in index.library.objects(("score",), batch_rows=_BATCH):
        rows = np.arange(at, at + len(batch["score"]), dtype=np.int32)
        at += len(rows)
        labels = [class_name(names, label) for label in index.labels[rows].tolist()]
        photos = [_text(index.photo(row)) for row in rows.tolist()]
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(index.points(rows).ravel()), index.dim)
        t_s = pa.array(index.times_s[rows, 0], from_pandas=True)  # NaN is null
        boxes = [pa.array(side) for side in index.boxes[rows].T.copy()]
        arrays = [rows, photos, labels, batch["score"], *boxes, t_s, index.leaders[rows], vectors]
        yield pa.RecordBatch.from_arrays([_array(each) for each in arrays], schema=schema)


def _array(values: Any) -> pa.Array:
    return values if isinstance(values, pa.Array) else pa.array(values)


def _text(path: str) -> str:
    """Return a path as UTF-8 without NUL, as databases want it."""
    return path.encode("utf-8", "backslashreplace").decode()
