"""A shard that another process holds: the first answer counts, and a replica that was lost is found again."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import numpy as np
import pytest
from test_library_watch import wait_for

from rtsearch.config import SearchSettings
from rtsearch.errors import ServiceError
from rtsearch.library.narrowing import narrow
from rtsearch.library.search_index import SearchIndex
from rtsearch.service.shard_line import Call, Line
from rtsearch.service.shard_protocol import SECRET_BYTES, received
from rtsearch.service.shard_server import ShardServer
from rtsearch.service.shards import Mask, Question, Shard, mask_of
from rtsearch.types import Neighbours

SECRET = bytes(range(SECRET_BYTES))
PATIENCE_S = 60.0


class Replica:
    """A process that holds a shard, played by this one; it may die and begin again elsewhere."""

    def __init__(self, shard: Shard) -> None:
        self._shard = shard
        self._servers: list[ShardServer] = []
        self.line = Line(self.place, SECRET)

    def begin(self) -> Replica:
        self._servers.append(ShardServer(self._shard, SECRET, "127.0.0.1"))
        return self

    def die(self) -> None:
        self._servers.pop().close()
        for connection in list(self.line._idle.queue):
            with contextlib.suppress(OSError):  # it has ended already
                connection.shutdown(socket.SHUT_RDWR)

    def place(self) -> tuple[str, int]:
        if not self._servers:
            raise ConnectionError("it is not there")
        return "127.0.0.1", self._servers[-1].port

    def close(self) -> None:
        self.line.close()
        for server in self._servers:
            server.close()


@pytest.fixture
def shard(blob_index) -> Shard:
    return Shard.of(blob_index.whole, np.arange(len(blob_index), dtype=np.int32))


@pytest.fixture
def replica(shard) -> Iterator[Replica]:
    with contextlib.closing(Replica(shard).begin()) as begun:
        begun.line.open()
        yield begun


@pytest.fixture
def silent() -> Iterator[Line]:
    """Take questions and never answer."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        contextlib.closing(Line(listening.getsockname, SECRET)) as line,
    ):
        line.open()
        yield line


def question(index: SearchIndex, key: str = "") -> Question:
    return Question(index.points(np.arange(5, dtype=np.int32)), 4, True, 0.98, key)


def no_mask() -> Mask:
    raise AssertionError("no mask is needed")


def same(found: Neighbours, true: Neighbours) -> bool:
    return np.array_equal(found.row, true.row) and np.array_equal(found.distance, true.distance)


def test_what_is_found_is_what_the_shard_finds(blob_index, shard, replica):
    asked = question(blob_index)
    for _ in range(3):
        assert same(Call([replica.line], asked, no_mask).wait(PATIENCE_S), shard.near(asked))
    assert replica.line._idle.qsize() == 1  # one connection serves all


def test_a_mask_is_sent_once(blob_index, replica):
    red = narrow(blob_index, SearchSettings(classes=("red",)), distinct=False)
    asked, rows = question(blob_index, "red"), np.arange(len(blob_index), dtype=np.int32)
    true = red.near(asked.points, 4, exact=True)
    assert same(Call([replica.line], asked, lambda: mask_of(red, rows)).wait(PATIENCE_S), true)
    assert same(Call([replica.line], asked, no_mask).wait(PATIENCE_S), true)


def test_a_sibling_answers_for_one_that_is_silent(blob_index, shard, replica, silent):
    asked = question(blob_index)
    assert same(Call([silent, replica.line], asked, no_mask).wait(PATIENCE_S), shard.near(asked))
    assert silent.is_slow
    assert not replica.line.is_slow


def test_nobody_answers_in_time(blob_index, silent):
    with pytest.raises(TimeoutError):
        Call([silent], question(blob_index), no_mask).wait(0.01)


def test_a_replica_that_dies_is_found_where_it_begins_again(blob_index, shard, replica):
    asked = question(blob_index)
    replica.die()
    with pytest.raises(ServiceError, match="no replica of the shard is left"):
        Call([replica.line], asked, no_mask).wait(PATIENCE_S)
    replica.begin()
    wait_for(lambda: replica.line._idle.qsize() == 1)
    assert same(Call([replica.line], asked, no_mask).wait(PATIENCE_S), shard.near(asked))


def test_a_sibling_answers_for_one_that_died(blob_index, shard, replica):
    with contextlib.closing(Replica(shard).begin()) as other:
        other.line.open()
        other.die()
        asked = question(blob_index)
        assert same(Call([other.line, replica.line], asked, no_mask).wait(PATIENCE_S), shard.near(asked))


def test_who_does_not_know_the_secret_is_not_answered(replica):
    with socket.create_connection(replica.place(), PATIENCE_S) as connection:
        connection.sendall(bytes(SECRET_BYTES))
        with pytest.raises(ConnectionError):
            received(connection, 1)
