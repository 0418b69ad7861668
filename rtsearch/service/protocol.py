"""Bytes of questions and answers between a server and those who search its library.

    question  (n, dim) float32, or (n,) int32 rows
    answer    header, shards that are missing, rows and distances, facts about each row, points, paths

All numbers are little-endian. Whoever reads an answer knows what was asked, so every length is checked
against it before memory is taken.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np

from rtsearch.errors import ServiceError
from rtsearch.service.facts import RECORD, Facts
from rtsearch.types import F32Array, I32Array, Neighbours

__all__ = [
    "FORMAT",
    "MOST_K",
    "MOST_QUERIES",
    "MOST_ROWS",
    "Answer",
    "Asked",
    "most_answer_bytes",
    "read_answer",
    "read_points",
    "read_rows",
    "write_answer",
]

FORMAT = 1
"""Version of the bytes and of the addresses; a server of another one is refused."""
MOST_QUERIES = 256
"""Largest number of points in one question."""
MOST_K = 2048
"""Largest number of neighbours of each."""
MOST_ROWS = 4096
"""Largest number of rows that are asked for at once."""

_MAGIC = b"RTSA"
_HEADER = struct.Struct("<4s5I")  # magic, n, k, facts, shards that are missing, bytes of all paths
_MOST_SHARDS = 4096
_MOST_PATH_BYTES = 4096
_PATH = np.dtype("<u2")


class Answer(NamedTuple):
    """Answer of a server.

    Attributes:
        near: (n, k) rows and distances; -1 and inf where there are fewer.
        facts: about every row of ``near``, or those that were asked for.
        missing: numbers of the shards that did not answer in time, whose rows are not among them.
    """

    near: Neighbours
    facts: Facts
    missing: tuple[int, ...] = ()


class Asked(NamedTuple):
    """Bounds of an answer.

    Attributes:
        n, k: points and neighbours of each, 0 where rows were asked for.
        facts: most rows that facts can be about.
        dim: dimensions of a point.
        objects: rows of the library.
    """

    n: int
    k: int
    facts: int
    dim: int
    objects: int


def read_points(body: bytes, dim: int) -> F32Array:
    """Return the points of a question, (n, dim) float32.

    Raises:
        ServiceError: the body has another length, or numbers that are not finite.
    """
    width = 4 * dim
    if not body or len(body) % width or len(body) > width * MOST_QUERIES:
        raise ServiceError(
            f"the body: expected 1 to {MOST_QUERIES} points of {dim} float32 ({width} bytes each), got "
            f"{len(body):,} bytes"
        )
    points = np.frombuffer(body, "<f4").reshape(-1, dim).astype(np.float32)
    if not np.isfinite(points).all():
        raise ServiceError("the body: a point has NaN or infinity in it")
    return points


def read_rows(body: bytes, objects: int) -> I32Array:
    """Return the rows of a question, (n,) int32, each once.

    Raises:
        ServiceError: the body has another length, or there is no such row.
    """
    if not body or len(body) % 4 or len(body) > 4 * MOST_ROWS:
        raise ServiceError(f"the body: expected 1 to {MOST_ROWS} int32 rows, got {len(body):,} bytes")
    rows = np.unique(np.frombuffer(body, "<i4")).astype(np.int32)
    if rows[0] < 0 or rows[-1] >= objects:
        raise ServiceError(f"the body: rows of the library are 0 to {objects - 1}")
    return rows


def write_answer(answer: Answer) -> bytes:
    """Return the bytes of an answer."""
    row, distance = answer.near.row, answer.near.distance
    facts = answer.facts
    names = [path.encode("utf-8", "surrogateescape") for path in facts.paths]
    together = b"".join(names)
    header = _HEADER.pack(_MAGIC, *row.shape, len(names), len(answer.missing), len(together))
    return b"".join(
        (
            header,
            np.array(answer.missing, "<u4").tobytes(),
            row.astype("<i4").tobytes(),
            distance.astype("<f4").tobytes(),
            facts.records.tobytes(),
            facts.points.astype("<f4").tobytes(),
            np.array([len(name) for name in names], _PATH).tobytes(),
            together,
        )
    )


def most_answer_bytes(asked: Asked) -> int:
    """Return the length of the longest answer to a question."""
    per_fact = RECORD.itemsize + 4 * asked.dim + _PATH.itemsize + _MOST_PATH_BYTES
    return _HEADER.size + 4 * _MOST_SHARDS + 8 * asked.n * asked.k + per_fact * asked.facts


def read_answer(body: bytes, asked: Asked) -> Answer:
    """Read what ``write_answer`` wrote.

    Raises:
        ServiceError: it is no answer to what was asked.
    """
    if len(body) < _HEADER.size:
        raise _nonsense("it ends in its header")
    magic, n, k, count, missing, path_bytes = _HEADER.unpack_from(body)
    if magic != _MAGIC or n != asked.n or k > asked.k or count > asked.facts or missing > _MOST_SHARDS:
        raise _nonsense("its header")
    sizes = [4 * missing, 4 * n * k, 4 * n * k, RECORD.itemsize * count, 4 * asked.dim * count, 2 * count]
    if len(body) != _HEADER.size + sum(sizes) + path_bytes:
        raise _nonsense("its length")
    parts, at = [], _HEADER.size
    for size in (*sizes, path_bytes):
        parts.append(body[at : at + size])
        at += size
    row = np.frombuffer(parts[1], "<i4").astype(np.int32).reshape(n, k)
    distance = np.frombuffer(parts[2], "<f4").astype(np.float32).reshape(n, k)
    records = np.frombuffer(parts[3], RECORD)
    points = np.frombuffer(parts[4], "<f4").astype(np.float32).reshape(count, asked.dim)
    known = records["row"]
    if (
        not np.isfinite(points).all()
        or not np.isfinite(records["xyxy"]).all()
        or np.isinf(records["times_s"]).any()
        or np.isnan(distance).any()
        or (known < 0).any()
        or (known >= asked.objects).any()
        or (records["label"] < -1).any()
        or not np.isin(row[row >= 0], known).all()
    ):
        raise _nonsense("its numbers")
    facts = Facts(records, points, _paths(parts[6], np.frombuffer(parts[5], _PATH)))
    return Answer(Neighbours(row, distance), facts, tuple(np.frombuffer(parts[0], "<u4").tolist()))


def _paths(together: bytes, lengths: I32Array) -> tuple[str, ...]:
    ends = np.cumsum(lengths, dtype=np.int64).tolist()
    if (ends[-1] if ends else 0) != len(together):
        raise _nonsense("its paths")
    begins = [0, *ends[:-1]]
    return tuple(
        together[begin:end].decode("utf-8", "surrogateescape")
        for begin, end in zip(begins, ends, strict=True)
    )


def _nonsense(what: str) -> ServiceError:
    return ServiceError(f"the server's answer cannot be used ({what}); has it the same version of rtsearch?")
