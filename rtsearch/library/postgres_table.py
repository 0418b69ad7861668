"""The table ``rtsearch_objects`` of a database: its name and comment, and a connection that asks it.

A connection that was lost is opened again in the background, by whoever asks next; meanwhile nobody waits.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rtsearch._util.closing import Closing
from rtsearch._util.masking import masked, masked_words
from rtsearch._util.wording import one_line
from rtsearch.errors import ConfigError, MissingDependencyError, RtsearchError, ServiceError
from rtsearch.types import F32Array, Neighbours

if TYPE_CHECKING:
    import psycopg

    from rtsearch.library.reader import Library
    from rtsearch.search.projection import Projection

__all__ = [
    "MARK",
    "MOST_INDEXED",
    "POSTGRES_TABLE",
    "PostgresTable",
    "comment_of",
    "is_address",
    "load_postgres",
    "shown_address",
]

_log = logging.getLogger(__name__)

POSTGRES_TABLE = "rtsearch_objects"
"""Name of the table in PostgreSQL."""
MARK = "objects of an rtsearch library"
"""Begin of the table's comment, so that no other table is replaced."""
MOST_INDEXED = 2000
"""Most dimensions that pgvector's index takes."""

_ANSWER_S = 10.0  # for one answer, after which the connection is given up
_AT_ONCE = 16  # questions to the index that go on one way
_AGAIN_S = 1.0  # between two looks for a database that went away
_OPTIONS = {"connect_timeout": 10, "application_name": "rtsearch"}
_LOOK_UP = """
SELECT to_regclass(%(table)s)::oid::int8, obj_description(to_regclass(%(table)s), 'pg_class'),
       EXISTS (SELECT FROM pg_extension WHERE extname = 'vector')
"""
_NEAR = (
    "SELECT tableoid::int8, row, vector <-> %(point)s FROM {table} ORDER BY vector <-> %(point)s LIMIT {k}"
)
# An index cannot be read in the order of a sum.
_NEAR_EXACTLY = (
    "SELECT tableoid::int8, row, vector <-> %(point)s FROM {table} {where} "
    "ORDER BY (vector <-> %(point)s) + 0 LIMIT {k}"
)


def comment_of(library: Library, projection: Projection) -> str:
    """Return the comment of a table, which says what its rows and vectors are."""
    return f"{MARK}, state {library.state}, projection {projection.fingerprint}"


def is_address(address: str) -> bool:
    """Tell whether libpq understands an address; its own message may quote a part of the password."""
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    try:
        ports = str(conninfo_to_dict(address).get("port") or "")
    except psycopg.Error:
        return False
    return re.search(r"[^\d,]", ports) is None


def shown_address(address: str) -> str:
    """Return the address of a database without its secrets."""
    return masked(address) if "://" in address else "the database"


class PostgresTable(Closing):
    """Rows of an exported library, asked for those that are near; any number of threads may ask.

    Nothing is connected before the first question.

    Args:
        address: of the database, without a password.
        comment: that the table must have, see ``comment_of``.
        folder: of the library, named in messages.
        objects: number of rows.
    """

    def __init__(self, address: str, comment: str, folder: str, objects: int) -> None:
        self._address = address
        self._comment = comment
        self._folder = folder
        self._objects = objects
        self._lock = threading.Lock()
        self._connection: psycopg.Connection[Any] | None = None
        self._table = self._effort = 0  # number of the table, and hnsw.ef_search of the connection
        self._problem = ""  # reason why the database is looked for
        self._looking: threading.Thread | None = None
        self._looked_s = 0.0

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):  # it was never whole
            self.close()

    def close(self) -> None:
        """End the connection."""
        if self._connection is not None:
            self._connection.close()

    def near(self, points: F32Array, k: int, effort: int) -> Neighbours:
        """Return the k rows that pgvector's index gives for each of (n, dim) points.

        Args:
            points: are asked for.
            k: rows per point; -1 and inf where the index gives fewer.
            effort: candidates that the index looks at, ``hnsw.ef_search``.

        Raises:
            ConfigError: ``search.postgres`` is no address, or has a password in it.
            MissingDependencyError: the extra ``postgres`` is not installed.
            ServiceError: the database is away, or has no table of this state of the library.
        """
        asked = [{"point": point} for point in points]
        return self._answers(_NEAR.format(table=POSTGRES_TABLE, k=k), asked, k, effort)

    def near_exactly(self, points: F32Array, k: int, allowed: NDArray[np.bool_] | None = None) -> Neighbours:
        """Return the k nearest rows of each of (n, dim) points, all rows being compared.

        Args:
            points: are asked for.
            k: rows per point; -1 and inf where there are fewer.
            allowed: (rows,) bool, rows that may be found; None for all.

        Raises:
            as ``near``.
        """
        where, mask = "", {}
        if allowed is not None:
            where = "WHERE get_bit(%(allowed)s, row) = 1"
            mask = {"allowed": np.packbits(allowed, bitorder="little").tobytes()}
        asked = [{"point": point, **mask} for point in points]
        return self._answers(_NEAR_EXACTLY.format(table=POSTGRES_TABLE, where=where, k=k), asked, k, 0)

    def _answers(self, statement: str, asked: list[dict[str, Any]], k: int, effort: int) -> Neighbours:
        rows = np.full((len(asked), k), -1, np.int32)
        distances = np.full((len(asked), k), np.inf, np.float32)
        size = _AT_ONCE if effort else 1  # each way to the database has the same limit
        for first in range(0, len(asked), size):
            for at, found in enumerate(self._ask(statement, asked[first : first + size], effort), first):
                rows[at, : len(found)] = [each[1] for each in found]
                distances[at, : len(found)] = [each[2] for each in found]
        return Neighbours(rows, distances)

    def _ask(self, statement: str, asked: list[dict[str, Any]], effort: int) -> list[list[tuple[Any, ...]]]:
        """Return the rows that a statement gives for each set of parameters, in one round trip."""
        with self._lock:
            if self._connection is None:
                if self._problem:
                    self._look_for()
                    raise ServiceError(self._problem)
                self._connection, self._table = self._opened()
            import psycopg

            try:
                with _limited(self._connection):
                    answers = self._fetched(self._connection, statement, asked, effort)
            except psycopg.Error as error:
                raise self._lost(error) from None
            numbers = np.array([row[:2] for rows in answers for row in rows], np.int64).reshape(-1, 2)
            if (numbers[:, 0] != self._table).any() or (numbers[:, 1] >= self._objects).any():
                raise self._lost(f"the table {POSTGRES_TABLE} has been replaced")
            return answers

    def _fetched(
        self, connection: psycopg.Connection[Any], statement: str, asked: list[dict[str, Any]], effort: int
    ) -> list[list[tuple[Any, ...]]]:
        if effort and effort != self._effort:
            connection.execute(f"SET hnsw.ef_search = {effort}")
            self._effort = effort
        with connection.cursor(binary=True) as cursor:
            cursor.executemany(statement, asked, returning=True)
            answers = [cursor.fetchall()]
            while cursor.nextset():
                answers.append(cursor.fetchall())
        return answers

    def _opened(self) -> tuple[psycopg.Connection[Any], int]:
        """Return a new connection, and the number of the table, which is of this state of the library."""
        load_postgres("search.backend=postgres")
        import pgvector.psycopg
        import psycopg
        from psycopg.conninfo import conninfo_to_dict

        name = shown_address(self._address)
        if not is_address(self._address):
            raise ConfigError(
                "search.postgres: this is no address of a database, such as postgresql://user@host/name"
            )
        if conninfo_to_dict(self._address).get("password"):
            raise ConfigError("search.postgres: leave the password out; give it in PGPASSWORD or ~/.pgpass")
        logging.getLogger("psycopg").setLevel(logging.ERROR)  # a connection that is lost is told about here
        try:
            connection = psycopg.connect(self._address, autocommit=True, **_OPTIONS)
            try:
                table = self._checked(connection.execute(_LOOK_UP, {"table": POSTGRES_TABLE}).fetchone())
                pgvector.psycopg.register_vector(connection)
            except BaseException:
                connection.close()
                raise
        except psycopg.Error as error:
            raise ServiceError(f"{name} cannot be searched: {masked_words(one_line(error))}") from None
        self._effort = 0
        return connection, table

    def _checked(self, found: Any) -> int:
        """Return the number of the table, if it is of this state of the library."""
        table, comment, has_vectors = found
        name = shown_address(self._address)
        if not has_vectors:
            problem = "the database lacks pgvector"
        elif table is None:
            problem = f"the database has no table {POSTGRES_TABLE}"
        elif comment != self._comment:
            problem = f"the table {POSTGRES_TABLE} is of another library, an older state or other settings"
        else:
            return int(table)
        dsn = name if "://" in name else "DSN"
        export = f"rtsearch library export {self._folder} --postgres {dsn}"
        raise ServiceError(f"{problem}; write it anew: {export}")

    def _lost(self, reason: object) -> ServiceError:
        """Give up the connection; the next who asks looks for another one."""
        assert self._connection is not None
        self._connection.close()
        self._connection = None
        self._problem = f"{shown_address(self._address)} does not answer: {masked_words(one_line(reason))}"
        _log.warning("%s; it is looked for", self._problem)
        return ServiceError(self._problem)

    def _look_for(self) -> None:
        """Look for the database once, in a thread."""
        looking = self._looking is not None and self._looking.is_alive()
        if looking or time.monotonic() - self._looked_s < _AGAIN_S:
            return
        self._looked_s = time.monotonic()
        self._looking = threading.Thread(target=self._look, name="database", daemon=True)
        self._looking.start()

    def _look(self) -> None:
        try:
            opened = self._opened()
        except RtsearchError as error:
            self._problem = str(error)
            return
        with self._lock:
            self._connection, self._table = opened
            self._problem = ""
        _log.warning("%s answers again", shown_address(self._address))


def load_postgres(what: str) -> None:
    """Import what databases are asked with.

    Args:
        what: needs it, named in the message.

    Raises:
        MissingDependencyError: the extra ``postgres`` is not installed.
    """
    try:
        import pgvector.psycopg  # noqa: F401
        import psycopg  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            f"{what} needs psycopg and pgvector, of which one does not load ({one_line(error)}): "
            "pip install 'rtsearch[postgres]'"
        ) from None


@contextlib.contextmanager
def _limited(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """End a connection that gives no answer in time; libpq waits without a limit."""
    timer = threading.Timer(_ANSWER_S, _cut, [connection])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _cut(connection: psycopg.Connection[Any]) -> None:
    import psycopg

    with (
        contextlib.suppress(OSError, psycopg.Error),  # it has ended by itself
        socket.socket(fileno=os.dup(connection.fileno())) as line,
    ):
        line.shutdown(socket.SHUT_RDWR)
