"""Padding that is left out changes neither boxes nor vectors beyond a stated tolerance."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from rtsearch.config import Settings
from rtsearch.images.decode import read_photo
from rtsearch.library.index import SearchIndex
from rtsearch.perception.descriptor import Describer
from rtsearch.perception.detector import Detector, Found
from rtsearch.pipeline import Pipeline, open_pipeline
from rtsearch.types import F32Array, U8Array

LEAST_COSINE = 0.99  # of descriptions; measured on 2,404 objects of 790 photos: 99 % above .994
LEAST_IOU = 0.9  # of boxes; 99 % above .96
LEAST_SHARED = 0.9  # of the 16 nearest; .974
MOST_FARTHER = 1.01  # mean distance of what is found instead; 1.002
SURE = 0.5  # weaker objects may come and go


@pytest.fixture(scope="module")
def cut(model: Path) -> Iterator[Pipeline]:
    with open_pipeline(Settings(), cut_padding=True) as opened:
        yield opened


@pytest.fixture(scope="module")
def pictures(photos: Path, clip: Path) -> list[U8Array]:
    capture = cv2.VideoCapture(str(clip))
    frames: list[Any] = [capture.read()[1] for _ in range(60)][::10]
    capture.release()
    return [*frames, *(read_photo(path) for path in sorted(photos.glob("sk*")))]


def look(pipeline: Any, picture: U8Array) -> tuple[Found, F32Array]:
    detector = pipeline.backend.detector
    found = detector.detect([picture], Settings().detect)[0]
    describer: Describer = pipeline.backend.describer
    return found, describer.describe(picture, found)


def iou(box: F32Array, boxes: F32Array) -> F32Array:
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=1)
    both: F32Array = np.prod(box[2:] - box[:2]) + np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    return shared / (both - shared)


@pytest.mark.slow
def test_vectors_boxes_and_neighbours_stay(
    pipeline: Pipeline, cut: Pipeline, index: SearchIndex, pictures: list[U8Array]
) -> None:
    cosines, shared, farther = [], [], []
    for picture in pictures:
        whole, vectors = look(pipeline, picture)
        less, cut_vectors = look(cut, picture)
        for i in np.flatnonzero(whole.score >= SURE):
            overlap = iou(whole.xyxy[i], less.xyxy)
            j = int(overlap.argmax())
            assert overlap[j] >= LEAST_IOU
            a, b = vectors[i], cut_vectors[j]
            cosines.append(float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)))
            near, other = (index.search(v[None], 16, exact=True) for v in (a, b))
            shared.append(len(set(near.row[0]) & set(other.row[0])) / 16)
            farther.append(float((other.distance.mean() + 1e-3) / (near.distance.mean() + 1e-3)))
    assert len(cosines) >= 10
    assert min(cosines) >= LEAST_COSINE
    assert np.mean(shared) >= LEAST_SHARED
    assert np.mean(farther) <= MOST_FARTHER


@pytest.mark.parametrize(
    ("shape", "wh"),
    [
        ((1, 1, 3), (416, 416)),
        ((720, 1280, 3), (416, 256)),
        ((480, 640, 3), (416, 320)),
        ((640, 480, 3), (320, 416)),
        ((416, 416, 3), (416, 416)),
        ((4, 4000, 3), (416, 32)),
    ],
)
def test_the_input_is_the_smallest_that_holds_the_picture(
    cut: Any, pipeline: Any, shape: tuple[int, int, int], wh: tuple[int, int]
) -> None:
    picture = np.full(shape, 90, np.uint8)
    assert cut.backend.detector.padded_wh(picture) == wh
    assert pipeline.backend.detector.padded_wh(picture) == (416, 416)
    assert len(cut.backend.detector.detect([picture], Settings().detect)) == 1


@pytest.mark.slow
def test_pictures_of_several_shapes_keep_their_order(cut: Any, pictures: list[U8Array]) -> None:
    detector: Detector = cut.backend.detector
    together = detector.detect(pictures, Settings().detect)
    for picture, found in zip(pictures, together, strict=True):
        alone = detector.detect([picture], Settings().detect)[0]
        np.testing.assert_allclose(found.xyxy, alone.xyxy, atol=0.5)
        assert found.label.tolist() == alone.label.tolist()


def test_a_library_is_searched_with_either(cut: Pipeline, pipeline: Pipeline) -> None:
    assert cut.feature_space == pipeline.feature_space
