"""Searches among some rows only, for queries unlike the vectors, for many neighbours, and many at once."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import naive
import numpy as np
import pytest
from test_search import clustered

from rtsearch.errors import VectorError
from rtsearch.search import GrowingTree, KDTree, Reach, SomeRows
from rtsearch.search.answers import nearest_of
from rtsearch.types import Neighbours


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
        only = some.only(allowed)
        assert len(only) == there.sum()
        assert only.holds(np.arange(6000)).tolist() == there.tolist()
        answer = only.search(queries, 9, exact=True)
        np.testing.assert_allclose(answer.distance, wanted, rtol=2e-5)
        assert there[answer.row[answer.row >= 0]].all()
        distance, row = only.query(queries, 9)
        assert there[row[row >= 0]].all()
        assert share_found(distance, wanted) >= 0.95


def test_a_tree_of_some_rows_keeps_nothing_of_the_mask_and_its_rows_their_numbers() -> None:
    vectors = clustered(6000, 12)
    tree = KDTree.build(vectors)
    for step in (2, 50):  # marks, and a tree of its own
        allowed = np.arange(6000) % step == 0
        only = tree.only(allowed)
        allowed[:] = False
        rows = np.arange(0, 6000, step, dtype=np.int32)
        np.testing.assert_array_equal(only.query(vectors[rows], 1, exact=True)[1][:, 0], rows)
        np.testing.assert_array_equal(only.vectors(rows), vectors[rows])
        fewer = only.without(rows[:3]).only(np.arange(only.row_end) < rows[6])
        assert sorted(fewer.stored()[0].tolist()) == rows[3:6].tolist()
        assert len(tree) == 6000


def test_a_filter_that_is_used_a_lot_gets_a_tree_of_its_own() -> None:
    vectors = clustered(6000, 12)
    allowed = np.arange(6000) % 9 == 0
    wanted, _ = naive.nearest_rows(vectors[allowed], vectors[:200], 7)
    tree = KDTree.build(vectors)
    some, growing = SomeRows(tree, allowed), SomeRows(GrowingTree(tree), allowed)
    assert len(some) == len(growing) == allowed.sum()
    with ThreadPoolExecutor(4) as pool:  # more than 64 queries in all
        answers = list(
            pool.map(lambda at: some.query(vectors[at : at + 50], 7, exact=True), range(0, 200, 50))
        )
    np.testing.assert_allclose(np.concatenate([each[0] for each in answers]), wanted, rtol=2e-5, atol=1e-4)
    some.settle()
    own, mask = some._now
    assert mask is None
    assert len(own) == allowed.sum()
    for searched in (some, growing):
        distance, row = searched.query(vectors[:200], 7, exact=True)
        np.testing.assert_allclose(distance, wanted, rtol=2e-5, atol=1e-4)
        assert allowed[row].all()
        assert share_found(searched.query(vectors[:200], 7)[0], wanted) >= 0.95
    assert growing._now[1] is allowed


def test_rows_that_no_tree_of_their_own_tells_apart() -> None:
    vectors = clustered(6000, 12)
    vectors[:2] = 0
    vectors[1, 3] = 1e-16
    distance, row = KDTree.build(vectors).only(np.arange(6000) < 2).query(vectors[:1], 3)
    assert set(row[0].tolist()) == {0, 1, -1}
    assert distance[0].tolist() == [0, pytest.approx(1e-16), np.inf]


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("k", [1, 16, 100])
def test_several_trees_find_together_what_one_would(k: int, exact: bool) -> None:
    vectors, queries = clustered(12_000, 12), clustered(200, 12, seed=1)
    queries[:5] += 50  # unlike all of them
    ends = (0, 6000, 9000, 11_940, 12_000)  # the last one holds fewer than 100 rows
    trees = [KDTree.build(vectors[a:b]) for a, b in itertools.pairwise(ends)]
    searched: list[KDTree | GrowingTree] = [*trees[:-1], GrowingTree(trees[-1])]
    reach, found = Reach(len(queries)), []
    for tree, first in zip(searched, ends, strict=False):
        distance, row = tree.query(queries, k, exact=exact, reach=reach)
        found.append(Neighbours(np.where(row < 0, row, row + first).astype(np.int32), distance))
    near = nearest_of(found, len(queries), k)
    wanted, _ = naive.nearest_rows(vectors, queries, k)
    apart = np.linalg.norm(vectors[near.row] - queries[:, None], axis=2)
    np.testing.assert_allclose(near.distance, apart, rtol=2e-4, atol=1e-4)
    assert share_found(near.distance, wanted) >= (1 if exact else 0.97)


@pytest.mark.parametrize("exact", [False, True])
def test_what_is_farther_than_the_neighbours_in_other_trees_is_not_looked_for(exact: bool) -> None:
    vectors = clustered(6000, 12)
    near, far, reach = KDTree.build(vectors), KDTree.build(vectors + 1000), Reach(20)
    near.query(vectors[:20], 9, exact=exact, reach=reach)
    assert not np.isfinite(far.query(vectors[:20], 9, exact=exact, reach=reach)[0]).any()
    assert np.isfinite(far.query(vectors[:20], 9, exact=exact)[0]).all()


def test_trees_with_fewer_rows_than_are_wanted_tell_the_others_nothing() -> None:
    vectors = clustered(3000, 8)
    few, many = KDTree.build(vectors[:9]), KDTree.build(vectors[9:])
    for allowed in (None, np.arange(9) < 4):
        reach = Reach(1)
        few.query(vectors[:1], 16, allowed=allowed, reach=reach)
        distance, _ = many.query(vectors[:1], 16, exact=True, reach=reach)
        np.testing.assert_allclose(distance, naive.nearest_rows(vectors[9:], vectors[:1], 16)[0], rtol=2e-5)


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


@pytest.mark.parametrize("leaf_size", [8, 32])
def test_recall_among_rows_that_lie_on_the_other_side(leaf_size: int) -> None:
    queries, vectors = np.split(clustered(20_000, 16), [300])
    tree, allowed = KDTree.build(vectors, leaf_size=leaf_size), vectors[:, 0] > np.median(vectors[:, 0])
    allowed.flags.writeable = False
    wanted = wanted_among(vectors, queries, 16, allowed)
    found = [tree.query(query[None], 16, allowed=allowed)[0] for query in queries]
    assert share_found(np.concatenate(found), wanted) >= 0.97


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
