"""Ask the processes that hold a shard, over connections that are kept.

    question -> one replica -> no answer yet? -> another one too -> the first answer

A replica that is lost is looked for in the background, as it may begin again elsewhere; meanwhile nobody
waits for it.
"""

from __future__ import annotations

import contextlib
import queue
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterable
from typing import cast

from rtsearch._util.closing import Closing
from rtsearch.errors import ServiceError
from rtsearch.service.shard_protocol import read_near, write_question
from rtsearch.service.shards import Mask, Question
from rtsearch.types import Neighbours

__all__ = ["Call", "Line"]

_HEDGE_S = 0.1  # without an answer, after which a sibling is asked too
_PASSED_S = 2.0  # for which a replica that was too slow is asked last
_CONNECT_S = 2.0  # to a replica that nobody waits for
_READ_S = 1.0  # between parts of an answer
_AGAIN_S = 0.3  # between two looks for a replica that is lost
_KEPT = 16  # idle connections


class Line(Closing):
    """Connections to one replica of a shard, for any number of threads.

    Args:
        find: tells host and port of the replica, or raises an OSError where that is not known now.
        secret: of the shard.
    """

    def __init__(self, find: Callable[[], tuple[str, int]], secret: bytes) -> None:
        self._find = find
        self._secret = secret
        self._place: tuple[str, int] | None = None
        self._idle: queue.LifoQueue[socket.socket] = queue.LifoQueue(_KEPT)
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._looking = False
        self._passed_s = 0.0

    @property
    def is_slow(self) -> bool:
        """True while an answer was missing lately."""
        return time.monotonic() < self._passed_s

    def open(self) -> None:
        """Look for the replica, and connect.

        Raises:
            OSError: it is not there.
        """
        place = self._find()
        self.keep(self._connected(place, _CONNECT_S))
        self._place = place

    def send(self, question: bytes) -> socket.socket:
        """Send a question; its answer comes over the connection that is returned.

        Raises:
            OSError: the replica is not there.
        """
        try:
            connection = self._idle.get_nowait()
        except queue.Empty:
            connection = self._new()
        try:
            connection.sendall(question)
        except OSError:
            self.lose(connection)
            raise
        return connection

    def keep(self, connection: socket.socket) -> None:
        """Take back a connection whose answer has been read."""
        try:
            self._idle.put_nowait(connection)
        except queue.Full:
            connection.close()

    def pass_over(self, connection: socket.socket) -> None:
        """Give up a connection whose answer comes too late."""
        connection.close()
        self._passed_s = time.monotonic() + _PASSED_S

    def lose(self, connection: socket.socket | None = None) -> None:
        """Give up all connections, as one has ended, and look for the replica."""
        if connection is not None:
            connection.close()
        self._place = None
        self._drop_idle()
        with self._lock:
            if self._looking or self._closed.is_set():
                return
            self._looking = True
        threading.Thread(target=self._look, name="replica", daemon=True).start()

    def close(self) -> None:
        """End all connections."""
        self._closed.set()
        self._drop_idle()

    def _new(self) -> socket.socket:
        place = self._place
        if place is None:
            raise ConnectionError("the replica is looked for")
        try:
            return self._connected(place, _HEDGE_S)
        except OSError:
            self.lose()
            raise

    def _connected(self, place: tuple[str, int], limit_s: float) -> socket.socket:
        connection = socket.create_connection(place, limit_s)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(_READ_S)
        connection.sendall(self._secret)
        return connection

    def _drop_idle(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._idle.get_nowait().close()

    def _look(self) -> None:
        while not self._closed.wait(_AGAIN_S):
            with contextlib.suppress(OSError):
                self.open()
                break
        self._looking = False


class Call:
    """Question to a shard that has been sent; ``wait`` gives its answer.

    Args:
        lines: to the replicas of the shard, in the order in which they are asked.
        question: what is wanted.
        mask: gives the mask of its narrowing, should a replica not know it yet.
    """

    def __init__(self, lines: Iterable[Line], question: Question, mask: Callable[[], Mask]) -> None:
        self._others = iter(lines)
        self._given, self._mask = question, mask
        self._question = write_question(question)
        self._asked: dict[socket.socket, Line] = {}
        self._ask_another()

    def wait(self, most_s: float) -> Neighbours:
        """Return the first answer of a replica; another one is asked when there is none in time.

        Raises:
            TimeoutError: there is none within ``most_s``.
            ServiceError: no replica is left.
        """
        until_s = time.monotonic() + most_s
        is_last = False
        try:
            while self._asked:
                left_s = max(0.0, until_s - time.monotonic())
                if connection := self._ready(left_s if is_last else min(_HEDGE_S, left_s)):
                    if near := self._read(connection):
                        return near
                elif time.monotonic() >= until_s:
                    raise TimeoutError
                else:
                    is_last = not self._ask_another()
            raise ServiceError("no replica of the shard is left")
        finally:
            for connection, line in self._asked.items():
                line.pass_over(connection)

    def _ask_another(self) -> bool:
        """Ask the next replica that is there; False where there is none."""
        for line in self._others:
            with contextlib.suppress(OSError):
                self._asked[line.send(self._question)] = line
                return True
        return False

    def _ready(self, limit_s: float) -> socket.socket | None:
        """Wait for an answer to begin."""
        with selectors.DefaultSelector() as some:
            for connection in self._asked:
                some.register(connection, selectors.EVENT_READ)
            ready = some.select(limit_s)
        return cast(socket.socket, ready[0][0].fileobj) if ready else None

    def _read(self, connection: socket.socket) -> Neighbours | None:
        """Read an answer; None where there is none, or a replica has to be told the mask first."""
        line = self._asked[connection]
        try:
            near = read_near(connection)
            if near is None:
                connection.sendall(write_question(self._given, self._mask()))
                return None
        except OSError:
            del self._asked[connection]
            line.lose(connection)
            if not self._asked:
                self._ask_another()
            return None
        del self._asked[connection]
        line.keep(connection)
        return near
