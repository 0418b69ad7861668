"""Open the library that a server answers for."""

from __future__ import annotations

import os
from pathlib import Path

from rtsearch.service.address import ServiceAddress
from rtsearch.service.connection import Connection
from rtsearch.service.ray_name import resolved
from rtsearch.service.remote_index import RemoteIndex
from rtsearch.service.remote_library import RemoteLibrary, about_of

__all__ = ["open_remote"]


def open_remote(given: str | Path, photo_root: Path | None = None) -> RemoteLibrary | None:
    """Open the library that a server answers for; None for what is no address.

    Args:
        given: address, or a path made of one; without a token, that of RTSEARCH_TOKEN is used.
        photo_root: where the photos are on this machine, if they are.

    Raises:
        ServiceError: it is no address of a library, or the server is away, refuses, or is of another version.
        MissingDependencyError: the address is one of Ray, which is not installed.
    """
    address = ServiceAddress.parse(resolved(given), os.environ.get("RTSEARCH_TOKEN", ""))
    if address is None:
        return None
    connection = Connection(address)
    try:
        return RemoteLibrary(connection, about_of(connection), RemoteIndex.open, photo_root)
    except BaseException:
        connection.close()
        raise
