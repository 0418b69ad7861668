import numpy as np
import pytest
from naive import colour_histogram

from rtsearch.images.colour_bins import COLOUR_BINS
from rtsearch.perception.colour_histogram import colour_histograms

LAYOUT = {
    "points": 48,
    "bins": (3, 6, 6),
    "low": (6.0, -1.2, -1.6),
    "high": (16.8, 1.2, 1.2),
    "sigma": 0.4,
}


def picture(seed=0, shape=(40, 60)):
    """Random patches of colour, so that neighbouring pixels are alike."""
    small = np.random.default_rng(seed).integers(0, 256, (shape[0] // 4, shape[1] // 4, 3), np.uint8)
    return np.repeat(np.repeat(small, 4, axis=0), 4, axis=1)


def boxes(*rows):
    return np.array(rows, np.float32).reshape(-1, 4)


def test_no_boxes():
    assert colour_histograms(picture(), boxes()).shape == (0, COLOUR_BINS)


@pytest.mark.parametrize(
    "box",
    [
        (0, 0, 60, 40),
        (3.3, 5.7, 31.2, 33.9),
        (20, 20, 21, 21),
        (20, 20, 20, 20),
        (-9, -9, 70, 10),
        (90, 90, 99, 99),
    ],
    ids=["all", "inside", "one pixel", "zero area", "over the edge", "outside"],
)
def test_agrees_with_the_obvious_way(box):
    expected = colour_histogram(picture(), box, **LAYOUT)
    np.testing.assert_allclose(colour_histograms(picture(), boxes(box))[0], expected, atol=2e-3)


@pytest.mark.parametrize("grey", [0, 1, 128, 255])
def test_one_colour_fills_few_bins_and_stays_finite(grey):
    bgr = np.full((5, 5, 3), grey, np.uint8)
    histogram = colour_histograms(bgr, boxes((0, 0, 5, 5)))[0]
    assert np.isclose(np.linalg.norm(histogram), 1, atol=1e-5)
    assert 1 <= (histogram > 0).sum() <= 8


def test_memory_of_the_picture_does_not_matter():
    plain = picture()
    frozen = plain.copy()
    frozen.setflags(write=False)
    turned = np.ascontiguousarray(plain[:, ::-1])[:, ::-1]
    expected = colour_histograms(plain, boxes((1, 2, 50, 30)))
    for same in (frozen, turned, np.asfortranarray(plain)):
        np.testing.assert_array_equal(colour_histograms(same, boxes((1, 2, 50, 30))), expected)


def test_the_middle_counts_most():
    centre, corner = np.zeros((2, 40, 40, 3), np.uint8)
    centre[15:25, 15:25] = corner[:10, :10] = (0, 0, 255)
    plain = colour_histograms(np.zeros((40, 40, 3), np.uint8), boxes((0, 0, 40, 40)))
    changed = [np.linalg.norm(colour_histograms(p, boxes((0, 0, 40, 40))) - plain) for p in (centre, corner)]
    assert changed[0] > 1.5 * changed[1]
