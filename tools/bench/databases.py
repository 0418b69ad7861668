"""Databases beside the project's own search: recall, time per query and time to write, same vectors, same k.

PostgreSQL with pgvector (HNSW, ``hnsw.ef_search`` 100 and 200) and Lance (IVF_PQ, refined, and without an
index), written by ``library export``; the own tree in this process.

    pip install pgserver 'rtsearch[postgres,lance]'
    python tools/bench/databases.py [--objects 100000] [--dim 64] [--queries 500]

Prints one JSON object. The vectors are made up: 2,000 groups around random centres.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from search_cluster import index_of, made_up, recall_of

from rtsearch._util.cpu import usable_cores
from rtsearch.library.export_table import POSTGRES_TABLE, export_lance, export_postgres
from rtsearch.library.search_index import SearchIndex
from rtsearch.search import KDTree
from rtsearch.types import F32Array

K = 16


def asked_one_by_one(ask: Callable[[F32Array], Any], asked: F32Array, true: np.ndarray) -> dict[str, float]:
    """Recall and time of queries, one after the other, the first ten for warming up."""
    for query in asked[:10]:
        ask(query)
    times_ms, found = [], []
    for query in asked:
        begun_s = time.perf_counter()
        found.append(np.asarray(ask(query)))
        times_ms.append((time.perf_counter() - begun_s) * 1e3)
    rows = np.array([np.resize(np.append(row, [-1] * K), K) for row in found])
    return {
        "recall": round(recall_of(rows, true), 4),
        "p50_ms": round(float(np.median(times_ms)), 3),
        "p99_ms": round(float(np.quantile(times_ms, 0.99)), 3),
    }


def with_rows(index: SearchIndex) -> SearchIndex:
    """Let a made-up index be exported."""

    def objects(columns: Any, batch_rows: int) -> Iterator[dict[str, np.ndarray]]:
        for first in range(0, len(index), batch_rows):
            yield {"score": np.ones(min(batch_rows, len(index) - first), np.float32)}

    names = SimpleNamespace(class_names=("made-up",))
    index.library = SimpleNamespace(state="0" * 16, objects=objects, space=names)  # type: ignore[assignment]
    return index


def of_postgres(index: SearchIndex, asked: F32Array, true: np.ndarray, folder: Path) -> dict[str, Any]:
    import pgserver
    import psycopg

    server = pgserver.get_server(folder / "postgres")
    try:
        begun_s = time.perf_counter()
        export_postgres(index, server.get_uri())
        found: dict[str, Any] = {"write_s": round(time.perf_counter() - begun_s, 1)}
        with psycopg.connect(server.get_uri()) as connection:
            statement = f"SELECT row FROM {POSTGRES_TABLE} ORDER BY vector <-> %s::vector LIMIT {K}"

            def ask(query: F32Array) -> list[int]:
                rows = connection.execute(statement, (str(query.tolist()),), prepare=True).fetchall()
                return [row for (row,) in rows]

            for effort in (100, 200):
                connection.execute(f"SET hnsw.ef_search = {effort}")
                found[f"ef_{effort}"] = asked_one_by_one(ask, asked, true)
        return found
    finally:
        server.cleanup()


def of_lance(index: SearchIndex, asked: F32Array, true: np.ndarray, folder: Path) -> dict[str, Any]:
    import lance

    begun_s = time.perf_counter()
    export_lance(index, folder / "lance")
    found: dict[str, Any] = {"write_s": round(time.perf_counter() - begun_s, 1)}
    dataset = lance.dataset(str(folder / "lance"))

    def ask(query: F32Array, **how: Any) -> list[int]:
        nearest = {"column": "vector", "q": query, "k": K, **how}
        rows: list[int] = dataset.to_table(columns=["row"], nearest=nearest)["row"].to_pylist()
        return rows

    found["without_index"] = asked_one_by_one(ask, asked[:100], true[:100])
    begun_s = time.perf_counter()
    dataset = dataset.create_index("vector", "IVF_PQ", num_partitions=256, num_sub_vectors=16)
    found["index_s"] = round(time.perf_counter() - begun_s, 1)
    found["ivf_pq"] = asked_one_by_one(lambda query: ask(query, nprobes=20, refine_factor=10), asked, true)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--objects", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--queries", type=int, default=500)
    args = parser.parse_args()
    vectors, asked = made_up(args.objects, args.dim)
    asked = asked[: args.queries]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        index = with_rows(index_of(vectors, folder))
        true = index.near(asked, K, exact=True).row
        begun_s = time.perf_counter()
        KDTree.build(vectors)
        own = {"write_s": round(time.perf_counter() - begun_s, 1)}
        found = {
            "own": own | asked_one_by_one(lambda query: index.near(query[None], K).row[0], asked, true),
            "postgres": of_postgres(index, asked, true, folder),
            "lance": of_lance(index, asked, true, folder),
        }
    print(json.dumps({"objects": args.objects, "dim": args.dim, "k": K, "cores": usable_cores(), **found}))


if __name__ == "__main__":
    main()
