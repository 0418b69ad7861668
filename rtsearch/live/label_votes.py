"""Keep the class of a track steady while the network calls its object this and that."""

from __future__ import annotations

from collections.abc import Set

import numpy as np

from rtsearch.types import Detections, I32Array

__all__ = ["LabelVotes"]

_FADES = 0.9  # of each vote, from frame to frame: seven frames that agree outvote all before
_CLEARLY = 1.2  # how many more votes another class needs


class LabelVotes:
    """Votes of the frames for the class of each track, by confidence; newer ones count more."""

    def __init__(self) -> None:
        self._votes: dict[int, dict[int, float]] = {}  # by track, by label
        self._label: dict[int, int] = {}  # by track

    def add(self, found: Detections) -> I32Array:
        """Take in n objects with tracks; return the class that each was clearly called most, (n,)."""
        objects = zip(found.track.tolist(), found.label.tolist(), found.score.tolist(), strict=True)
        for track, label, score in objects:
            votes = {other: _FADES * vote for other, vote in self._votes.get(track, {}).items()}
            votes[label] = votes.get(label, 0.0) + score
            self._votes[track] = votes
            most = max(votes, key=votes.__getitem__)
            if votes[most] > _CLEARLY * votes.get(self._label.get(track, -2), 0.0):
                self._label[track] = most
        return np.array([self._label[track] for track in found.track.tolist()], np.int32)

    def keep(self, tracks: Set[int]) -> None:
        """Forget all other tracks."""
        self._votes = {track: self._votes[track] for track in tracks & self._votes.keys()}
        self._label = {track: self._label[track] for track in self._votes}
