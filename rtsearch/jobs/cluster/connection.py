"""Start Ray on this machine, or connect to the cluster that it belongs to."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import re
import socket
from collections.abc import Iterator
from typing import Any

from rtsearch._util.cpu import usable_cores
from rtsearch._util.wording import one_line
from rtsearch.errors import ClusterError, MissingDependencyError
from rtsearch.images.decode import quiet_decoders

__all__ = ["connected"]

_ANSWER_S = 5
_SILENT = {"RAY_USAGE_STATS_ENABLED": "0"}  # nothing is reported to anybody
# Whatever listens at an address without being a Ray cluster would be waited for ten minutes.
_SHORT = {"RAY_py_gcs_connect_timeout_s": str(_ANSWER_S), "RAY_NUM_REDIS_GET_RETRIES": "1"}
_STORE_BYTES = 256 << 20  # of results that wait; Ray would take a third of the memory
_OBJECT_BYTES = 1024  # a vector of 64 numbers takes 300 in a tree; two versions may be there at once
_HOST_PORT = re.compile(r"(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):(?P<port>\d{1,5})")


@contextlib.contextmanager
def connected(address: str, objects: int = 0) -> Iterator[None]:
    """Be connected to Ray while the block runs.

    Args:
        address: ``local`` starts Ray on this machine, ``auto`` takes the cluster that this machine belongs
            to, HOST:PORT names its head.
        objects: number of objects that are to be searched, for which ``local`` takes memory.

    Raises:
        MissingDependencyError: the extra ``ray`` is not installed.
        ClusterError: the address is none, no cluster answers, or it has another version of Ray or Python.
    """
    ray = _ray(_SILENT if address == "local" else _SILENT | _SHORT)
    try:
        _init(ray, address, _STORE_BYTES + objects * _OBJECT_BYTES)
        yield
    finally:
        ray.shutdown()


def _ray(variables: dict[str, str]) -> Any:
    """Import Ray, which reads its own settings from the environment then."""
    for name, value in variables.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as error:
        raise MissingDependencyError(
            f"--ray needs Ray, which does not load ({one_line(error)}): pip install 'rtsearch[ray]'"
        ) from None
    _tell_on_stderr()
    return ray


@functools.cache
def _tell_on_stderr() -> None:
    """Let Ray print what it tells of its machines on standard error: standard output is for answers."""
    from ray._private import worker

    tell = getattr(worker, "print_to_stdstream", None)  # there is no public way
    if tell is not None:
        worker.print_to_stdstream = lambda data, *more, **named: tell(
            {**data, "is_err": True}, *more, **named
        )


def _init(ray: Any, address: str, store_bytes: int) -> None:
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    if address == "local":
        options |= {
            "num_cpus": usable_cores(),
            "include_dashboard": False,
            "object_store_memory": store_bytes,
            "_node_ip_address": "127.0.0.1",  # heeded by some versions of Ray
        }
    elif address != "auto":
        _expect_answer(address)
    try:
        # Workers import from the folder that the driver is in first; photos may lie beside anybody's files.
        with quiet_decoders(), contextlib.chdir(os.sep):  # its C++ part logs to standard error
            ray.init(address=address, **options)
    except Exception as error:  # Ray raises bare ones where a process of it is too slow to start
        raise ClusterError(_no_cluster(address, error)) from None


def _expect_answer(address: str) -> None:
    """Look for a listener first: Ray itself would try for a minute."""
    place = _HOST_PORT.fullmatch(address)
    if place is None or not 0 < int(place["port"]) < 1 << 16:
        raise ClusterError(f"--ray is local, auto or the HOST:PORT of a cluster's head, not {address[:80]}")
    try:
        socket.create_connection((place["host"].strip("[]"), int(place["port"])), _ANSWER_S).close()
    except OSError as error:
        raise ClusterError(_no_cluster(address, error)) from None


def _no_cluster(address: str, error: Exception) -> str:
    reason = getattr(error, "strerror", None) or one_line(error)
    if address == "local":
        return f"Ray does not start on this machine: {reason}"
    return (
        f"no Ray cluster that this machine belongs to at {address} ({reason}); on the head: ray start "
        "--head --disable-usage-stats, here: ray start --address=HOST:PORT --disable-usage-stats"
    )
