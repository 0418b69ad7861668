"""Letters in pictures."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ImageFont

from rtsearch.render import text as text_module
from rtsearch.render.text import draw_text, fit_text, text_wh

WHITE = (255, 255, 255)


def drawn(text, wh=(300, 40), xy=(4, 4), size_px=18, colour=WHITE, font=""):
    picture = np.zeros((wh[1], wh[0], 3), np.uint8)
    draw_text(picture, text, xy, size_px, colour, font)
    return picture


@pytest.fixture
def built_in(tmp_path):
    """The built-in font as a file."""
    file = tmp_path / "built-in.ttf"
    font: Any = ImageFont.load_default(16)
    file.write_bytes(font.font_bytes)
    return str(file)


@pytest.fixture
def many_letters():
    """A font of many scripts."""
    file = Path(cv2.__file__).parent / "qt" / "fonts" / "DejaVuSans.ttf"
    if not file.is_file():
        pytest.skip("this OpenCV brings no fonts")
    return str(file)


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
def test_letters_that_a_font_lacks(built_in, text, plain):
    np.testing.assert_array_equal(drawn(text, font=built_in), drawn(plain, font=built_in))


@pytest.mark.parametrize("text", ["фото", "Kaffeemühle", "Straße", "ελιά"])
def test_without_a_font_of_ones_own_there_are_letters_of_many_languages(many_letters, text):
    np.testing.assert_array_equal(drawn(text), drawn(text, font=many_letters))


def test_without_any_other_font_letters_become_plain(built_in, monkeypatch):
    monkeypatch.setattr(text_module, "_many_letters", lambda: "")
    text_module._mask.cache_clear()
    np.testing.assert_array_equal(drawn("Kaffeemühle"), drawn("Kaffeemuhle"))
    text_module._mask.cache_clear()


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


# A font of one's own ---------------------------------------------------------------------------------------


def test_a_font_in_a_file_is_used(tmp_path):
    file = tmp_path / "the built-in one.ttf"
    font: Any = ImageFont.load_default(16)
    file.write_bytes(font.font_bytes)
    for text in (
        "cup: 0.92",
        "dining table",
    ):  # letters of a file are placed more finely, by fractions of pixels
        own, built_in = (drawn(text, font=font).astype(int) for font in (str(file), ""))
        assert own.sum() == pytest.approx(built_in.sum(), rel=0.1)
        assert text_wh(text, 18, str(file))[0] == pytest.approx(text_wh(text, 18)[0], rel=0.1)


@pytest.mark.parametrize("size_px", [8, 14, 20, 60])
def test_lines_are_as_high_in_any_font(many_letters, size_px):
    assert text_wh("Ågjy", size_px, many_letters)[1] == text_wh("", size_px)[1]
    rows = drawn("Ågjy", (400, 200), (9, 60), size_px, font=many_letters).any((1, 2))
    assert rows[60 : 60 + text_wh("", size_px)[1]].mean() > 0.7


@pytest.mark.parametrize("text", ["фото", "Kaffeemühle", "Straße", "1\u20132", "ελιά"])
def test_letters_that_this_font_has(many_letters, built_in, text):
    theirs = drawn(text, font=many_letters)
    assert (theirs != drawn(text, font=built_in)).any()
    for other in ("?" * len(text), "????-?", "Kaffeemuhle", "Strasse", "1-2"):
        assert (theirs != drawn(other, font=many_letters)).any()


@pytest.mark.parametrize(
    ("text", "plain"), [("写真.jpg", "??.jpg"), ("ﷺ写", "ﷺ?"), ("line\nbreak", "linebreak")]
)
def test_letters_that_this_font_lacks_too(many_letters, text, plain):
    np.testing.assert_array_equal(drawn(text, font=many_letters), drawn(plain, font=many_letters))


def test_text_fits_in_its_own_font(many_letters):
    fitted = fit_text("a rather long name", 14, 60, many_letters)
    assert fitted.endswith("…")
    assert text_wh(fitted, 14, many_letters)[0] <= 60 < text_wh("a rather long name", 14, many_letters)[0]


def test_a_font_that_breaks_at_its_letters_gives_way(tmp_path, caplog):
    built_in: Any = ImageFont.load_default(18)
    built_in.path.seek(0)
    data = bytearray(built_in.path.read())
    tables = {bytes(data[at : at + 4]): at for at in range(12, 12 + 16 * data[5], 16)}
    at = tables[b"glyf"]
    start, length = (int.from_bytes(data[at + i : at + i + 4], "big") for i in (8, 12))
    data[start : start + length] = b"\x7f" * length
    font = tmp_path / "broken.ttf"
    font.write_bytes(data)
    for text in ("cup 0.92", "Straße", "写真"):
        assert (drawn(text, font=str(font)) == drawn(text)).all()
    assert caplog.messages == [
        f"the font {font} breaks at some letters; lines with them have the built-in one"
    ]
