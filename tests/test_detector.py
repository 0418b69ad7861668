"""Detection: letterbox, decode, suppression; with given outputs, and with the default model."""

from __future__ import annotations

import naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtsearch.config import DetectSettings
from rtsearch.errors import ConfigError
from rtsearch.images.decode import read_photo
from rtsearch.models import ModelSpec, Tap
from rtsearch.perception.detector import Detector, drop_overlapping, letterbox, wanted_classes
from rtsearch.types import WHOLE_IMAGE_LABEL

WH = (96, 64)
CLASSES = ("cat", "dog", "cup")


class GivenRunner:
    """Answers with outputs that were given, and keeps what it was asked."""

    def __init__(self, boxes, scores, taps=()):
        self.outputs = {"boxes": np.array(boxes, np.float32), "scores": np.array(scores, np.float32)}
        self.outputs |= {f"tap{i}": tap for i, tap in enumerate(taps)}
        self.asked = []

    def run(self, images):
        self.asked.append(images)
        return self.outputs

    def close(self):
        pass


def spec(**changed):
    values = {
        "name": "given",
        "family": "given",
        "licence": "none",
        "licence_url": "",
        "source_sha256": "",
        "recipe": 1,
        "classes": CLASSES,
        "needs_nms": False,
        "pixel_order": "rgb",
        "pixel_scale": 1 / 255,
        "pad_value": 114,
        "input_wh": WH,
        "flexible": True,
        "multiple": 32,
        "batch": None,
        "taps": (),
    }
    return ModelSpec(**{**values, **changed})


def one_hot(labels, scores):
    rows = np.zeros((len(labels), len(CLASSES)), np.float32)
    rows[np.arange(len(labels)), labels] = scores
    return rows


def detect(boxes, labels, scores, wh=WH, nms=False, **settings):
    """What is found in one black picture of ``wh`` for boxes in input pixels."""
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    runner = GivenRunner(boxes[None], one_hot(labels, scores)[None])
    detector = Detector(runner, spec(needs_nms=nms), WH)
    return detector.detect([np.zeros((wh[1], wh[0], 3), np.uint8)], DetectSettings(**settings))[0]


# Letterbox -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wh", "fitted"),
    [((96, 64), (96, 64)), ((48, 32), (96, 64)), ((960, 320), (96, 32)), ((100, 400), (16, 64))],
)
def test_letterbox_keeps_the_aspect_in_the_top_left_corner(wh, fitted):
    canvas = letterbox(np.full((wh[1], wh[0], 3), 7, np.uint8), WH, 114)
    assert canvas.shape == (64, 96, 3)
    assert (canvas[: fitted[1], : fitted[0]] == 7).all()
    assert (canvas[fitted[1] :] == 114).all()
    assert (canvas[:, fitted[0] :] == 114).all()


@given(st.integers(1, 3000), st.integers(1, 3000))
def test_letterbox_of_any_size(width, height):
    image = np.broadcast_to(np.uint8(9), (height, width, 3))
    canvas = letterbox(image, WH, 0)
    inside = (canvas == 9).all(2)
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    assert inside[: rows[-1] + 1, : columns[-1] + 1].all()
    assert len(columns) == WH[0] or len(rows) == WH[1]
    scale = min(WH[0] / width, WH[1] / height)
    assert abs(len(columns) - width * scale) <= 1
    assert abs(len(rows) - height * scale) <= 1


def test_stretched_pictures_fill_the_input_and_boxes_come_back():
    image = np.zeros((40, 60, 3), np.uint8)
    image[10:20, 30:45] = 255
    canvas = letterbox(image, WH, 7, stretch=True)
    rows, columns = (np.flatnonzero((canvas[:, :, 0] > 127).any(axis)) for axis in (1, 0))
    assert (rows[0], rows[-1] + 1, columns[0], columns[-1] + 1) == (16, 32, 48, 72)
    boxes = np.array([[[48, 16, 72, 32]]], np.float32)
    runner = GivenRunner(boxes, one_hot([0], [0.9])[None])
    tall = np.zeros((400, 60, 3), np.uint8)
    found = Detector(runner, spec(stretch=True), WH).detect([tall], DetectSettings())[0]
    np.testing.assert_allclose(found.xyxy, [[30, 100, 45, 200]], rtol=1e-6)
    assert found.input_wh == WH
    small = Detector(runner, spec(stretch=True), WH).detect([tall], DetectSettings(min_px=16))[0]
    assert len(small) == 0  # 15 px wide, though it is 24 px wide in the input
    whole = Detector(runner, spec(stretch=True), WH).detect([tall], DetectSettings(whole_image=True))[0]
    np.testing.assert_allclose(whole.xyxy[0], [0, 0, 60, 400], rtol=1e-6)


def test_letterbox_does_not_move_the_picture():
    image = np.zeros((40, 60, 3), np.uint8)
    image[10:20, 30:45] = 255  # scaled by 1.6
    lit = letterbox(image, WH, 0)[:, :, 0] > 127
    rows, columns = np.flatnonzero(lit.any(1)), np.flatnonzero(lit.any(0))
    assert (rows[0], rows[-1] + 1, columns[0], columns[-1] + 1) == (16, 32, 48, 72)


@given(
    st.integers(32, 2000),
    st.integers(32, 2000),
    st.lists(st.floats(0, 1), min_size=4, max_size=4),
)
def test_a_box_comes_back_to_the_pixels_it_was_found_in(width, height, share):
    scale = min(WH[0] / width, WH[1] / height)
    x1, x2 = sorted(share[:2])
    y1, y2 = sorted(share[2:])
    box = np.array([x1 * width, y1 * height, x2 * width, y2 * height])
    found = detect([box * scale], [0], [0.9], wh=(width, height))
    if ((box[2:] - box[:2]) * scale < 0.99).any():
        assert len(found) == 0
    elif ((box[2:] - box[:2]) * scale > 1.01).all():
        np.testing.assert_allclose(found.xyxy[0], box, atol=max(width, height) * 1e-5)
        np.testing.assert_allclose(found.input_xyxy[0], box * scale, atol=1e-3)


@pytest.mark.parametrize(("order", "first"), [("rgb", 30), ("bgr", 10)])
def test_planes_are_as_the_network_wants_them(order, first):
    runner = GivenRunner(np.zeros((1, 1, 4)), np.zeros((1, 1, 3)))
    image = np.broadcast_to(np.array([10, 20, 30], np.uint8), (64, 48, 3))
    detector = Detector(runner, spec(pixel_order=order, pixel_scale=0.5, pad_value=200), WH)
    detector.detect([image], DetectSettings())
    (planes,) = runner.asked
    assert planes.shape == (1, 3, 64, 96)
    assert planes.dtype == np.float32
    assert planes[0, :, 0, 0].tolist() == [first / 2, 10, (40 - first) / 2]
    assert (planes[0, :, :, 48:] == 100).all()


# Decoding --------------------------------------------------------------------------------------------------


def test_no_pictures_and_no_objects():
    runner = GivenRunner(np.zeros((1, 5, 4)), np.zeros((1, 5, 3)))
    detector = Detector(runner, spec(), WH)
    assert detector.detect([], DetectSettings()) == []
    assert runner.asked == []
    (found,) = detector.detect([np.zeros((10, 10, 3), np.uint8)], DetectSettings())
    assert len(found) == 0
    assert found.xyxy.shape == found.input_xyxy.shape == (0, 4)
    assert (found.score.dtype, found.label.dtype) == (np.float32, np.int32)
    assert found.logits.shape == (0, 3)


@pytest.mark.parametrize("whole_image", [False, True])
def test_a_network_that_gives_no_rows(whole_image):
    found = detect([], [], [], whole_image=whole_image)
    assert len(found) == whole_image


def test_objects_are_sorted_and_weak_ones_left_out():
    boxes = [[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10], [60, 0, 70, 10]]
    found = detect(boxes, [0, 1, 2, 0], [0.3, 0.9, 0.29, 0.6])
    assert found.label.tolist() == [1, 0, 0]
    np.testing.assert_allclose(found.score, [0.9, 0.6, 0.3])
    np.testing.assert_array_equal(found.xyxy, np.array(boxes, np.float32)[[1, 3, 0]])
    assert not found.whole.any()


@pytest.mark.parametrize(
    ("wanted", "labels"),
    [((), [0, 1, 2, 0]), (("cat",), [0, 0]), (("cup", "dog"), [1, 2]), (("dog", "dog", "cat"), [0, 1, 0])],
)
def test_only_classes_that_are_looked_for(wanted, labels):
    boxes = [[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10], [60, 0, 70, 10]]
    found = detect(boxes, [0, 1, 2, 0], [0.9, 0.8, 0.7, 0.6], classes=wanted)
    assert found.label.tolist() == labels


@pytest.mark.parametrize("nms", [False, True])
def test_a_class_that_is_not_looked_for_takes_no_place(nms):
    boxes = [[0, 0, 40, 40], [2, 2, 38, 38]]
    assert detect(boxes, [0, 1], [0.9, 0.5], nms=nms).label.tolist() == [0]
    assert detect(boxes, [0, 1], [0.9, 0.5], nms=nms, classes=("dog",)).label.tolist() == [1]


def test_an_object_has_the_class_that_fits_best_even_where_another_is_looked_for():
    runner = GivenRunner([[[0, 0, 9, 9]]], [[[0.8, 0.7, 0.0]]])
    detector = Detector(runner, spec(), WH)
    dogs = DetectSettings(classes=("dog",))
    assert len(detector.detect([np.zeros((64, 96, 3), np.uint8)], dogs)[0]) == 0


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("dogg", "but 'dog';"),
        ("Cat", "but 'cat';"),
        ("mug", "but 'cup';"),
        ("puppies", "but 'dog';"),
        ("aeroplane", "but 'cat', 'dog', 'cup'; `rtsearch model"),
    ],
)
def test_a_class_that_the_network_does_not_know(name, near):
    with pytest.raises(ConfigError, match=f"detect.classes: this network knows no '{name}', {near}"):
        wanted_classes(("cup", name), CLASSES)


def test_objects_are_as_large_as_asked_in_pixels_of_the_picture():
    boxes = [[0, 0, 10, 30], [20, 0, 39.9, 40], [50, 0, 90, 20]]  # the picture is twice as large
    assert len(detect(boxes, [0, 1, 2], [0.9, 0.8, 0.7], wh=(192, 128))) == 3
    assert detect(boxes, [0, 1, 2], [0.9, 0.8, 0.7], wh=(192, 128), min_px=40).label.tolist() == [2]
    assert detect(boxes, [0, 1, 2], [0.9, 0.8, 0.7], wh=(192, 128), min_px=41).label.tolist() == []


def test_boxes_end_at_the_picture_and_padding_holds_none():
    found = detect([[-5, -5, 200, 20], [0, 40, 90, 60]], [0, 0], [0.9, 0.8], wh=(192, 64))
    np.testing.assert_allclose(found.xyxy, [[0, 0, 192, 40]])


@pytest.mark.parametrize(
    "box",
    [[5, 5, 5, 20], [20, 20, 10, 10], [np.nan, 0, 9, 9], [0, 0, np.inf, 9], [96, 0, 120, 9], [3, 3, 3.5, 9]],
)
def test_boxes_without_area_or_sense(box):
    assert len(detect([box], [0], [0.9])) == 0


def test_scores_without_sense():
    assert len(detect([[0, 0, 9, 9]], [0], [np.nan])) == 0


def test_at_most_so_many_objects():
    boxes = [[x, y, x + 3, y + 3] for x in range(0, 92, 4) for y in range(0, 60, 4)]
    scores = np.linspace(0.31, 0.99, len(boxes))
    found = detect(boxes, [0] * len(boxes), scores, max_objects=7)
    np.testing.assert_allclose(found.score, np.sort(scores)[::-1][:7], rtol=1e-6)


def test_log_odds_of_every_class():
    runner = GivenRunner([[[0, 0, 9, 9]]], [[[0.5, 0.9, 0.0]]])
    found = Detector(runner, spec(), WH).detect([np.zeros((64, 96, 3), np.uint8)], DetectSettings())[0]
    np.testing.assert_allclose(found.logits[0, :2], [0, np.log(9)], atol=1e-5)
    assert np.isfinite(found.logits).all()
    assert found.logits[0, 2] < -13


def test_the_whole_image_is_an_object_that_is_never_dropped():
    boxes = [[0, 0, 96, 64], [10, 10, 30, 30]]
    found = detect(boxes, [0, 1], [0.9, 0.8], wh=(192, 128), whole_image=True, max_objects=1)
    assert found.label.tolist() == [WHOLE_IMAGE_LABEL, 0]
    assert found.whole.tolist() == [True, False]
    assert found.score[0] == 1
    np.testing.assert_allclose(found.xyxy[0], [0, 0, 192, 128])
    np.testing.assert_allclose(1 / (1 + np.exp(-found.logits[0])), [0.9, 0.8, 0], atol=1e-5)


def test_pictures_of_a_batch_keep_their_own_size_and_maps():
    taps = [np.arange(2 * 4 * 8 * 12, dtype=np.float32).reshape(2, 4, 8, 12)]
    boxes = np.array([[[0, 0, 48, 32]], [[0, 0, 48, 32]]], np.float32)
    runner = GivenRunner(boxes, np.full((2, 1, 3), 0.8), taps)
    detector = Detector(runner, spec(taps=(Tap("tap0", "deep8", 8, 4),)), WH)
    first, second = detector.detect(
        [np.zeros((64, 96, 3), np.uint8), np.zeros((640, 480, 3), np.uint8)], DetectSettings()
    )
    assert len(runner.asked) == 1
    np.testing.assert_allclose(first.xyxy, [[0, 0, 48, 32]])
    np.testing.assert_allclose(second.xyxy, [[0, 0, 480, 320]])
    np.testing.assert_array_equal(first.maps[0], taps[0][0])
    np.testing.assert_array_equal(second.maps[0], taps[0][1])


# Suppression -----------------------------------------------------------------------------------------------

# Whole numbers: a share that lies exactly on the limit would be a matter of rounding.
_side = st.integers(1, 40)
_boxes = st.lists(
    st.tuples(st.integers(0, 50), st.integers(0, 22), _side, _side, st.integers(0, 2)), max_size=25
).map(lambda rows: [([x, y, x + w, y + h], label) for x, y, w, h, label in rows])


@given(_boxes, st.sampled_from([0.0, 0.103, 0.497, 0.803, 1.0]), st.sampled_from(["iou", "covered"]))
def test_overlapping_boxes(rows, max_overlap, rule):
    boxes = np.array([box for box, _ in rows], np.float32).reshape(-1, 4)
    settings = DetectSettings(overlap=rule, max_overlap=max_overlap)
    stay = naive.overlapping_dropped(boxes, max_overlap, rule)
    assert drop_overlapping(boxes, settings).tolist() == stay


@given(_boxes, st.sampled_from([0.103, 0.497, 0.803]))
def test_same_boxes_of_one_class(rows, nms_iou):
    boxes = [box for box, _ in rows]
    labels = [label for _, label in rows]
    scores = np.linspace(0.95, 0.4, len(rows)) if rows else []
    found = detect(boxes, labels, scores, nms=True, nms_iou=nms_iou, max_overlap=1)
    clipped = np.clip(np.array(boxes, np.float32).reshape(-1, 4), 0, [96, 64, 96, 64])
    kept = naive.class_suppressed(clipped, labels, nms_iou)
    np.testing.assert_allclose(found.xyxy, clipped[kept], atol=1e-4)
    assert found.label.tolist() == [labels[i] for i in kept]


def test_networks_that_suppress_themselves_are_believed():
    boxes = [[0, 0, 40, 40], [1, 0, 41, 40]]
    assert len(detect(boxes, [0, 0], [0.9, 0.8], nms=False, max_overlap=1)) == 2
    assert len(detect(boxes, [0, 0], [0.9, 0.8], nms=True, max_overlap=1)) == 1
    assert len(detect(boxes, [0, 1], [0.9, 0.8], nms=True, max_overlap=1)) == 2


@pytest.mark.parametrize(
    ("max_overlap", "labels"), [(0.0, [0]), (0.24, [0]), (0.26, [0, 1]), (0.5, [0, 1]), (1.0, [0, 1, 2])]
)
def test_max_overlap_is_a_share_of_the_weaker_box_across_classes(max_overlap, labels):
    boxes = [[0, 0, 40, 40], [30, 0, 70, 40], [10, 10, 20, 20]]  # a quarter covered; wholly covered
    found = detect(boxes, [0, 1, 2], [0.9, 0.8, 0.7], overlap="covered", max_overlap=max_overlap)
    assert found.label.tolist() == labels


@pytest.mark.parametrize(
    ("max_overlap", "labels"),
    [(0.0, [0]), (0.05, [0]), (0.07, [0, 2]), (0.14, [0, 2]), (0.15, [0, 1, 2]), (1.0, [0, 1, 2])],
)
def test_by_default_max_overlap_is_a_share_of_the_union_across_classes(max_overlap, labels):
    boxes = [[0, 0, 40, 40], [30, 0, 70, 40], [10, 10, 20, 20]]  # a seventh, a sixteenth of the union
    assert detect(boxes, [0, 1, 2], [0.9, 0.8, 0.7], max_overlap=max_overlap).label.tolist() == labels


def test_a_cup_before_a_person_is_found_unless_the_covered_share_counts():
    boxes = [[0, 0, 90, 60], [40, 30, 50, 40], [2, 0, 90, 60]]  # a person, its cup, the person once more
    assert detect(boxes, [0, 1, 2], [0.9, 0.8, 0.7]).label.tolist() == [0, 1]
    covered = detect(boxes, [0, 1, 2], [0.9, 0.8, 0.7], overlap="covered", max_overlap=0.5)
    assert covered.label.tolist() == [0]


def test_a_class_that_is_not_looked_for_covers_nothing():
    boxes = [[0, 0, 40, 40], [1, 0, 40, 40]]
    names = spec().classes
    assert detect(boxes, [0, 1], [0.9, 0.8]).label.tolist() == [0]
    assert detect(boxes, [0, 1], [0.9, 0.8], classes=(names[1],)).label.tolist() == [1]


def test_a_box_that_was_dropped_drops_no_other():
    boxes = [[0, 0, 40, 40], [10, 0, 50, 40], [30, 0, 70, 40]]
    found = detect(boxes, [0, 1, 2], [0.9, 0.8, 0.7], overlap="covered", max_overlap=0.3)
    assert found.label.tolist() == [0, 2]


# The default model -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_vectors_are_the_same_alone_and_in_a_batch(pipeline, photos):
    paths = sorted(photos.glob("skimage-[a-m]*")) + sorted(photos.glob("bikes-*"))[::4]
    images = [read_photo(path) for path in paths]
    objects = 0
    for start in range(0, len(images), 4):
        group = images[start : start + 4]
        together = [
            (found, pipeline.backend.describer.describe(image, found))
            for image, found in zip(
                group, pipeline.backend.detector.detect(group, DetectSettings()), strict=True
            )
        ]
        for image, (expected, vector) in zip(group, together, strict=True):
            found = pipeline.backend.detector.detect([image], DetectSettings())[0]
            assert found.label.tolist() == expected.label.tolist()
            np.testing.assert_allclose(found.xyxy, expected.xyxy, atol=0.1)
            alone = pipeline.backend.describer.describe(image, found)
            np.testing.assert_allclose(alone, vector, rtol=1e-3, atol=1e-3)
            objects += len(found)
    assert objects >= 30
