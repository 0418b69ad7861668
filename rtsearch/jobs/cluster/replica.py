"""Hold one shard in a process of a Ray cluster."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from rtsearch import __version__
from rtsearch.errors import ClusterError
from rtsearch.service.shard_server import ShardServer

if TYPE_CHECKING:
    from rtsearch.service.shards import Shard

__all__ = ["Replica"]


class Replica:
    """Actor that answers for a shard at a port of its machine.

    Args:
        version: of rtsearch where the shard was made.
        shard: its arrays lie in Ray's object store, which the processes of a machine share.
        secret: of the shard; who asks begins with it.

    Raises:
        ClusterError: this machine has another version of rtsearch.
    """

    def __init__(self, version: str, shard: Shard, secret: bytes) -> None:
        if version != __version__:
            raise ClusterError(
                f"{socket.gethostname()} has rtsearch {__version__}, the shards are of {version}: install "
                "the same on all machines of the cluster"
            )
        from ray.util import get_node_ip_address

        self._host = str(get_node_ip_address())
        shard.warm_up()
        self._server = ShardServer(shard, secret, self._host)

    def place(self) -> tuple[str, int]:
        """Return host and port that the shard is asked at."""
        return self._host, self._server.port
