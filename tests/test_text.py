"""Letters in pictures."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtsearch.text import draw_text, fit_text, text_wh

WHITE = (255, 255, 255)


def drawn(text, wh=(300, 40), xy=(4, 4), size_px=18, colour=WHITE):
    picture = np.zeros((wh[1], wh[0], 3), np.uint8)
    draw_text(picture, text, xy, size_px, colour)
    return picture


@pytest.mark.parametrize("text", ["", "   ", "\u0301", "\n\t", "\ud800"])
def test_nothing_to_draw(text):
    assert not drawn(text).any()


def test_text_has_its_colour_and_stays_in_its_box():
    picture = drawn("cup: 0.92", colour=(10, 200, 90))
    width, height = text_wh("cup: 0.92", 18)
    assert picture.reshape(-1, 3).max(0).tolist() == [10, 200, 90]
    outside = picture.copy()
    outside[4 : 4 + height, 4 : 4 + width] = 0
    assert not outside.any()


def test_letters_cover_what_lies_below_in_part():
    picture = np.full((40, 80, 3), 100, np.uint8)
    draw_text(picture, "ag", (4, 4), 18, (200, 200, 200))
    assert picture.min() == 100
    assert picture.max() == 200
    assert len(np.unique(picture)) > 10  # smooth edges, not black and white


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("Kaffeemühle", "Kaffeemuhle"),
        ("crème brûlée", "creme brulee"),
        ("Straße", "Strasse"),
        ("smørrebrød", "smorrebrod"),
        ("Łódź", "Lodz"),
        ("e\u0301tude", "etude"),
        ("½ l", "1\u20442 l"),
        ("a\u00a0b", "a b"),
        ("line\nbreak", "linebreak"),
        ("1\u20132", "1-2"),
        ("фото", "????"),
        ("写真.jpg", "??.jpg"),
    ],
)
def test_letters_that_the_font_lacks(text, plain):
    np.testing.assert_array_equal(drawn(text), drawn(plain))


@pytest.mark.parametrize("text", ["…", "“quoted”", "±1", "©"])
def test_signs_that_the_font_has(text):
    assert (drawn(text) != drawn("?" * len(text))).any()
    assert drawn(text).any()


@given(st.text(max_size=20), st.integers(-400, 400), st.integers(-60, 60), st.sampled_from([8, 14, 40]))
def test_any_text_anywhere(text, x, y, size_px):
    picture = np.zeros((30, 50, 3), np.uint8)
    draw_text(picture, text, (x, y), size_px, WHITE)
    width, height = text_wh(text, size_px)
    assert height == text_wh("", size_px)[1]
    if x >= 50 or y >= 30 or x + width <= 0 or y + height <= 0:
        assert not picture.any()


@given(st.integers(-80, 40), st.integers(-20, 20))
def test_what_lies_beyond_is_cut_not_moved(x, y):
    whole = drawn("objects", wh=(300, 100), xy=(100 + x, 40 + y))
    part = drawn("objects", wh=(60, 30), xy=(x, y))
    np.testing.assert_array_equal(part, whole[40:70, 100:160])


@given(st.text(alphabet="abcWMi .ü", max_size=30), st.integers(0, 200))
def test_fitted_text_fits(text, width_px):
    fitted = fit_text(text, 14, width_px)
    if text_wh(text, 14)[0] <= width_px:
        assert fitted == text
    else:
        assert fitted.endswith("…")
        assert text.startswith(fitted[:-1])
        assert fitted == "…" or text_wh(fitted, 14)[0] <= width_px
