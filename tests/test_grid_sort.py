"""A grid holds everything once, and what is alike lies together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive import mean_of_cells_around

from rtsearch.render.grid_sort import _mean_around, _pairs, arrange, grid_shape


@pytest.mark.parametrize(
    ("n", "shape"), [(1, (1, 1)), (2, (1, 2)), (5, (2, 3)), (6, (2, 3)), (576, (18, 32)), (577, (17, 34))]
)
def test_the_shape_of_a_grid(n, shape):
    assert grid_shape(n) == shape


@given(n=st.integers(1, 20_000))
def test_a_grid_is_wide_and_only_its_last_line_has_empty_cells(n):
    lines, columns = grid_shape(n)
    assert lines <= columns
    assert 0 <= lines * columns - n < columns


@pytest.mark.slow
@settings(max_examples=40)  # each takes 50 ms
@given(n=st.integers(1, 70), d=st.integers(1, 4), seed=st.integers(0, 99), equal=st.booleans())
def test_everything_has_one_cell(n, d, seed, equal):
    random = np.random.default_rng(seed)
    vectors = np.zeros((n, d), np.float32) if equal else random.normal(size=(n, d)).astype(np.float32)
    shape = grid_shape(n)
    shares: list[float] = []
    grid = arrange(vectors, shape, seed, shares.append)
    assert grid.shape == shape
    flat = grid.reshape(-1)
    assert sorted(flat[:n].tolist()) == list(range(n))
    assert (flat[n:] == -1).all()
    assert shares == sorted(shares)
    assert shares[-1] == 1
    np.testing.assert_array_equal(arrange(vectors, shape, seed), grid)


def _step(vectors, grid):
    """Mean distance of what lies side by side."""
    placed = vectors[grid]
    across = np.linalg.norm(placed[:, 1:] - placed[:, :-1], axis=-1)
    down = np.linalg.norm(placed[1:] - placed[:-1], axis=-1)
    return float(np.concatenate([across.ravel(), down.ravel()]).mean())


def test_what_was_a_grid_becomes_one_again():
    lines, columns = np.divmod(np.arange(18 * 32), 32)
    vectors = np.stack([columns, lines], axis=1).astype(np.float32)
    mixed = np.random.default_rng(1).permutation(vectors)
    assert _step(vectors, np.arange(576).reshape(18, 32)) == 1
    assert _step(mixed, arrange(mixed, (18, 32))) < 1.25


def test_groups_lie_together():
    """Of 8 groups in 16 dimensions, hardly anything lies outside of its own."""
    random = np.random.default_rng(2)
    group = np.repeat(np.arange(8), 72)
    vectors = (random.normal(size=(8, 16))[group] * 4 + random.normal(size=(576, 16))).astype(np.float32)
    grid = group[arrange(vectors, (18, 32))]
    alone = np.zeros(grid.shape, int)
    alone[:, 1:] += grid[:, 1:] == grid[:, :-1]
    alone[:, :-1] += grid[:, 1:] == grid[:, :-1]
    alone[1:] += grid[1:] == grid[:-1]
    alone[:-1] += grid[1:] == grid[:-1]
    assert (alone == 0).sum() <= 6


@given(n=st.integers(1, 60), reach=st.integers(1, 12), seed=st.integers(0, 99))
def test_the_mean_around_a_cell(n, reach, seed):
    shape = grid_shape(n)
    here = np.random.default_rng(seed).normal(size=(n, 3)).astype(np.float32)
    expected = mean_of_cells_around(here, shape, reach)
    np.testing.assert_allclose(_mean_around(here, shape, reach), expected, atol=1e-5)


@given(n=st.integers(1, 60), reach=st.integers(1, 12), seed=st.integers(0, 99))
def test_exchanges_never_meet(n, reach, seed):
    shape = grid_shape(n)
    one, other = _pairs(shape, n, reach, np.random.default_rng(seed))
    both = np.concatenate([one, other]).tolist()
    assert len(set(both)) == len(both)
    assert all(0 <= cell < n for cell in both)
    assert np.abs(one % shape[1] - other % shape[1]).max(initial=0) <= reach
