"""The distance from which on neighbours are no longer alike."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from rtsearch.library.likeness import measured_distance
from rtsearch.types import F32Array, I32Array, Neighbours


class Classes:
    """An index of classes that lie so far apart; one object of each class per photo."""

    def __init__(self, classes: int, of_each: int, apart: float) -> None:
        rng = np.random.default_rng(0)
        centres = np.repeat(rng.standard_normal((classes, 8)) * apart, of_each, 0)
        self.vectors = (centres + rng.standard_normal(centres.shape)).astype(np.float32)
        self.labels = np.repeat(np.arange(classes, dtype=np.int32), of_each)
        self.photo_numbers = np.tile(np.arange(of_each, dtype=np.int32), classes)

    given = None  # all rows are found

    def __len__(self) -> int:
        return len(self.vectors)

    def points(self, rows: I32Array) -> F32Array:
        return self.vectors[rows]

    def near(self, points: F32Array, k: int) -> Neighbours:
        away = np.linalg.norm(self.vectors[None] - points[:, None], axis=2).astype(np.float32)
        row = np.argsort(away, axis=1)[:, :k].astype(np.int32)
        return Neighbours(row, np.take_along_axis(away, row, 1))


def share_alike(index: Classes, distance: float) -> tuple[float, float]:
    """Share of pairs of one class among those nearer and farther, up to twice the distance."""
    away = np.linalg.norm(index.vectors[None] - index.vectors[:, None], axis=2)
    same = index.labels[None] == index.labels[:, None]
    near, far = (away > 0) & (away < distance), (away > distance) & (away < 2 * distance)
    return float(same[near].mean()), float(same[far].mean())


def test_beyond_it_most_neighbours_are_of_another_class() -> None:
    index: Any = Classes(20, 30, 3.0)
    near, far = share_alike(index, measured_distance(index))
    assert near > 0.5 > far


@pytest.mark.parametrize(("classes", "of_each"), [(3, 66), (1, 300)])
def test_a_small_library_and_one_of_a_single_class_know_no_limit(classes: int, of_each: int) -> None:
    index: Any = Classes(classes, of_each, 3.0)
    assert measured_distance(index) == math.inf


def test_where_classes_say_nothing_most_objects_keep_some_neighbours() -> None:
    index: Any = Classes(100, 4, 0.0)
    limit = measured_distance(index)
    near = index.near(index.vectors, 20)
    others = (near.distance <= limit) & (near.distance > 0)
    assert np.median(others.sum(1)) >= 5


@pytest.mark.slow
def test_a_small_library_leaves_nothing_to_chance() -> None:
    index: Any = Classes(40, 40, 1.5)
    assert len({measured_distance(index, seed) for seed in range(4)}) == 1
    assert 0 < measured_distance(index) < math.inf
