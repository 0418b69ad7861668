"""Recall for queries like and unlike the rows of a tree, on eight kinds of vectors, and among some rows."""

from __future__ import annotations

from collections.abc import Callable

import naive
import numpy as np
import pytest
from test_search import clustered

from rtsearch.search import KDTree, SomeRows

N, D, M, K = 20_000, 16, 200, 16


def scaled(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


KINDS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "Gaussian": lambda rng, n: rng.normal(size=(n, D)),
    "uniform": lambda rng, n: rng.random((n, D)),
    "clusters": lambda rng, n: clustered(n, D),
    "few tight clusters": lambda rng, n: (
        rng.normal(size=(50, D))[rng.integers(0, 50, n)] + 0.05 * rng.normal(size=(n, D))
    ),
    "curved surface": lambda rng, n: (
        np.tanh(rng.normal(size=(n, 4)) @ rng.normal(size=(4, D))) + 0.01 * rng.normal(size=(n, D))
    ),
    "unit length": lambda rng, n: scaled(
        rng.normal(size=(200, D))[rng.integers(0, 200, n)] + 0.6 * rng.normal(size=(n, D))
    ),
    "sparse": lambda rng, n: np.maximum(rng.normal(size=(n, D)) - 0.7, 0),
    "heavy tails": lambda rng, n: rng.standard_t(3, size=(n, D)),
}


# Where some rows lie as far apart as two clusters do, nothing tells that a query lies between clusters.
LEAST = {"clusters": 0.85}


def unlike(vectors: np.ndarray, alike: np.ndarray) -> dict[str, np.ndarray]:
    """Queries that are not as the vectors are."""
    rng = np.random.default_rng(1)
    mean, deviation = vectors.mean(axis=0), vectors.std(axis=0)
    centres = rng.normal(size=(20, D))[rng.integers(0, 20, M)]
    queries = {
        "other clusters": mean + deviation * (centres + 0.3 * rng.normal(size=(M, D))),
        "Gaussian": mean + deviation * rng.normal(size=(M, D)),
        "5 deviations away": alike + 5 * deviation * np.sign(rng.normal(size=D)),
        "far in one dimension": alike + 10 * deviation * np.eye(D)[0],
        "far away": alike + 100 * deviation * rng.normal(size=D),
        "between two": (alike + alike[rng.permutation(M)]) / 2,
        "noisy": alike + 0.7 * deviation * rng.normal(size=(M, D)),
    }
    return {name: query.astype(np.float32) for name, query in queries.items()}


def found(distance: np.ndarray, wanted: np.ndarray) -> float:
    return float((distance <= wanted[:, -1:] * 1.00001).mean())


@pytest.mark.parametrize("kind", KINDS)
def test_queries_unlike_the_vectors(kind: str) -> None:
    both = KINDS[kind](np.random.default_rng(3), N + M).astype(np.float32)
    vectors, alike = both[:N], both[N:]
    tree = KDTree.build(vectors)
    for name, queries in {"alike": alike, **unlike(vectors, alike)}.items():
        for k in (1, K, 100):
            wanted, _ = tree.query(queries, k, exact=True)
            np.testing.assert_allclose(wanted[:3], naive.nearest_rows(vectors, queries[:3], k)[0], rtol=1e-4)
            answer = tree.search(queries, k, recall=0.98)
            least = 0.96 if name == "alike" else LEAST.get(kind, 0.95)
            assert found(answer.distance, wanted) >= least, (name, k)
            np.testing.assert_allclose(answer.distance[answer.proved], wanted[answer.proved], rtol=1e-5)
            if name == "far away":
                assert answer.proved.all()


@pytest.mark.parametrize("where", ["anywhere", "half-space", "ball"])
def test_the_recall_of_some_rows_is_kept(where: str) -> None:
    both = clustered(10_200, D)
    vectors, queries = both[:10_000], both[10_000:]
    order = {
        "anywhere": np.random.default_rng(0).random(10_000),
        "half-space": vectors[:, 0] + vectors[:, 3],
        "ball": np.linalg.norm(vectors - vectors[0], axis=1),
    }[where]
    tree = KDTree.build(vectors)
    for share in (0.8, 0.5, 0.2, 0.11, 0.07, 0.04, 0.01):
        allowed = order <= np.quantile(order, share)
        for k in (1, 16):
            wanted, _ = tree.query(queries, k, exact=True, allowed=allowed)
            np.testing.assert_allclose(
                wanted[:10], naive.nearest_rows(vectors[allowed], queries[:10], k)[0], rtol=2e-5, atol=1e-6
            )
            distance, row = tree.query(queries, k, recall=0.98, allowed=allowed)
            assert found(distance, wanted) >= 0.96, (share, k)
            assert allowed[row].all()
            some = SomeRows(tree, allowed)
            for _ in range(2):  # with the mask, and by a tree of these rows
                distance, row = some.query(queries, k, recall=0.98)
                assert found(distance, wanted) >= 0.96, (share, k)
                assert allowed[row].all()
                some.settle()


def test_a_few_wide_dimensions_keep_their_codes() -> None:
    rng = np.random.default_rng(0)
    both = np.concatenate([rng.normal(size=(4300, 4)) * 30, rng.normal(size=(4300, 396)) * 0.1], axis=1)
    vectors, queries = both[:4000].astype(np.float32), both[4000:].astype(np.float32)
    tree = KDTree.build(vectors)
    reach = 63 * float(tree._arrays.step[0])
    assert reach > np.percentile(np.abs(vectors[:, :4]), 90)
    assert found(tree.query(queries, K)[0], tree.query(queries, K, exact=True)[0]) >= 0.97
