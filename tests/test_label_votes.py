"""The class of a track is the one that it is called most."""

from __future__ import annotations

import numpy as np
import pytest

from rtsearch.live.label_votes import LabelVotes
from rtsearch.types import Detections


def found(*objects: tuple[int, int, float]) -> Detections:
    """Objects of a track, a label and a score."""
    n = len(objects)
    columns = np.array(objects, np.float64).reshape(n, 3).T
    return Detections(
        xyxy=np.zeros((n, 4), np.float32),
        score=columns[2].astype(np.float32),
        label=columns[1].astype(np.int32),
        vector=np.zeros((n, 0), np.float32),
        track=columns[0].astype(np.int64),
    )


@pytest.mark.parametrize(
    ("labels", "called"),
    [
        ([], []),
        ([7], [7]),
        ([7, 8, 8, 7, 7, 7], [7, 7, 8, 8, 7, 7]),
        ([7] * 20 + [8] * 10, [7] * 26 + [8] * 4),
    ],
)
def test_a_track_is_what_it_is_called_most(labels: list[int], called: list[int]) -> None:
    votes = LabelVotes()
    assert [int(votes.add(found((1, label, 0.5)))[0]) for label in labels] == called


def test_tracks_and_confidence_count() -> None:
    votes = LabelVotes()
    assert votes.add(found()).shape == (0,)
    assert votes.add(found((1, 7, 0.9), (2, 8, 0.3))).tolist() == [7, 8]
    assert votes.add(found((1, 8, 0.5), (2, 9, 0.5))).tolist() == [7, 9]
    votes.keep({2})
    assert votes.add(found((1, 7, 0.1), (2, 8, 0.1))).tolist() == [7, 9]
