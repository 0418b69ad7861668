"""Searches among some rows beside one of all rows, and beside comparing the query with each of those rows.

    python tools/bench/allowed.py [--n 376459] [--dim 64] [--rounds 5]

Rows are chosen in two ways: anywhere, and those on one side of a plane, as the objects of a class lie. One
query at a time, medians in microseconds. Searches of the tree take turns; comparing with rows fills the
caches with these, and is measured apart. Prints one JSON object:

    allowed  for each share of the rows
             all, all_exact      without a mask (recall .98, and exact)
             query, exact        the mask is handed over with the query
             only, only_exact    the tree of the allowed rows, which took ``only_ms`` to make, is asked
             brute               compares the query with the allowed rows, gathered before, by a product
             gather              the same, which gathers them first
             recall, only_recall share of the true neighbours that ``query`` and ``only`` find
    slower   shares at which ``query`` takes longer than ``gather``, or ``only`` longer than ``brute``
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from vectors import cnn_like

from rtsearch.search import KDTree

K = 16
QUERIES = 200
COMPARED = 8  # every so many of them are compared with rows, which takes long
SHARES = (0.5, 0.25, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0001)

F32Array = NDArray[np.float32]


def gather(vectors: F32Array, mask: NDArray[np.bool_]) -> Callable[[F32Array], object]:
    """Return what gathers the allowed of some vectors, and compares a query with them."""

    def ask(query: F32Array) -> object:
        return brute(vectors[mask])(query)

    return ask


def recall(found: F32Array, true: F32Array) -> float:
    """Return the share of the true neighbours that was found, by their distances (m, k)."""
    return round(float((found <= true[:, -1:] * np.float32(1 + 1e-6)).mean()), 4)


def brute(vectors: F32Array) -> Callable[[F32Array], object]:
    """Return what compares a query with some vectors: products find the nearest, a partition chooses."""
    square = np.einsum("ij,ij->i", vectors, vectors)
    k = min(K, len(vectors))

    def ask(query: F32Array) -> object:
        apart = square - 2 * (vectors @ query[0])
        near = np.argpartition(apart, k - 1)[:k]
        return near[np.argsort(apart[near])]

    return ask


def medians_us(
    ways: dict[str, Callable[[F32Array], object]], queries: F32Array, rounds: int
) -> dict[str, float]:
    """Time all ways in turn, query by query."""
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for query in queries:
            for name, ask in ways.items():
                start = time.perf_counter()
                ask(query[None])
                spent[name].append((time.perf_counter() - start) * 1e6)
    return {name: round(statistics.median(each), 1) for name, each in spent.items()}


def _asks(tree: KDTree, **options: Any) -> Callable[[F32Array], object]:
    return lambda query: tree.query(query, K, **options)


def measure_share(
    tree: KDTree, vectors: F32Array, queries: F32Array, mask: NDArray[np.bool_], rounds: int
) -> dict[str, float]:
    """Measure searches among the rows of a mask."""
    start = time.perf_counter()
    some = tree.only(mask)
    only_ms = round((time.perf_counter() - start) * 1e3, 1)
    searches = {
        "all": _asks(tree),
        "all_exact": _asks(tree, exact=True),
        "query": _asks(tree, allowed=mask),
        "exact": _asks(tree, exact=True, allowed=mask),
        "only": _asks(some),
        "only_exact": _asks(some, exact=True),
    }
    compared = {
        "brute": brute(np.ascontiguousarray(vectors[mask])),
        "gather": gather(vectors, mask),
    }
    rows, k = int(mask.sum()), min(K, int(mask.sum()))
    true = some.query(queries, k, exact=True)[0]
    return {
        "rows": rows,
        "only_ms": only_ms,
        **medians_us(searches, queries, rounds),
        **medians_us(compared, queries[::COMPARED], 1),
        "recall": recall(tree.query(queries, k, allowed=mask)[0], true),
        "only_recall": recall(some.query(queries, k)[0], true),
    }


def measure(n: int, dim: int, rounds: int) -> dict[str, Any]:
    vectors, queries = cnn_like(n, dim, QUERIES)
    tree = KDTree.build(vectors)
    rng = np.random.default_rng(0)
    result: dict[str, Any] = {"n": n, "dim": dim, "k": K}
    for where, order in (("anywhere", rng.random(n)), ("one side", vectors[:, 0])):
        allowed_of = {
            str(share): measure_share(tree, vectors, queries, order <= np.quantile(order, share), rounds)
            for share in SHARES
        }
        slower = [
            share
            for share, each in allowed_of.items()
            if each["query"] > each["gather"] or each["only"] > each["brute"]
        ]
        result[where] = {"allowed": allowed_of, "slower": slower}
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=376_459)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    print(json.dumps(measure(args.n, args.dim, args.rounds)))


if __name__ == "__main__":
    main()
