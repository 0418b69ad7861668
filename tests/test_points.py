"""An index gives back where its rows lie."""

from __future__ import annotations

import numpy as np
import pytest

from rtsearch.library.index import SearchIndex
from rtsearch.search import KDTree


@pytest.mark.parametrize("n", [0, 1, 7, 2000])
def test_a_tree_gives_its_vectors_back(n: int) -> None:
    vectors = np.random.default_rng(0).standard_normal((n, 12)).astype(np.float32)
    tree = KDTree.build(vectors)
    rows = np.random.default_rng(1).permutation(n).astype(np.int32)
    assert np.array_equal(tree.vectors(rows), vectors[rows])


def test_distances_of_an_index_are_those_of_its_points(index: SearchIndex) -> None:
    query = index.points(np.array([3], np.int32)) + np.float32(0.01)
    near = index.near(query, 9, exact=True)
    apart = np.linalg.norm(index.points(near.row[0]) - query, axis=1)
    np.testing.assert_allclose(near.distance[0], apart, atol=1e-5)
    assert near.row[0, 0] == 3 or near.distance[0, 0] <= np.linalg.norm(np.full(index.dim, 0.01)) + 1e-6
