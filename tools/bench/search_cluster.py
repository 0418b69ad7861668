"""Search by a Ray cluster on this machine: time per query, recall of the whole, and a replica that is killed.

    client    questions over HTTP to the server, one after the other, of one point and of eight
    shards    time per question against 1, 2, 4 and 8 shards
    killed    one of two replicas of each shard is killed in the middle: questions that fail or lack a shard

    python tools/bench/search_cluster.py [--objects 1000000] [--dim 64] [--seconds 10] [--shards 1 2 4 8]

Prints one JSON object. The vectors are made up: 2,000 groups around random centres.
``one_tree`` is the same search in this process, without shards, Ray or HTTP.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import multiprocessing
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from rtsearch._util.cpu import usable_cores
from rtsearch.config import SearchSettings
from rtsearch.jobs.cluster import connected
from rtsearch.jobs.cluster.shards import ClusterShards
from rtsearch.library.index_files import PhotoPaths, empty_table
from rtsearch.library.search_index import SearchIndex
from rtsearch.search import KDTree
from rtsearch.search.projection import Projection, stored_points
from rtsearch.service import Answers
from rtsearch.service.address import ServiceAddress
from rtsearch.service.answers import name_of
from rtsearch.service.connection import Connection
from rtsearch.service.protocol import Asked, most_answer_bytes, read_answer
from rtsearch.service.shards import ask_all
from rtsearch.types import F32Array, Neighbours
from rtsearch.web import Access, Address, PageServer, SearchSite, bind

K = 64  # of a live loop: four candidates for each of 16 crops
TARGETS = {"p50_ms": 5, "p99_ms": 15, "recall": 0.98}


def made_up(n: int, dim: int) -> tuple[F32Array, F32Array]:
    """Vectors in groups, and a thousand queries near some of them."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(2000, dim)).astype(np.float32)
    vectors = centres[rng.integers(0, len(centres), n)]
    vectors += 0.5 * rng.standard_normal((n, dim), np.float32)
    asked = vectors[rng.choice(n, 1000, replace=False)]
    return vectors, asked + 0.2 * rng.standard_normal(asked.shape, np.float32)


def index_of(vectors: F32Array, folder: Path) -> SearchIndex:
    """An index of vectors without photos."""
    n, dim = vectors.shape
    table = empty_table(n)
    for column in table.values():
        column[...] = 0
    table["leader"] = np.arange(n, dtype=np.int32)
    table["times_s"][...] = np.nan
    PhotoPaths.save(folder, ["made-up.jpg"])
    library = SimpleNamespace(state="0" * 16, packs=())
    projection = Projection(np.eye(dim, dtype=np.float32), np.zeros(dim, np.float32))
    return SearchIndex(
        cast(Any, library),
        projection,
        KDTree.build(stored_points(vectors)),
        table,
        PhotoPaths.load(folder, 1),
    )


class Client:
    """Asks a server as clients do."""

    def __init__(self, port: int, state: str, dim: int, objects: int) -> None:
        self.given = port, state, dim, objects
        self.connection = Connection(ServiceAddress("http", "127.0.0.1", port))
        self._path = f"/api/index/{state}/near?k={K}"
        self._dim, self._objects = dim, objects

    def ask(self, points: F32Array, more: str = "") -> tuple[Neighbours, tuple[int, ...]]:
        asked = Asked(len(points), K, len(points) * K, self._dim, self._objects)
        body = self.connection.post(self._path + more, points.tobytes(), most_answer_bytes(asked))
        answer = read_answer(body, asked)
        return answer.near, answer.missing

    def ask_all(self, points: F32Array, more: str = "") -> Neighbours:
        """Ask until no shard is missing; on a busy machine one may come too late."""
        while True:
            near, missing = self.ask(points, more)
            if not missing:
                return near


def quantiles(times_ms: list[float]) -> dict[str, float]:
    return {
        "p50_ms": round(float(np.quantile(times_ms, 0.5)), 2),
        "p99_ms": round(float(np.quantile(times_ms, 0.99)), 2),
    }


def timed(ask: Callable[[F32Array], Any], asked: F32Array, each: int, seconds: float) -> dict[str, float]:
    """Times of questions with so many points each, one after the other."""
    times_ms, turn, until_s = [], 0, time.monotonic() + seconds
    while time.monotonic() < until_s:
        first = turn * each % (len(asked) - each)
        begun_s = time.perf_counter()
        ask(asked[first : first + each])
        times_ms.append((time.perf_counter() - begun_s) * 1e3)
        turn += 1
    return {**quantiles(times_ms[len(times_ms) // 10 :]), "questions": len(times_ms)}


def timed_apart(given: tuple[int, str, int, int], *how: Any) -> dict[str, float]:
    """Times of questions by a client in a process of its own, as clients are."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_timed_client, given, *how).result()


def _timed_client(given: tuple[int, str, int, int], *how: Any) -> dict[str, float]:
    client = Client(*given)
    with client.connection:
        return timed(client.ask, *how)


def recall_of(found: np.ndarray, true: np.ndarray) -> float:
    return float(
        np.mean([len(np.intersect1d(a, b)) / true.shape[1] for a, b in zip(found, true, strict=True)])
    )


@contextlib.contextmanager
def served(index: SearchIndex, count: int, replicas: int) -> Iterator[tuple[Client, ClusterShards]]:
    """Shards of an index behind a server."""
    shards = ClusterShards(index, count, replicas, lambda _: None, threading.Event())
    with shards:

        def search(
            index: SearchIndex, points: F32Array, k: int, how: SearchSettings
        ) -> tuple[Neighbours, tuple[int, ...]]:
            return ask_all(shards, index, points, k, how, 1.0)

        answers = Answers(lambda: (index, "{}"), search)
        with PageServer(SearchSite(answers, Access()), bind(Address(port=0)), Address(port=0)) as server:
            client = Client(server.port, name_of(index), index.dim, len(index))
            with client.connection:
                client.ask(index.points(np.zeros(1, np.int32)))
                yield client, shards


def _in_this_process(shards: ClusterShards, index: SearchIndex, points: F32Array) -> Any:
    return ask_all(shards, index, points, K, SearchSettings(), 1.0)


def killed(client: Client, shards: ClusterShards, asked: F32Array, seconds: float) -> dict[str, Any]:
    """Kill the first replica of each shard in turn while questions go on."""
    import ray

    failed = lacking = questions = 0
    times_ms = []
    begun_s, victims = time.monotonic(), [replicas[0] for replicas in shards.replicas]
    step_s = seconds / (len(victims) + 1)
    while (gone_s := time.monotonic() - begun_s) < seconds:
        if victims and gone_s > step_s * (len(shards) - len(victims) + 1):
            ray.kill(victims.pop(0), no_restart=False)
        first = questions % len(asked)
        start_s = time.perf_counter()
        try:
            lacking += bool(client.ask(asked[first : first + 1])[1])
        except Exception as error:
            failed += 1
            print(error, file=sys.stderr)
        times_ms.append((time.perf_counter() - start_s) * 1e3)
        questions += 1
    return {
        **quantiles(times_ms),
        "questions": questions,
        "failed": failed,
        "without_a_shard": lacking,
        "slowest_ms": round(max(times_ms), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--objects", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--shards", type=int, nargs="+", default=[1, 2, 4, 8])
    args = parser.parse_args()
    vectors, asked = made_up(args.objects, args.dim)
    with tempfile.TemporaryDirectory() as folder, connected("local", args.objects):
        index = index_of(vectors, Path(folder))
        del vectors
        few = asked[:200]
        true = index.near(few, K, exact=True).row
        found: dict[str, Any] = {
            "one_tree": timed(lambda points: index.near(points, K), asked, 1, args.seconds)
            | {"recall": round(recall_of(index.near(few, K).row, true), 4)}
        }
        for count in args.shards:
            with served(index, count, 1) as (client, shards):
                whole = np.concatenate([client.ask_all(few[at : at + 10]).row for at in range(0, 200, 10)])
                exact = np.concatenate(
                    [client.ask_all(few[at : at + 10], "&exact=1").distance for at in range(0, 50, 10)]
                )
                same = np.allclose(exact, index.near(few[:50], K, exact=True).distance, atol=1e-5)
                found[f"shards_{count}"] = {
                    **timed_apart(client.given, asked, 1, args.seconds),
                    "eight_points": timed_apart(client.given, asked, 8, args.seconds),
                    "in_this_process": timed(
                        functools.partial(_in_this_process, shards, index),
                        asked,
                        1,
                        args.seconds,
                    ),
                    "recall": round(recall_of(whole, true), 4),
                    "exact_is_exact": bool(same),
                }
        with served(index, 2, 2) as (client, shards):
            found["killed"] = killed(client, shards, asked, 2 * args.seconds)
    print(
        json.dumps(
            {
                "objects": args.objects,
                "dim": args.dim,
                "k": K,
                "cores": usable_cores(),
                "targets": TARGETS,
                **found,
            }
        )
    )


if __name__ == "__main__":
    main()
