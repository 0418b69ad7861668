"""Trees that grow and shrink while they are searched, the recall watch, warming up."""

from __future__ import annotations

import copy
import logging
import pickle
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_search import clustered

from rtsearch.errors import VectorError
from rtsearch.search import GrowingTree, KDTree, RecallWatch, growing, warm_up


class Reference:
    """The slow twin: a dictionary from row to vector."""

    def __init__(self, vectors: np.ndarray) -> None:
        self.rows = dict(enumerate(vectors))
        self.next = len(vectors)

    def add(self, vectors: np.ndarray) -> list[int]:
        rows = list(range(self.next, self.next + len(vectors)))
        self.rows.update(zip(rows, vectors, strict=True))
        self.next += len(vectors)
        return rows

    def remove(self, rows: np.ndarray) -> None:
        for row in rows.tolist():
            del self.rows[row]

    def check(self, tree: GrowingTree | KDTree, queries: np.ndarray, k: int) -> None:
        numbers = np.array(list(self.rows), np.int32)
        vectors = np.array(list(self.rows.values()), np.float32).reshape(len(numbers), queries.shape[1])
        wanted, _ = naive.nearest_rows(vectors, queries, k)
        distance, row = tree.query(queries, k, exact=True)
        np.testing.assert_allclose(distance, wanted, rtol=2e-5, atol=1e-5)
        for i in range(len(queries)):
            there = row[i][row[i] >= 0]
            assert len(there) == min(k, len(numbers))
            found = np.array([self.rows[r] for r in there.tolist()]).reshape(-1, queries.shape[1])
            apart = np.linalg.norm(found - queries[i], axis=1)
            np.testing.assert_allclose(apart, distance[i][: len(there)], rtol=2e-5, atol=1e-5)


@given(
    n=st.integers(0, 150),
    changes=st.lists(st.tuples(st.booleans(), st.integers(0, 60)), max_size=8),
    seed=st.integers(0, 1000),
)
@settings(max_examples=25, deadline=None)
def test_any_order_of_changes(n: int, changes: list[tuple[bool, int]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    first = rng.integers(0, 4, (n, 6)).astype(np.float32)
    tree, reference = GrowingTree(KDTree.build(first)), Reference(first)
    for adds, count in changes:
        if adds:
            new = rng.integers(0, 4, (count, 6)).astype(np.float32)
            assert tree.add(new).tolist() == reference.add(new)
        else:
            gone = rng.permutation(np.array(list(reference.rows), np.int32))[:count]
            tree.remove(gone)
            reference.remove(gone)
        assert len(tree) == len(reference.rows)
        reference.check(tree, rng.integers(0, 4, (4, 6)).astype(np.float32), 7)


def test_folding_keeps_every_row_and_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growing, "_LEAST_FOLD", 200)
    vectors, queries = clustered(3000, 8), clustered(20, 8, seed=1)
    tree, reference = GrowingTree(KDTree.build(vectors[:1000])), Reference(vectors[:1000])
    folds = 0
    for start in range(1000, 3000, 150):
        new = vectors[start : start + 150]
        assert tree.add(new).tolist() == reference.add(new)
        gone = np.array([start - 7, start + 3, start - 900], np.int32)
        tree.remove(gone)
        reference.remove(gone)
        reference.check(tree, queries, 9)
        before = tree.side_rows
        tree.settle()
        folds += tree.side_rows < before
        reference.check(tree, queries, 9)
    assert folds >= 3


def test_rows_that_change_while_a_tree_is_folded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growing, "_LEAST_FOLD", 50)
    start, go = threading.Event(), threading.Event()
    build = KDTree.build

    def slow_build(*args: Any, **options: Any) -> KDTree:
        start.set()
        assert go.wait(30)
        return build(*args, **options)

    vectors, queries = clustered(600, 8), clustered(20, 8, seed=1)
    tree, reference = GrowingTree(build(vectors[:300])), Reference(vectors[:300])
    monkeypatch.setattr(KDTree, "build", slow_build)
    reference.add(vectors[300:400])
    tree.add(vectors[300:400])
    assert start.wait(30)
    for gone in ([5, 320], [399]):  # from the tree, and from the side segment that is being folded
        tree.remove(np.array(gone))
        reference.remove(np.array(gone))
    reference.add(vectors[400:450])
    tree.add(vectors[400:450])
    tree.remove(np.array([410]))
    reference.remove(np.array([410]))
    reference.check(tree, queries, 9)  # the reader did not wait
    go.set()
    tree.settle()
    assert tree.side_rows == 49
    reference.check(tree, queries, 9)


def test_two_threads_search_while_a_third_adds_and_removes() -> None:
    vectors, queries = clustered(6000, 8), clustered(40, 8, seed=1)
    tree = GrowingTree(KDTree.build(vectors[:2000]))
    stop, errors = threading.Event(), []

    def read() -> None:
        try:
            while not stop.is_set():
                distance, row = tree.query(queries, 5)
                assert (np.diff(distance, axis=1) >= 0).all()
                assert (row >= 0).all()
        except BaseException as error:
            errors.append(error)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for start in range(2000, 6000, 100):
        rows = tree.add(vectors[start : start + 100])
        tree.remove(rows[::2])
    tree.settle()
    stop.set()
    for reader in readers:
        reader.join()
    assert not errors
    reference = Reference(vectors[:2000])
    for start in range(2000, 6000, 100):
        reference.remove(np.array(reference.add(vectors[start : start + 100])[::2]))
    reference.check(tree, queries, 9)


def test_removing_what_is_not_there_removes_nothing() -> None:
    vectors = clustered(100, 4)
    tree = GrowingTree(KDTree.build(vectors))
    tree.add(vectors[:3])
    for rows in ([100, 103], [-1], [5, 5_000_000]):
        with pytest.raises(VectorError, match="not in the tree"):
            tree.remove(np.array(rows))
    assert len(tree) == 103
    tree.remove(np.array([5]))
    with pytest.raises(VectorError, match="not in the tree"):
        tree.remove(np.array([5]))
    with pytest.raises(VectorError, match="whole numbers"):
        tree.remove(np.array([0.5]))


def test_numbers_of_the_callers_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows have any numbers, in a tree and beside it, while it is folded, and when one of them comes back."""
    monkeypatch.setattr(growing, "_LEAST_FOLD", 50)
    vectors = clustered(400, 6)
    rng = np.random.default_rng(0)
    names = rng.permutation(100_000)[:400]
    tree = GrowingTree(KDTree.build(vectors[:100]).renumbered(names[:100]))
    there = dict(zip(names[:100].tolist(), range(100), strict=True))
    for first in range(100, 400, 20):
        some = names[first : first + 20]
        assert tree.add(vectors[first : first + 20], some).tolist() == some.tolist()
        there |= dict(zip(some.tolist(), range(first, first + 20), strict=True))
        back = rng.choice(list(there), 3, replace=False)
        tree.remove(back)
        turned = rng.permutation([there[name] for name in back.tolist()])
        tree.add(vectors[turned], back)  # the same numbers, for other vectors
        there |= dict(zip(back.tolist(), turned.tolist(), strict=True))
        if first % 60 == 0:
            tree.settle()
        assert len(tree) == len(there)
        distance, row = tree.query(vectors[list(there.values())], 1, exact=True)
        assert np.allclose(distance, 0, atol=1e-3)
        places = [there[name] for name in row[:, 0].tolist()]
        assert np.array_equal(vectors[places], vectors[list(there.values())])
    tree.settle()
    end = tree.row_end
    assert end == names.max() + 1
    allowed = np.zeros(end, np.bool_)
    allowed[names[7]] = True
    assert tree.query(vectors[:2], 1, allowed=allowed)[1].tolist() == [[names[7]], [names[7]]]
    assert tree.add(vectors[:1]).tolist() == [end]


def test_numbers_that_cannot_be(tmp_path: Path) -> None:
    vectors = clustered(50, 4)
    tree = KDTree.build(vectors)
    wrong: list[tuple[Any, str]] = [
        (np.arange(49), "whole numbers"),
        (np.arange(50) / 2, "whole numbers"),
        (np.arange(50) - 1, "expected 0 to"),
        (np.arange(50) + 2**31 - 50, "expected 0 to"),
        (np.arange(50) // 2, "stands for two rows"),
    ]
    for names, words in wrong:
        with pytest.raises(VectorError, match=words):
            tree.renumbered(names)
        with pytest.raises(VectorError, match=words):
            GrowingTree(KDTree.build(vectors[:0])).add(vectors, names)
    grown = GrowingTree(tree)
    with pytest.raises(VectorError, match="in the tree already"):
        grown.add(vectors[:2], np.array([60, 49]))
    assert len(grown) == 50
    named = tree.renumbered(np.arange(50) * 3 + 5)
    assert named.query(vectors[:4], 1, exact=True)[1][:, 0].tolist() == [5, 8, 11, 14]
    with pytest.raises(VectorError, match="cannot be saved"):
        named.save(tmp_path)


def test_bad_rows_are_not_added() -> None:
    tree = GrowingTree(KDTree.build(clustered(100, 4)))
    for bad in (np.zeros((1, 3)), np.zeros(4), np.full((1, 4), np.nan), np.full((1, 4), 1e20)):
        with pytest.raises(VectorError):
            tree.add(bad)
    assert len(tree) == 100


def test_everything_removed() -> None:
    vectors = clustered(300, 4)
    tree = KDTree.build(vectors).without(np.arange(300))
    assert len(tree) == 0
    for exact in (False, True):
        distance, row = tree.query(vectors[:3], 5, exact=exact)
        assert (row == -1).all()
        assert np.isinf(distance).all()
        for share in (1, 10, 30):
            distance, row = tree.query(vectors[:3], 1, exact=exact, allowed=np.arange(300) % share == 0)
            assert (row == -1).all()
            assert np.isinf(distance).all()


def test_vectors_of_rows() -> None:
    vectors = clustered(500, 6)
    tree = KDTree.build(vectors)
    rows = np.array([[3, 499], [0, 3]])
    np.testing.assert_array_equal(tree.vectors(rows), vectors[rows])
    with pytest.raises(VectorError):
        tree.vectors(np.array([500]))
    with pytest.raises(VectorError):
        tree.without(np.array([4])).vectors(np.array([4]))


def test_the_watch_sees_a_recall_that_is_not_kept(caplog: pytest.LogCaptureFixture) -> None:
    vectors, queries = clustered(9000, 12), clustered(200, 12, seed=1)
    tree = KDTree.build(vectors)
    distance, _ = tree.query(queries, 8, exact=True)
    kept, lost = RecallWatch(tree, every=3, report=10), RecallWatch(tree, every=1)
    assert np.isnan(kept.recall)
    with caplog.at_level(logging.INFO):
        for part in np.split(np.arange(200), 10):
            kept.observe(queries[part], distance[part])
    assert kept.recall == 1
    assert len(caplog.records) == 6
    worse = distance.copy()
    worse[:, 6:] *= 2
    lost.observe(queries, worse)
    assert 0.7 < lost.recall < 0.8


def test_warming_up_compiles_all_that_a_query_needs() -> None:
    from rtsearch.search import query_kernels

    warm_up(7, 3)
    entries = query_kernels.search, query_kernels.search_listed
    before = [len(entry.signatures) for entry in entries]
    assert all(before)
    vectors = clustered(3000, 9)
    frozen = vectors.copy()
    frozen.flags.writeable = False
    tree = KDTree.build(frozen)
    for queries in (vectors[:2], frozen[:5], np.asfortranarray(vectors), vectors.astype(np.float64)):
        tree.query(queries, 4)
        tree.search(queries, 4, exact=True)
        for share in (2, 10, 100):
            tree.query(queries, 4, allowed=np.arange(3000) % share == 0)
    assert [len(entry.signatures) for entry in entries] == before


ANSWER = """
import pickle, sys, numpy as np
trees, queries = pickle.load(open(sys.argv[1], "rb"))
for i, tree in enumerate(trees):
    found = tree.search(queries, 7, exact=True)
    np.save(f"{sys.argv[1]}.{i}.npy", np.stack([found.distance, found.row]))
"""


@pytest.fixture
def trees(tmp_path: Path) -> list[KDTree | GrowingTree]:
    """Trees of all kinds: built, loaded, without some rows, of some rows, renumbered, empty, growing."""
    vectors = clustered(3000, 9)
    built = KDTree.build(vectors)
    built.save(tmp_path)
    growing_tree = GrowingTree(KDTree.build(vectors[:500]))
    growing_tree.add(vectors[500:700])
    growing_tree.remove(np.array([3, 77, 650]))
    return [
        built,
        KDTree.load(tmp_path),
        built.without(np.arange(0, 3000, 7)),
        built.only(np.arange(3000) % 3 == 0),
        built.renumbered(np.arange(3000)[::-1]),
        KDTree.build(vectors[:0]),
        growing_tree,
    ]


def assert_same_answers(tree: KDTree | GrowingTree, found: np.ndarray, queries: np.ndarray) -> None:
    wanted = tree.search(queries, 7, exact=True)
    np.testing.assert_array_equal(found[0], wanted.distance)
    np.testing.assert_array_equal(found[1], wanted.row)


def test_pickles_answer_the_same_in_another_process(trees, tmp_path: Path) -> None:
    queries = clustered(20, 9, seed=1)
    path = tmp_path / "trees.pickle"
    path.write_bytes(pickle.dumps((trees, queries)))
    subprocess.run([sys.executable, "-W", "ignore", "-c", ANSWER, path], check=True, timeout=120)
    for i, tree in enumerate(trees):
        assert_same_answers(tree, np.load(f"{path}.{i}.npy"), queries)


def test_copies_are_trees_of_their_own(trees) -> None:
    queries = clustered(20, 9, seed=1)
    for tree in trees:
        twin = copy.deepcopy(tree)
        found = twin.search(queries, 7, exact=True)
        assert_same_answers(tree, np.stack([found.distance, found.row]), queries)
    grown, twin = trees[-1], copy.deepcopy(trees[-1])
    assert twin.add(queries).tolist() == grown.add(queries).tolist()
    twin.remove(np.array([5]))
    assert len(twin) == len(grown) - 1
    assert grown.query(queries, 1)[1].tolist() == twin.query(queries, 1)[1].tolist()


@pytest.mark.parametrize("nothing", [[], (), np.empty(0, np.int64), np.empty(0)])
def test_removing_nothing_is_no_error(nothing) -> None:
    vectors = clustered(200, 4)
    tree = GrowingTree(KDTree.build(vectors))
    tree.remove(nothing)
    assert len(tree) == len(KDTree.build(vectors).without(nothing)) == 200
    assert KDTree.build(vectors).vectors(nothing).shape == (0, 4)
