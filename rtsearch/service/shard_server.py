"""Answer for a shard over plain connections: a thread for each, which searches by itself."""

from __future__ import annotations

import contextlib
import secrets
import socket
import threading

from rtsearch._util.closing import Closing
from rtsearch.service.shard_protocol import (
    SECRET_BYTES,
    read_question,
    received,
    write_near,
    write_no_mask,
)
from rtsearch.service.shards import Shard, UnknownMaskError

__all__ = ["ShardServer"]

_SECRET_S = 5.0  # for a new connection to show the secret


class ShardServer(Closing):
    """Server of a shard.

    Args:
        shard: is searched.
        secret: of the shard; connections that do not begin with it are ended.
        host: address of this machine to listen at.

    Attributes:
        port: that it listens at.
    """

    def __init__(self, shard: Shard, secret: bytes, host: str) -> None:
        self._shard = shard
        self._secret = secret
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listening = socket.create_server((host, 0), family=family)
        self.port = int(self._listening.getsockname()[1])
        threading.Thread(target=self._accept, name="shard", daemon=True).start()

    def close(self) -> None:
        """Take no more connections; those that are there end with this process."""
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._listening.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                connection, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(connection,), name="shard", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):  # whoever asked has gone
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.settimeout(_SECRET_S)
            if not secrets.compare_digest(received(connection, SECRET_BYTES), self._secret):
                return
            connection.settimeout(None)
            while True:
                connection.sendall(self._answer(connection))

    def _answer(self, connection: socket.socket) -> bytes:
        question, mask = read_question(connection)
        try:
            return write_near(self._shard.near(question, mask))
        except UnknownMaskError:
            return write_no_mask()
