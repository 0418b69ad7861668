"""Names of colours: of pixels, of crops, and of the bins of stored histograms."""

from __future__ import annotations

import numpy as np
import pytest

from rtsearch.images.colour_bins import COLOUR_BINS, bin_shares
from rtsearch.images.colour_names import COLOUR_NAMES, COLOUR_WORDS, bin_names, crop_colours
from rtsearch.perception.colour_histogram import colour_histograms

NAMED = {
    "white": (250, 250, 250),
    "grey": (128, 128, 128),
    "black": (15, 15, 15),
    "red": (200, 20, 30),
    "orange": (240, 130, 30),
    "yellow": (240, 210, 40),
    "green": (60, 140, 60),
    "blue": (40, 80, 180),
    "purple": (120, 50, 150),
    "pink": (240, 150, 180),
    "brown": (110, 70, 40),
}


def plain(rgb):
    return np.full((20, 30, 3), rgb[::-1], np.uint8)


@pytest.mark.parametrize(("name", "rgb"), NAMED.items())
def test_plain_crops_have_the_name_of_their_colour(name, rgb):
    shares = crop_colours(plain(rgb))
    assert COLOUR_NAMES[shares.argmax()] == name
    assert shares.sum() == pytest.approx(1)
    assert shares.max() > 0.9


def test_the_middle_of_a_crop_counts_most():
    crop = plain(NAMED["white"])
    crop[5:15, 8:22] = NAMED["red"][::-1]  # a quarter of the area
    assert crop_colours(crop)[COLOUR_NAMES.index("red")] > 0.4


def test_bins_agree_with_the_kernel_of_descriptions():
    colours = np.random.default_rng(0).integers(0, 256, (40, 3), np.uint8)
    pictures = np.broadcast_to(colours[:, None, None], (40, 4, 4, 3))
    histograms = np.concatenate(
        [colour_histograms(np.array(p), np.array([[0, 0, 4, 4]], np.float32)) for p in pictures]
    )
    shares = histograms**3  # they are cube roots, of unit length
    assert bin_shares(colours) == pytest.approx(shares / shares.sum(axis=1, keepdims=True), abs=1e-5)


def test_histograms_tell_all_vivid_colours_and_black():
    """White and grey share their bins: brightness has three of them."""
    for name in set(NAMED) - {"white", "grey"}:
        shares = bin_shares(plain(NAMED[name])[0, :1]) @ bin_names()
        assert COLOUR_NAMES[shares.argmax()] == name
    assert bin_names().shape == (COLOUR_BINS, len(COLOUR_NAMES))
    assert bin_names().sum(axis=1) == pytest.approx(1, abs=1e-4)


def test_every_word_has_a_name():
    assert set(COLOUR_WORDS.values()) == set(COLOUR_NAMES)
