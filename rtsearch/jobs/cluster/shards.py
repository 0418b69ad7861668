"""Shards of an index in processes of a Ray cluster, each of them several times.

    driver    a tree per shard -> Ray's object store (processes of one machine share it) -> actors
    question  -> connections to one replica of each (``service.shard_line``)

Ray starts a replica again that dies, on another machine if need be. Until then, and whenever one is slow, its
siblings answer. Questions go to the replicas directly: through Ray, each takes a millisecond of both sides.
"""

from __future__ import annotations

import functools
import itertools
import secrets
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from rtsearch import __version__
from rtsearch._util.closing import Closing
from rtsearch._util.wording import one_line
from rtsearch.errors import ClusterError
from rtsearch.images.decode import quiet_decoders
from rtsearch.jobs.cluster.replica import Replica
from rtsearch.library.search_index import SearchIndex
from rtsearch.service.shard_line import Call, Line
from rtsearch.service.shard_protocol import SECRET_BYTES
from rtsearch.service.shards import Question, Shard, mask_of, shard_numbers
from rtsearch.types import Neighbours

__all__ = ["ClusterShards"]

_START_S = 300.0  # of all replicas: a process, Ray, and the compiled search
_FIND_S = 10.0  # for Ray to tell where a replica is
_POLL_S = 0.5


class ClusterShards(Closing):
    """Shards of one index, on a cluster; Ray must be connected. See ``service.shards.Shards``.

    Args:
        index: of all rows.
        shards: number of parts.
        replicas: number of processes for each of them.
        tell: gets a line about what takes long.
        stop: ends the start.

    Attributes:
        replicas: Ray's handles of the processes of each shard.

    Raises:
        ClusterError: the replicas do not start, or machines have another version of rtsearch.
    """

    def __init__(
        self,
        index: SearchIndex,
        shards: int,
        replicas: int,
        tell: Callable[[str], None],
        stop: threading.Event,
    ) -> None:
        import ray

        self._ray: Any = ray
        numbers = shard_numbers(index.leaders, shards)
        self._rows = [np.flatnonzero(numbers == shard).astype(np.int32) for shard in range(shards)]
        self._turn = itertools.count()
        actor = ray.remote(Replica).options(num_cpus=0, max_restarts=-1, scheduling_strategy="SPREAD")
        self.replicas: list[list[Any]] = []
        self._lines: list[list[Line]] = []
        self._built: list[Any] = []  # references that a replica is started from again
        try:
            for shard, rows in enumerate(self._rows):
                tell(f"shard {shard + 1} of {shards}: {len(rows):,} objects")
                built = ray.put(Shard.of(index, rows))
                self._built.append(built)
                with quiet_decoders():  # Ray warns on standard error that its reference has to be kept
                    secret = secrets.token_bytes(SECRET_BYTES)
                    self.replicas.append([actor.remote(__version__, built, secret) for _ in range(replicas)])
                self._lines.append(
                    [Line(functools.partial(self._place, each), secret) for each in self.replicas[-1]]
                )
            self._expect_all(stop)
        except BaseException:
            self.close()
            raise

    def __len__(self) -> int:
        return len(self.replicas)

    def ask(self, number: int, question: Question, index: SearchIndex) -> Callable[[float], Neighbours]:
        """Ask a shard; see ``Shards.ask``."""
        lines = self._in_turn(number)
        return Call(lines, question, lambda: mask_of(index, self._rows[number])).wait

    def close(self) -> None:
        """End all replicas."""
        for line in itertools.chain(*self._lines):
            line.close()
        for replica in itertools.chain(*self.replicas):
            self._ray.kill(replica)

    def _expect_all(self, stop: threading.Event) -> None:
        """Wait for all replicas."""
        until_s = time.monotonic() + _START_S
        waiting = [replica.place.remote() for replica in itertools.chain(*self.replicas)]
        while waiting and not stop.is_set():
            done, waiting = self._ray.wait(waiting, num_returns=len(waiting), timeout=_POLL_S)
            for ref in done:
                try:
                    self._ray.get(ref)
                except self._ray.exceptions.RayError as error:
                    raise _worded(error) from None
            if time.monotonic() > until_s:
                raise ClusterError(
                    f"{len(waiting)} replicas have not started within {_START_S:.0f} s; ray status tells "
                    "what is lacking"
                )
        if not stop.is_set():
            self._connect()

    def _connect(self) -> None:
        try:
            for line in itertools.chain(*self._lines):
                line.open()
        except OSError as error:
            raise ClusterError(
                f"a machine of the cluster cannot be reached ({one_line(error)}): all ports between them "
                "have to be open, as for Ray itself"
            ) from None

    def _place(self, replica: Any) -> tuple[str, int]:
        """Ask Ray where a replica is."""
        try:
            host, port = self._ray.get(replica.place.remote(), timeout=_FIND_S)
        except self._ray.exceptions.RayError as error:
            raise ConnectionError(one_line(error)) from None
        return host, port

    def _in_turn(self, number: int) -> list[Line]:
        """Return the lines to a shard, each first in turn, and last those that were too slow lately."""
        lines = self._lines[number]
        turn = next(self._turn) % len(lines)
        return sorted((*lines[turn:], *lines[:turn]), key=lambda line: line.is_slow)


def _worded(error: Exception) -> ClusterError:
    """Return the error of a start in our words."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, ClusterError):
        return cause
    text = one_line(error)
    if "failed to import" in text or "No module named" in text:
        return ClusterError(
            f"a machine of the cluster cannot load rtsearch {__version__}: pip install 'rtsearch[ray]' there"
        )
    return ClusterError(f"a shard does not start: {text[-300:]}")
