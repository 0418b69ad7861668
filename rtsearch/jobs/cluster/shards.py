"""Shards of an index in processes of a Ray cluster, each of them several times.

    driver    a tree per shard -> Ray's object store (processes of one machine share it) -> actors
    question  -> one replica -> no answer yet? -> another one too -> the first answer

Ray starts a replica again that dies, on another machine if need be. Until then, and whenever one is slow, its
siblings answer. Actors rather than Serve's deployments: those put a router and a queue before each replica.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from rtsearch import __version__
from rtsearch._util.closing import Closing
from rtsearch._util.wording import one_line
from rtsearch.errors import ClusterError, ServiceError
from rtsearch.images.decode import quiet_decoders
from rtsearch.jobs.cluster.replica import Replica
from rtsearch.library.search_index import SearchIndex
from rtsearch.service.shards import Mask, Question, Shard, mask_of, shard_numbers
from rtsearch.types import Neighbours

__all__ = ["ClusterShards"]

_START_S = 300.0  # of all replicas: a process, Ray, and the compiled search
_HEDGE_S = 0.1  # without an answer, after which a sibling is asked too
_PASSED_S = 2.0  # for which a replica that was too slow is asked last
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
        self._masks: dict[tuple[int, str], Any] = {}
        self._lock = threading.Lock()
        self._turn = itertools.count()
        self._passed_s: dict[Any, float] = {}  # by replica: until when it is asked last
        actor = ray.remote(Replica).options(
            num_cpus=0, max_restarts=-1, max_concurrency=2, scheduling_strategy="SPREAD"
        )
        self.replicas: list[list[Any]] = []
        self._built: list[Any] = []  # references that a replica is started from again
        try:
            for shard, rows in enumerate(self._rows):
                tell(f"shard {shard + 1} of {shards}: {len(rows):,} objects")
                built = ray.put(Shard.of(index, rows))
                self._built.append(built)
                with quiet_decoders():  # Ray warns on standard error that its reference has to be kept
                    self.replicas.append([actor.remote(__version__, built) for _ in range(replicas)])
            self._expect_all(stop)
        except BaseException:
            self.close()
            raise

    def __len__(self) -> int:
        return len(self.replicas)

    @property
    def places(self) -> list[tuple[str, ...]]:
        """Machines of the replicas of each shard, by their node's name in Ray."""
        return [tuple(self._ray.get(replica.place.remote()) for replica in shard) for shard in self.replicas]

    def ask(self, number: int, question: Question, index: SearchIndex) -> Callable[[float], Neighbours]:
        """Ask a shard; see ``Shards.ask``."""
        mask = self._mask(number, question.key, index) if question.key else None
        replicas = self._in_turn(number)
        first = replicas[0].near.remote(question, [mask])

        def wait(most_s: float) -> Neighbours:
            return self._first_answer(replicas, first, question, mask, most_s)

        return wait

    def close(self) -> None:
        """End all replicas."""
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

    def _in_turn(self, number: int) -> list[Any]:
        """Return the replicas of a shard, each first in turn, and last those that were too slow lately."""
        shard = self.replicas[number]
        turn, now_s = next(self._turn) % len(shard), time.monotonic()
        with self._lock:
            passed = {replica for replica, until_s in self._passed_s.items() if until_s > now_s}
        return sorted((*shard[turn:], *shard[:turn]), key=lambda replica: replica in passed)

    def _first_answer(
        self, replicas: list[Any], first: Any, question: Question, mask: Any, most_s: float
    ) -> Neighbours:
        """Return the first answer of some replicas, the others being asked when there is none in time."""
        until_s = time.monotonic() + most_s
        asked, others = {first: replicas[0]}, iter(replicas[1:])
        while True:
            left_s = max(0.0, until_s - time.monotonic())
            sibling = next(others, None)
            limit_s = left_s if sibling is None else min(_HEDGE_S, left_s)
            if answer := self._answer(asked, limit_s):
                return answer[0]
            if sibling is None or time.monotonic() >= until_s:
                if not asked:
                    raise ServiceError("no replica of the shard is left")
                raise TimeoutError
            asked[sibling.near.remote(question, [mask])] = sibling

    def _answer(self, asked: dict[Any, Any], limit_s: float) -> tuple[Neighbours] | None:
        """Wait for the first answer; replicas that fail, or do not answer in time, are passed over later."""
        until_s = time.monotonic() + limit_s
        while asked:
            left_s = max(0.0, until_s - time.monotonic())
            done, _ = self._ray.wait(list(asked), timeout=left_s)
            if not done:
                break
            replica = asked.pop(done[0])
            try:
                row, distance = self._ray.get(done[0])
            except self._ray.exceptions.RayError:
                self._pass_over([replica])
                continue
            self._pass_over(asked.values())
            return (Neighbours(row, distance),)
        self._pass_over(asked.values())
        return None

    def _pass_over(self, replicas: Any) -> None:
        with self._lock:
            for replica in replicas:
                self._passed_s[replica] = time.monotonic() + _PASSED_S

    def _mask(self, number: int, key: str, index: SearchIndex) -> Any:
        """Return Ray's reference to a mask; made once for each narrowing."""
        with self._lock:
            known = self._masks.get((number, key))
        if known is None:
            mask: Mask = mask_of(index, self._rows[number])
            known = self._ray.put(mask)
            with self._lock:
                self._masks[number, key] = known
        return known


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
