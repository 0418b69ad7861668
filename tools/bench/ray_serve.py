"""Shards as deployments of Ray Serve beside ``rtsearch cluster serve``: time of a question.

Both hold the same trees, are asked over HTTP for the same neighbours, and merge them alike. Serve's answers
are rows and distances alone; the project's bring what is known of the rows, too.

    pip install 'ray[serve]'
    python tools/bench/ray_serve.py [--objects 1000000] [--dim 64] [--seconds 10] [--shards 4] [--turns 3]

Prints one JSON object: medians of the turns, in ms.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import multiprocessing
import statistics
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from search_cluster import K, index_of, made_up, served, timed, timed_apart

from rtsearch._util.cpu import usable_cores
from rtsearch.jobs.cluster import connected
from rtsearch.library.search_index import SearchIndex
from rtsearch.search.answers import nearest_of
from rtsearch.service.shards import Question, Shard, shard_numbers
from rtsearch.types import F32Array

PORT = 8741
LIMIT_S = 10.0


class HeldShard:
    """Deployment that searches a shard."""

    def __init__(self, shard: list[Any]) -> None:
        import ray

        self._shard: Shard = ray.get(shard[0])

    def near(self, points: F32Array, k: int) -> tuple[Any, Any]:
        near = self._shard.near(Question(points, k, False, 0.98))
        return near.row, near.distance


class Ingress:
    """Deployment that asks all shards, and merges."""

    def __init__(self, dim: int, few: int, *shards: Any) -> None:
        self._dim, self._few, self._shards = dim, few, shards

    async def __call__(self, request: Any) -> Any:
        from starlette.responses import Response

        from rtsearch.types import Neighbours

        points = np.frombuffer(await request.body(), "<f4").reshape(-1, self._dim)
        found = await asyncio.gather(*(shard.near.remote(points, self._few) for shard in self._shards))
        near = nearest_of([Neighbours(*each) for each in found], len(points), K)
        return Response(near.row.tobytes() + near.distance.tobytes())


@contextmanager
def deployed(index: SearchIndex, count: int, few: int) -> Iterator[None]:
    """The shards behind Serve."""
    import ray
    from ray import serve

    numbers = shard_numbers(index.leaders, count)
    rows = [np.flatnonzero(numbers == number).astype(np.int32) for number in range(count)]
    built = [ray.put(Shard.of(index, each)) for each in rows]
    held = serve.deployment(HeldShard, ray_actor_options={"num_cpus": 0})
    shards = [held.options(name=f"shard_{i}").bind([each]) for i, each in enumerate(built)]
    ingress = serve.deployment(Ingress, ray_actor_options={"num_cpus": 0})
    serve.start(http_options={"host": "127.0.0.1", "port": PORT})
    serve.run(ingress.bind(index.dim, few, *shards), name="search")
    try:
        yield
    finally:
        serve.shutdown()


def _timed_serve(*how: Any) -> dict[str, float]:
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=LIMIT_S)

    def ask(points: F32Array) -> None:
        connection.request("POST", "/", points.tobytes())
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == http.client.OK, body[:300]
        assert len(body) == 8 * K * len(points)

    return timed(ask, *how)


def timed_serve(*how: Any) -> dict[str, float]:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_timed_serve, *how).result()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--objects", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--turns", type=int, default=3)
    args = parser.parse_args()
    vectors, asked = made_up(args.objects, args.dim)
    few = K // args.shards * 2  # nearly what the project asks each shard for
    turns: dict[str, list[dict[str, float]]] = {"cluster_serve": [], "ray_serve": []}
    with tempfile.TemporaryDirectory() as folder, connected("local", 2 * args.objects):
        index = index_of(vectors, Path(folder))
        with served(index, args.shards, 1) as (client, _), deployed(index, args.shards, few):
            for _ in range(args.turns):
                turns["cluster_serve"].append(timed_apart(client.given, asked, 1, args.seconds))
                turns["ray_serve"].append(timed_serve(asked, 1, args.seconds))
    medians = {
        way: {key: round(statistics.median(each[key] for each in some), 2) for key in some[0]}
        for way, some in turns.items()
    }
    print(
        json.dumps(
            {"objects": args.objects, "shards": args.shards, "k": K, "cores": usable_cores(), **medians}
        )
    )


if __name__ == "__main__":
    main()
