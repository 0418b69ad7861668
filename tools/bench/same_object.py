"""Second yardstick of quality.py: is the same object found again, and does its score decide the order?

Same object: objects of clips are followed from frame to frame, and one moment of a track in every ``EVERY_S``
is kept. Each is looked up among all that were kept, but for its own track within ``APART_S``: is the nearest
(R@1), or one of the nearest five (R@5), the same track at another moment? A track that was lost and began
anew counts as another object, so the figures are low rather than high. Intervals are of 95 %, from samples of
whole tracks.

Score: rank correlation (Spearman) of the distance of two objects of one class with the difference of their
scores, over pairs of photos' objects; mean over classes, weighed by objects. 0 is right: a detector's
confidence is nothing that can be seen of an object.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from rtsearch._util.metrics import Meter
from rtsearch.config import Settings
from rtsearch.images.scene_cut import SceneCutDetector
from rtsearch.library import Library
from rtsearch.live.tracker import Tracker
from rtsearch.perception.backend import InferenceBackend
from rtsearch.search.projection import Projection
from rtsearch.types import F32Array, I64Array

__all__ = ["Moments", "followed", "measure"]

FRAMES_PER_S = 10.0  # that are looked at; tracks hold at this rate
EVERY_S = 0.5
APART_S = 1.0
MOST_S = 60.0  # of a clip
MEANINGS = (0.0, 0.25, 0.5, 0.75, 1.0)
SAMPLES = 1000
FEWEST, MOST = 16, 400  # objects of a class that are paired


class Moments(NamedTuple):
    """Objects at some moments: (n, D) descriptions, numbers of tracks, and times, s."""

    vector: F32Array
    track: I64Array
    at_s: NDArray[np.float64]


def measure(
    backend: InferenceBackend, settings: Settings, library: Library, clips: list[Path]
) -> dict[str, Any]:
    """All figures as one document, for each of ``MEANINGS``; the projection is the library's."""
    columns = list(library.objects(("vector", "label", "score")))
    vector, label, score = (
        np.concatenate([batch[name] for batch in columns]) for name in ("vector", "label", "score")
    )
    blocks = [block.model_dump() for block in library.space.read_recipe.describe.blocks]
    moments = followed(backend, settings, clips)
    result: dict[str, Any] = {"moments": len(moments.track), "tracks": len(set(moments.track.tolist()))}
    for meaning in MEANINGS:
        projection = Projection.fit([vector], settings.project, blocks, meaning)
        result[f"meaning {meaning:g}"] = {
            **found_again(moments._replace(vector=projection.apply(moments.vector))),
            "score_correlation": round(score_correlation(projection.apply(vector), label, score), 3),
        }
    return result


def followed(backend: InferenceBackend, settings: Settings, clips: list[Path]) -> Moments:
    """Return the objects of clips, followed from frame to frame."""
    parts: list[Moments] = []
    for clip in clips:
        tracker, cuts, due_s = Tracker(), SceneCutDetector(), 0.0
        for at_s, bgr in frames_of(clip):
            if cuts.is_cut(bgr):
                tracker.reset()
            seen = backend.infer([bgr], settings.detect, Meter())[0]
            number = tracker.update(seen.xyxy, seen.label < 0).number
            if at_s >= due_s:
                due_s += EVERY_S
                objects = seen.label >= 0
                times = np.full(objects.sum(), at_s)
                parts.append(Moments(seen.vector[objects], number[objects], times))
    return Moments(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def frames_of(clip: Path) -> Iterator[tuple[float, Any]]:
    """Yield ``FRAMES_PER_S`` of a clip's frames with their times, s."""
    capture = cv2.VideoCapture(str(clip))
    rate = capture.get(cv2.CAP_PROP_FPS)
    step = max(1, round(rate / FRAMES_PER_S))
    number = 0
    while capture.grab() and number < MOST_S * rate:
        if number % step == 0:
            yield number / rate, capture.retrieve()[1]
        number += 1
    capture.release()


def found_again(moments: Moments) -> dict[str, Any]:
    """R@1 and R@5 of all moments whose track has another one, with intervals."""
    vector = moments.vector.astype(np.float64)
    hits, tracks = [], []
    for i in range(len(vector)):
        own = moments.track == moments.track[i]
        near = own & (np.abs(moments.at_s - moments.at_s[i]) < APART_S)
        if not (own & ~near).any():
            continue
        apart = np.where(near, np.inf, ((vector - vector[i]) ** 2).sum(1))
        first = own[np.argsort(apart, kind="stable")[:5]]
        hits.append((first[0], first.any()))
        tracks.append(moments.track[i])
    hit = np.array(hits, np.float64)
    _, of = np.unique(tracks, return_inverse=True)
    total = np.stack([np.bincount(of, column) for column in (hit[:, 0], hit[:, 1], np.ones(len(hit)))])
    chosen = np.random.default_rng(0).integers(0, total.shape[1], (SAMPLES, total.shape[1]))
    at_1, at_5, count = total[:, chosen].sum(axis=2)
    return {
        "queries": len(hit),
        "same_r1": round(float(hit[:, 0].mean()), 3),
        "same_r1_interval": np.percentile(at_1 / count, [2.5, 97.5]).round(3).tolist(),
        "same_r5": round(float(hit[:, 1].mean()), 3),
        "same_r5_interval": np.percentile(at_5 / count, [2.5, 97.5]).round(3).tolist(),
    }


def score_correlation(point: F32Array, label: NDArray[np.int32], score: F32Array) -> float:
    """Mean over classes of the rank correlation of distance with difference of scores."""
    rng, found, weights = np.random.default_rng(0), [], []
    for one in range(label.max() + 1):
        rows = np.flatnonzero(label == one)
        if len(rows) < FEWEST:
            continue
        some = rng.permutation(rows)[:MOST]
        i, j = np.triu_indices(len(some), 1)
        apart = np.linalg.norm(point[some[i]] - point[some[j]], axis=1)
        found.append(rank_correlation(apart, np.abs(score[some[i]] - score[some[j]])))
        weights.append(len(rows))
    return float(np.average(found, weights=weights))


def rank_correlation(a: F32Array, b: F32Array) -> float:
    """Spearman's rho of two columns with next to no ties."""
    return float(np.corrcoef(a.argsort().argsort(), b.argsort().argsort())[0, 1])
