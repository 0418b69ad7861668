"""The lag of detection behind a live source, as the search side keeps it."""

from __future__ import annotations

import numpy as np
import pytest

from rtsearch.live.live_frame import LiveFrame
from rtsearch.live.search_side import _Lag
from rtsearch.types import Frame


def lag_after(*numbers: int, epochs: tuple[int, ...] = ()) -> _Lag:
    lag = _Lag()
    bgr = np.zeros((2, 2, 3), np.uint8)
    for place, number in enumerate(numbers):
        epoch = epochs[place] if epochs else 0
        lag = lag.after(LiveFrame(0, epoch, Frame(number, number / 30, None, bgr)))
    return lag


def test_detection_of_every_frame_is_not_behind() -> None:
    assert lag_after(*range(50)) == _Lag((0, 49), every=1, missing=0.0, behind=False)


def test_detection_of_every_third_frame_is_behind() -> None:
    lag = lag_after(*range(0, 90, 3))
    assert lag.every == 3
    assert lag.missing == pytest.approx(2 / 3, abs=0.05)
    assert lag.behind


@pytest.mark.parametrize("next_number", [7, 3])
def test_a_source_may_give_a_number_twice_or_begin_anew(next_number: int) -> None:
    assert lag_after(6, 7, next_number).every == 1


def test_no_frame_is_missing_between_two_places_of_a_source() -> None:
    assert lag_after(5, 90, epochs=(0, 1)).every == 1
