"""Searches among some rows only, for queries unlike the vectors, for many neighbours, and many at once."""

from __future__ import annotations

from typing import Any

import naive
import numpy as np
import pytest
from test_search import clustered

from rtsearch.errors import VectorError
from rtsearch.search import GrowingTree, KDTree


def share_found(distance: np.ndarray, wanted: np.ndarray) -> float:
    return float((distance <= wanted[:, -1:] * 1.00001).mean())


def wanted_among(vectors: np.ndarray, queries: np.ndarray, k: int, allowed: np.ndarray) -> np.ndarray:
    """Distances of the k nearest allowed rows, inf beyond."""
    return naive.nearest_rows(vectors[allowed], queries, k)[0]


@pytest.mark.parametrize("share", [0, 0.003, 0.03, 0.1, 0.5, 1])
def test_some_rows_only(share: float) -> None:
    rng = np.random.default_rng(0)
    vectors, queries = clustered(6000, 12), clustered(20, 12, seed=1)
    allowed, gone = rng.random(6000) < share, rng.permutation(6000)[:600]
    tree = KDTree.build(vectors)
    for some, there in ((tree, allowed), (tree.without(gone), allowed & ~np.isin(np.arange(6000), gone))):
        wanted = wanted_among(vectors, queries, 9, there)
        answer = some.search(queries, 9, exact=True, allowed=allowed)
        assert answer.proved.all()
        np.testing.assert_allclose(answer.distance, wanted, rtol=2e-5)
        assert there[answer.row[answer.row >= 0]].all()
        distance, row = some.query(queries, 9, allowed=allowed)
        assert there[row[row >= 0]].all()
        assert share_found(distance, wanted) >= 0.95


def test_some_rows_of_a_growing_tree() -> None:
    vectors, queries = clustered(4000, 8), clustered(20, 8, seed=1)
    tree = GrowingTree(KDTree.build(vectors[:3000]))
    tree.add(vectors[3000:])
    tree.remove(np.arange(0, 4000, 13))
    assert tree.row_end == 4000
    for end in (4000, 3500):  # rows added since the mask was made are not allowed
        allowed = np.arange(end) % 3 == 0
        there = np.append(allowed, np.zeros(4000 - end, np.bool_))
        there[::13] = False
        distance, row = tree.query(queries, 9, exact=True, allowed=allowed)
        np.testing.assert_allclose(distance, wanted_among(vectors, queries, 9, there), rtol=2e-5)
        assert there[row].all()
    masks: list[Any] = [np.ones(4001, np.bool_), np.ones(4000, np.int8), np.ones((1, 4000), np.bool_)]
    for bad in masks:
        with pytest.raises(VectorError, match="allowed"):
            tree.query(queries, 9, allowed=bad)


def test_a_mask_that_does_not_fit_is_refused() -> None:
    tree = KDTree.build(clustered(100, 4))
    masks: list[Any] = [np.ones(99, np.bool_), np.ones(100, np.uint8), np.ones((100, 1), np.bool_)]
    for bad in masks:
        with pytest.raises(VectorError, match=r"allowed: expected bool \(100,\)"):
            tree.query(np.zeros((1, 4), np.float32), 3, allowed=bad)


def test_queries_far_from_all_vectors_are_answered_exactly() -> None:
    vectors, queries = clustered(20_000, 16), clustered(100, 16, seed=1)
    tree, far = KDTree.build(vectors), queries + np.float32(100)
    answer = tree.search(far, 16, recall=0.9)
    assert answer.proved.all()
    np.testing.assert_allclose(answer.distance, naive.nearest_rows(vectors, far, 16)[0], rtol=2e-5)
    assert not tree.search(vectors[:100], 16, recall=0.9).proved.all()


def test_more_neighbours_than_were_measured_are_exact() -> None:
    vectors, queries = clustered(9000, 12), clustered(5, 12, seed=1)
    answer = KDTree.build(vectors).search(queries, 401)
    assert answer.proved.all()
    np.testing.assert_allclose(answer.distance, naive.nearest_rows(vectors, queries, 401)[0], rtol=2e-5)


def test_many_queries_are_answered_as_one_by_one() -> None:
    vectors, queries = clustered(5000, 16), clustered(300, 16, seed=1)
    tree = KDTree.build(vectors)
    for allowed in (None, np.arange(5000) % 3 == 0, np.arange(5000) < 200):
        for exact in (False, True):
            together = tree.search(queries, 8, exact=exact, allowed=allowed)
            for i in range(0, 300, 20):
                alone = tree.search(queries[i : i + 1], 8, exact=exact, allowed=allowed)
                np.testing.assert_array_equal(together.row[i], alone.row[0])
                assert together.proved[i] == alone.proved[0]


def test_a_senseless_number_of_neighbours_takes_no_memory() -> None:
    with pytest.raises(VectorError, match="at most 65536"):
        KDTree.build(clustered(100, 4)).query(np.zeros((1, 4), np.float32), 10**9)


def test_numbers_that_float32_is_too_coarse_for_are_refused() -> None:
    apart = np.random.default_rng(0).normal(size=(3000, 8))
    for fine in (apart, apart * 1e12, apart + 100, (apart + 1e6).astype(np.float32)):
        assert len(KDTree.build(fine)) == 3000
    with pytest.raises(VectorError, match="subtract their median"):
        KDTree.build(apart + 1e6)
    with pytest.raises(VectorError, match="scale them up"):
        KDTree.build((apart * 1e-17).astype(np.float32))
