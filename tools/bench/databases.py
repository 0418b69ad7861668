"""Databases beside the project's own search: recall, time per query and time to write, same vectors, same k.

PostgreSQL with pgvector (HNSW), searched as ``search.backend=postgres`` does, with all rows, half of them and
one of fifty; Lance (IVF_PQ, refined, and without an index); both written by ``library export``. The own tree
searches in this process.

    pip install pgserver 'rtsearch[postgres,lance]'
    python tools/bench/databases.py [--objects 100000] [--dim 64] [--queries 500] [--only postgres]

Prints one JSON object for each of the three, once it is there. The vectors are made up: 2,000 groups
around random centres.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from search_cluster import index_of, made_up, recall_of

from rtsearch._util.cpu import usable_cores
from rtsearch.library.export_table import export_lance, export_postgres
from rtsearch.library.postgres_table import PostgresTable, comment_of
from rtsearch.library.postgres_tree import PostgresTree
from rtsearch.library.search_index import SearchIndex
from rtsearch.search import KDTree
from rtsearch.types import F32Array

K = 16
PARTS = ("own", "postgres", "lance")
Mask = NDArray[np.bool_]
Ask = Callable[[F32Array], Any]


def asked_one_by_one(ask: Ask, asked: F32Array, true: np.ndarray) -> dict[str, float]:
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
    index.library = SimpleNamespace(state="0" * 16, packs=(), objects=objects, space=names)  # type: ignore[assignment]
    return index


def narrowed(near: Callable[[Mask | None], Ask], index: SearchIndex, asked: F32Array) -> dict[str, Any]:
    """Recall and time where all rows, half of them and one of fifty may be found."""
    found = {}
    for name, every in (("all_rows", 1), ("half", 2), ("one_of_50", 50)):
        allowed = None if every == 1 else np.arange(len(index)) % every == 0
        true = index.narrowed(allowed).near(asked, K, exact=True).row
        found[name] = asked_one_by_one(near(allowed), asked, true)
    return found


def of_tree(index: SearchIndex, asked: F32Array) -> dict[str, Any]:
    begun_s = time.perf_counter()
    KDTree.build(index.points(np.arange(len(index), dtype=np.int32)))
    found = {"write_s": round(time.perf_counter() - begun_s, 1)}

    def near(allowed: Mask | None) -> Ask:
        some = index.narrowed(allowed)
        return lambda query: some.near(query[None], K).row[0]

    return found | narrowed(near, index, asked)


def of_postgres(index: SearchIndex, asked: F32Array, folder: Path) -> dict[str, Any]:
    import pgserver

    server = pgserver.get_server(folder / "postgres")
    try:
        begun_s = time.perf_counter()
        export_postgres(index, server.get_uri())
        found: dict[str, Any] = {"write_s": round(time.perf_counter() - begun_s, 1)}
        with PostgresTable(
            server.get_uri(),
            comment_of(index.library, index.projection),
            "made-up",
            len(index),
        ) as table:
            own = index.narrowed()._tree
            assert isinstance(own, KDTree)
            tree = PostgresTree(own, table)

            def near(allowed: Mask | None) -> Ask:
                some = tree if allowed is None else tree.only(allowed)
                return lambda query: some.query(query[None], K)[1][0]

            found |= narrowed(near, index, asked)
            found["exact"] = asked_one_by_one(
                lambda query: tree.query(query[None], K, exact=True)[1][0],
                asked[:50],
                index.near(asked[:50], K, exact=True).row,
            )
            found["candidates"] = {
                f"{k} at {recall}": effort for (k, recall), effort in tree._efforts.items()
            }
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
        rows: list[int] = dataset.to_table(columns=["row", "_distance"], nearest=nearest)["row"].to_pylist()
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
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    args = parser.parse_args()
    vectors, asked = made_up(args.objects, args.dim)
    asked = asked[: args.queries]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        index = with_rows(index_of(vectors, folder))
        true = index.near(asked, K, exact=True).row
        # A million rows do not fit in the 64 MB that PostgreSQL gives an index by default.
        os.environ.setdefault("PGOPTIONS", "-c maintenance_work_mem=2GB")
        parts: dict[str, Callable[[], dict[str, Any]]] = {
            "own": lambda: of_tree(index, asked),
            "postgres": lambda: of_postgres(index, asked, folder),
            "lance": lambda: of_lance(index, asked, true, folder),
        }
        for part in args.only:
            found = {"objects": args.objects, "dim": args.dim, "k": K, "cores": usable_cores()}
            print(json.dumps({**found, part: parts[part]()}), flush=True)


if __name__ == "__main__":
    main()
