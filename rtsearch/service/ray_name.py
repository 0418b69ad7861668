"""Name a served library in a Ray cluster: ray://HOST/NAME leads to the address of its server.

    rtsearch cluster serve  -> NAME and http://HOST:PORT in the table of names that the cluster's head keeps
    ray://HOST/NAME         -> that table -> http://HOST:PORT; from there on as with any other server

Whoever asks needs Ray, but does not become a machine of the cluster.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from rtsearch._util.wording import one_line
from rtsearch.errors import MissingDependencyError, ServiceError
from rtsearch.images.decode import quiet_decoders

__all__ = ["announced", "resolved"]

_URL = re.compile(r"ray:/{1,2}(.*)", re.DOTALL)  # a Path has folded two slashes to one
_PLACE = re.compile(r"([\w.-]+|\[[0-9A-Fa-f:.]+\])(?::(\d{1,5}))?/([^/?#]+)/?", re.ASCII)
_PORT = 6379  # of a head that was started without another one
_NAMESPACE = b"rtsearch"
_ANSWER_S = 5


@contextlib.contextmanager
def announced(name: str, url: str) -> Iterator[str]:
    """Have the cluster that this process is connected to know a library while the block runs.

    Args:
        name: of the library.
        url: that it answers at.

    Yields:
        its address, ray://HOST:PORT/NAME.
    """
    import ray
    from ray.experimental import internal_kv

    internal_kv._internal_kv_put(name.encode(), url.encode(), overwrite=True, namespace=_NAMESPACE)
    try:
        yield f"ray://{ray.get_runtime_context().gcs_address}/{quote(name)}"
    finally:
        if internal_kv._internal_kv_get(name.encode(), namespace=_NAMESPACE) == url.encode():
            internal_kv._internal_kv_del(name.encode(), namespace=_NAMESPACE)


def resolved(given: str | Path) -> str | Path:
    """Return the address of the server that ray://HOST/NAME names; anything else as it is given.

    Raises:
        ServiceError: it is no such address, no cluster answers there, or it has no library of that name.
        MissingDependencyError: the extra ``ray`` is not installed.
    """
    found = _URL.fullmatch(str(given))
    if found is None:
        return given
    place = _PLACE.fullmatch(found[1])
    port = int(place[2] or _PORT) if place else 0
    if place is None or not 0 < port < 1 << 16:
        raise ServiceError(
            f"ray://{found[1][:200]} is no address of a library: give ray://HOST/NAME or "
            "ray://HOST:PORT/NAME with the head of the cluster, as rtsearch cluster serve prints it"
        )
    return _looked_up(f"{place[1]}:{port}", unquote(place[3]))


def _looked_up(head: str, name: str) -> str:
    try:
        client = _client(head)
        url = client.internal_kv_get(name.encode(), _NAMESPACE, timeout=_ANSWER_S)
        others = [] if url else client.internal_kv_keys(b"", _NAMESPACE, timeout=_ANSWER_S)
    except MissingDependencyError:
        raise
    except Exception as error:  # Ray's have no base in common
        reason = getattr(error, "strerror", None) or one_line(error)
        raise ServiceError(
            f"no Ray cluster answers at {head} ({reason[:200]}); give ray://HOST:PORT/NAME with the host and "
            "port of its head"
        ) from None
    if not url:
        known = ", ".join(sorted(each.decode() for each in others)) or "none"
        raise ServiceError(
            f"the Ray cluster at {head} serves no library {name[:200]} (it serves: {known[:500]}); "
            "rtsearch cluster serve LIB --ray ... tells the name of its library"
        )
    return str(url.decode())


def _client(head: str) -> Any:
    """Connect to the head of a cluster."""
    host, _, port = head.rpartition(":")
    # Whatever listens there without being a Ray cluster would be waited for a minute.
    os.environ.setdefault("RAY_py_gcs_connect_timeout_s", str(_ANSWER_S))
    try:
        from ray._raylet import GcsClient
    except ImportError as error:
        raise MissingDependencyError(
            f"ray:// needs Ray, which does not load ({one_line(error)}): pip install 'rtsearch[ray]'"
        ) from None
    socket.create_connection((host.strip("[]"), int(port)), _ANSWER_S).close()
    with quiet_decoders():  # its C++ part logs to standard error
        return GcsClient(address=head)
