"""A real PostgreSQL with pgvector, out of a package."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator

import pytest

__all__ = ["postgres"]


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """Start a server and give its address; the test is skipped where the packages are missing."""
    for name in ("psycopg", "pgvector", "pgserver"):
        pytest.importorskip(name, reason="needs the extra postgres, and pgserver")
    import pgserver

    # PostgreSQL never runs as root, and pytest closes its own folder to all other users.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        server = pgserver.get_server(folder)
        yield server.get_uri()
        server.cleanup()
