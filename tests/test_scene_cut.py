"""Cuts are found, and nothing else is taken for one."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from rtsearch.images.scene_cut import SceneCutDetector
from rtsearch.types import U8Array


def plane(value: int, wh: tuple[int, int] = (64, 48)) -> U8Array:
    return np.full((wh[1], wh[0], 3), value, np.uint8)


@pytest.mark.parametrize(
    ("values", "cuts"),
    [
        ([], []),
        ([200], []),
        ([50, 50, 50], []),
        ([50, 50, 120, 120, 30], [2, 4]),
        ([50, 70, 90, 70, 50], []),  # too little
        ([0, 20, 50, 85, 120, 155, 190], []),  # fast, but as fast as before: a pan
        ([0, 20, 40, 60, 140], [4]),
        ([50, 50, 250, 50, 50], [2]),  # a flash
    ],
)
def test_what_is_a_cut(values: list[int], cuts: list[int]) -> None:
    watch = SceneCutDetector()
    assert [i for i, value in enumerate(values) if watch.is_cut(plane(value))] == cuts


@pytest.mark.parametrize("wh", [(1, 1), (4, 4), (17, 9), (640, 272), (1000, 20), (20, 1000)])
def test_pictures_of_any_size(wh: tuple[int, int]) -> None:
    watch = SceneCutDetector()
    assert [watch.is_cut(plane(value, wh)) for value in (10, 10, 200)] == [False, False, True]


def test_something_that_moves_is_no_cut() -> None:
    rng = np.random.default_rng(0)
    picture = np.repeat(np.repeat(rng.integers(0, 255, (12, 40, 3), np.uint8), 40, 0), 40, 1)
    # An outdoor scene has no edges of that contrast.
    picture = cv2.GaussianBlur(picture, (0, 0), 12).astype(np.uint8)
    watch = SceneCutDetector()
    assert not any(watch.is_cut(picture[:, 8 * t : 8 * t + 640]) for t in range(60))
