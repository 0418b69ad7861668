"""Answers of a search: their types, queries shared out among threads, columns filled up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rtsearch._util.cpu import usable_cores
from rtsearch.types import F32Array, I32Array, Neighbours

__all__ = ["Answer", "Reach", "Result", "in_parts", "nearest_of", "nothing", "widened"]


@dataclass(frozen=True, slots=True)
class Result:
    """Rows that a search found.

    Attributes:
        distance: (m, k) float32, Euclidean, ascending; inf where there is no row.
        row: (m, k) int32, -1 where there is none.
        proved: (m,) bool, whether the answer is known to be exact.
    """

    distance: F32Array
    row: I32Array
    proved: NDArray[np.bool_]


class Answer(NamedTuple):
    """Distance and row as in a Result, and the crowd of each query (m,) float32, -1 where it is proved."""

    distance: F32Array
    row: I32Array
    crowd: F32Array


def nothing(m: int) -> Answer:
    """Return the answer to m queries for no neighbours."""
    return Answer(np.empty((m, 0), np.float32), np.empty((m, 0), np.int32), np.full(m, -1, np.float32))


def widened(answer: Answer, k: int) -> Answer:
    """Fill an answer up to k columns."""
    m, there = answer.distance.shape
    if there == k:
        return answer
    distance, row = np.full((m, k), np.inf, np.float32), np.full((m, k), -1, np.int32)
    distance[:, :there], row[:, :there] = answer.distance, answer.row
    return Answer(distance, row, answer.crowd)


class Reach:
    """Distances that searches of several trees for the same queries need not look beyond.

    ``query`` of each tree takes it and lowers it. What is farther than the k nearest of all trees may be
    missing in its answer; the nearest of all answers are found with the recall that was asked for.

    Args:
        queries: how many there are; all searches are for these, in their order, and for the same k.
    """

    def __init__(self, queries: int) -> None:
        self.square = np.full((queries, 2), np.inf, np.float32)  # see query_kernels.search


def in_parts(
    queries: int, run: Callable[[slice], Answer], size: int, pool: ThreadPoolExecutor | None = None
) -> Answer:
    """Answer so many queries, about ``size`` at a time, in the threads of a pool; None takes one per core."""
    parts = queries // size
    if parts < 2:
        return run(slice(0, queries))
    if pool is None:
        with ThreadPoolExecutor(min(parts, usable_cores())) as cores:
            return in_parts(queries, run, size, cores)
    ends = [queries * part // parts for part in range(parts + 1)]
    answers = list(pool.map(run, map(slice, ends[:-1], ends[1:])))
    return Answer(*(np.concatenate(columns) for columns in zip(*answers, strict=True)))


def nearest_of(found: Sequence[Neighbours], n: int, k: int) -> Neighbours:
    """Return the k nearest of several answers to n queries; -1 and inf where there are fewer."""
    if len(found) == 1:
        return found[0]
    if not found:
        return Neighbours(np.full((n, k), -1, np.int32), np.full((n, k), np.inf, np.float32))
    row = np.concatenate([each.row for each in found], axis=1)
    distance = np.concatenate([each.distance for each in found], axis=1)
    order = np.argsort(distance, axis=1, kind="stable")[:, :k]
    return Neighbours(np.take_along_axis(row, order, 1), np.take_along_axis(distance, order, 1))
