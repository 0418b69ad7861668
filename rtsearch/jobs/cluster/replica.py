"""Search one shard in a process of a Ray cluster."""

from __future__ import annotations

import functools
import socket
from typing import TYPE_CHECKING, Any

from rtsearch import __version__
from rtsearch.errors import ClusterError

if TYPE_CHECKING:
    from rtsearch.service.shards import Question, Shard
    from rtsearch.types import F32Array, I32Array

__all__ = ["Replica"]


class Replica:
    """Actor that searches a shard.

    Args:
        version: of rtsearch where the shard was made.
        shard: its arrays lie in Ray's object store, which the processes of a machine share.

    Raises:
        ClusterError: this machine has another version of rtsearch.
    """

    def __init__(self, version: str, shard: Shard) -> None:
        if version != __version__:
            raise ClusterError(
                f"{socket.gethostname()} has rtsearch {__version__}, the shards are of {version}: install "
                "the same on all machines of the cluster"
            )
        self._shard = shard
        shard.warm_up()

    def near(self, question: Question, mask: list[Any]) -> tuple[I32Array, F32Array]:
        """Return rows and distances of the nearest.

        Args:
            question: what is wanted.
            mask: Ray's reference to the mask of its narrowing, or None; in a list, so that Ray does not fetch
                it with each question.
        """
        import ray

        near = self._shard.near(question, functools.partial(ray.get, mask[0]))
        return near.row, near.distance

    def place(self) -> str:
        """Return the name of this machine in Ray."""
        import ray

        return str(ray.get_runtime_context().get_node_id())
